"""Vote fractions: answers that follow the tree, and losses, against scipy and loops over
questions."""

import numpy as np
import pytest
import scipy.special
import torch
from scipy.stats import dirichlet_multinomial, multinomial
from torch import nn

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.mock.survey import Survey, mock_survey
from galaxymorph.learning import train, votes
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.votes import VoteRegressor


class Flat(nn.Module):
    """An encoder without weights: the first pixels."""

    num_features = 48

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :48] * 6 - 3


@pytest.fixture(scope="module")
def survey() -> Survey:
    return mock_survey(64, image_size=32, seed=3)


def regressor(**options) -> VoteRegressor:
    torch.manual_seed(0)
    return VoteRegressor(Flat(), **options)


def logits(n: int) -> torch.Tensor:
    return torch.randn(n, 37, generator=torch.Generator().manual_seed(1)) * 2


def counts(survey: Survey) -> np.ndarray:
    return np.round((survey.votes * survey.volunteers[:, None]).double().numpy())


def test_answers_sum_to_the_answer_that_leads_to_them():
    fractions = votes.cumulative(votes.log_fractions(logits(50)))
    for question, where in galaxy_zoo_tree.SLICES.items():
        parent = galaxy_zoo_tree.PARENTS[question]
        expected = torch.ones(50) if parent is None else fractions[:, parent]
        torch.testing.assert_close(fractions[:, where].sum(1), expected)


def test_fractions_are_those_of_the_schema():
    by_question = np.concatenate(
        [
            scipy.special.softmax(logits(20)[:, where].numpy(), 1)
            for where in galaxy_zoo_tree.SLICES.values()
        ],
        1,
    )
    fractions = votes.cumulative(votes.log_fractions(logits(20)))
    np.testing.assert_allclose(fractions, galaxy_zoo_tree.cumulative(by_question), rtol=1e-5)


def test_plain_outputs_may_contradict_each_other(survey):
    model = regressor(tree=False, loss="mse")
    predicted = model.predict(survey.images / 255)
    torch.testing.assert_close(predicted, model(survey.images / 255))
    assert (predicted < 0).any() and not torch.allclose(
        predicted[:, :3].sum(1), torch.ones(64), atol=0.1
    )


def test_divergence_is_that_of_scipy_for_each_question(survey):
    logs = votes.log_fractions(logits(64))
    fractions = galaxy_zoo_tree.per_question(survey.votes.double().numpy())
    expected = np.zeros(64)
    for (_, where), asked in zip(
        galaxy_zoo_tree.SLICES.items(),
        galaxy_zoo_tree.reached(survey.votes.double().numpy()).T,
        strict=True,
    ):
        each = scipy.special.rel_entr(
            np.nan_to_num(fractions[:, where]), logs[:, where].exp().double().numpy()
        ).sum(1)
        expected += asked * each
    np.testing.assert_allclose(
        votes._divergence(logs, survey.votes), expected, rtol=1e-4, atol=1e-5
    )
    exact = torch.from_numpy(np.log(np.clip(np.nan_to_num(fractions), 1e-30, 1))).float()
    np.testing.assert_allclose(votes._divergence(exact, survey.votes), 0, atol=1e-5)


def losses(model: VoteRegressor, survey: Survey) -> np.ndarray:
    """The loss of each galaxy, through the public way."""
    told = votes.targets(survey.votes, survey.volunteers.float())
    pairs = zip((survey.images / 255).split(1), told.split(1), strict=True)
    return np.array([model.loss(image, target).item() for image, target in pairs])


def test_multinomial_loss_is_scipys_up_to_the_coefficient(survey):
    model = regressor(loss="multinomial")
    p = votes.log_fractions(model(survey.images / 255)).exp().detach().double().numpy()
    k, expected = counts(survey), np.zeros(64)
    for where in galaxy_zoo_tree.SLICES.values():
        n = k[:, where].sum(1)
        coefficient = scipy.special.gammaln(n + 1) - scipy.special.gammaln(k[:, where] + 1).sum(1)
        fractions = p[:, where] / p[:, where].sum(1, keepdims=True)
        expected += coefficient - np.array(
            [
                multinomial(int(a), f).logpmf(b)
                for a, f, b in zip(n, fractions, k[:, where], strict=True)
            ]
        )
    np.testing.assert_allclose(losses(model, survey), expected, rtol=1e-4)


def test_dirichlet_loss_is_scipys_up_to_the_coefficient(survey):
    model = regressor(loss="dirichlet")
    predicted = model.predict(survey.images / 255).detach().double().numpy()
    k, expected = counts(survey), np.zeros(64)
    fractions = galaxy_zoo_tree.per_question(predicted[:, :37])
    for i, where in enumerate(galaxy_zoo_tree.SLICES.values()):
        n = k[:, where].sum(1)
        coefficient = scipy.special.gammaln(n + 1) - scipy.special.gammaln(k[:, where] + 1).sum(1)
        alphas = fractions[:, where] * predicted[:, 37 + i, None]
        likely = [
            dirichlet_multinomial(a, int(m)).logpmf(b.astype(int))
            for a, m, b in zip(alphas, n, k[:, where], strict=True)
        ]
        expected += coefficient - np.array(likely)
    np.testing.assert_allclose(losses(model, survey), expected, rtol=1e-3)


def test_a_sure_dirichlet_is_a_multinomial(survey):
    logs, k = votes.log_fractions(logits(64)).double(), torch.from_numpy(counts(survey))
    sure = votes._dirichlet_multinomial(logs, torch.full((64, 11), 1e9, dtype=torch.float64), k)
    torch.testing.assert_close(sure, -(k * logs).sum(1), rtol=1e-4, atol=1e-2)


def test_the_concentration_learns_how_much_volunteers_scatter():
    """Votes of 40 people of whom each galaxy has its own opinion, of known spread: the likelihood
    finds the spread."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet([6.0, 3.0, 1.0], 4000)  # concentration 10
    numbers = np.array([generator.multinomial(40, share) for share in shares])
    k = torch.zeros(4000, 37, dtype=torch.float64)
    k[:, :3] = torch.from_numpy(numbers)
    logs = torch.full((4000, 37), -1.0, dtype=torch.float64)
    logs[:, :3] = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    tried = [3.0, 6.0, 8.0, 10.0, 12.5, 16.0, 30.0]
    fits = [
        votes._dirichlet_multinomial(logs, torch.full((4000, 11), s, dtype=torch.float64), k)
        .mean()
        .item()
        for s in tried
    ]
    assert tried[int(np.argmin(fits))] == 10.0


@pytest.mark.parametrize(
    "options",
    [
        {"tree": False, "loss": "mse"},
        *({"loss": name} for name in ("mse", "kl", "multinomial", "dirichlet")),
    ],
)
@pytest.mark.long
def test_every_head_learns_and_has_finite_gradients_at_extremes(options, survey):
    model = regressor(hidden=16, dropout=0.2, **options)
    model.head[-1].weight.data *= 100  # fractions of 0 and 1 in float32
    told = votes.targets(survey.votes, survey.volunteers.float())
    model.loss(survey.images / 255, told).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model = VoteRegressor(encoder("conv", image_size=32), **options)
    part = (survey.images, told)
    rows = list(
        train.fit(model, part, part, epochs=5, batch_size=16, learning_rate=3e-3, precision="fp32")
    )
    assert (
        rows[-1]["val_loss"] < rows[0]["train_loss"] and rows[-1]["val_mse"] < rows[0]["train_mse"]
    )


def test_answers_for_maps(survey):
    raw = regressor(loss="kl")(survey.images / 255)
    column = galaxy_zoo_tree.column("bar", "yes")
    expected = scipy.special.log_softmax(raw[:, galaxy_zoo_tree.SLICES["bar"]].detach().numpy(), 1)[
        :, 0
    ]
    np.testing.assert_allclose(
        regressor(loss="kl").answer(raw, column).detach(), expected, rtol=1e-5
    )
    plain = regressor(tree=False, loss="mse")
    torch.testing.assert_close(plain.answer(raw, column), raw[:, column])


def test_unknown_numbers_of_volunteers_are_those_of_galaxy_zoo_2(survey):
    told = votes.targets(survey.votes, None)
    assert told.shape == (64, 38) and (told[:, 37] == votes.VOLUNTEERS).all()
    some = torch.tensor([30.0] + 63 * [torch.nan])
    assert votes.targets(survey.votes, some)[:2, 37].tolist() == [30.0, votes.VOLUNTEERS]
    missing = survey.votes.clone()
    missing[5] = torch.nan
    with pytest.raises(ValueError, match="row 5 has no votes"):
        votes.targets(missing, None)


@pytest.mark.parametrize("loss", ["kl", "multinomial", "dirichlet"])
def test_plain_outputs_have_no_likelihood(loss):
    with pytest.raises(ValueError, match="plain outputs"):
        VoteRegressor(Flat(), tree=False, loss=loss)
    with pytest.raises(Exception, match="rmse"):
        VoteRegressor(Flat(), loss="rmse")


def test_predict_gives_the_columns_that_it_names(survey):
    for options in ({"loss": "kl"}, {"loss": "dirichlet"}):
        model = regressor(**options)
        assert train.predict(model, survey.images, average_orientations=True).shape == (
            64,
            len(model.outputs),
        )
    assert model.outputs[37:39] == ("s_smooth", "s_edge_on")
    assert (model.predict(survey.images / 255)[:, 37:] > 0).all()


def test_a_trained_model_is_gone_on_from_as_a_whole_if_its_head_is_the_same(survey):
    first, second = (
        regressor(loss="kl", hidden=8),
        VoteRegressor(Flat(), loss="kl", hidden=8, dropout=0.3),
    )
    second.start_from(first.state_dict(), {"head": first.options})
    torch.testing.assert_close(
        second.eval().predict(survey.images / 255), first.eval().predict(survey.images / 255)
    )
    third = VoteRegressor(Flat(), loss="dirichlet", hidden=8)  # has 11 more outputs
    third.start_from(first.state_dict(), {"head": first.options})
    fractions = third.eval().predict(survey.images / 255)[:, :37]
    torch.testing.assert_close(fractions, first.eval().predict(survey.images / 255))
    for options in ({"loss": "mse", "hidden": 8, "tree": False}, {"loss": "kl"}):
        with pytest.raises(ValueError, match="its head is"):
            VoteRegressor(Flat(), **options).start_from(first.state_dict(), {"head": first.options})
    with pytest.raises(ValueError, match="no head for vote fractions"):
        second.start_from(first.state_dict(), {"classes": ["a", "b"]})


# ---- what went wrong in the published project, each as a test


def learned(survey: Survey, where: slice) -> tuple[torch.Tensor, torch.Tensor]:
    return survey.images[where], votes.targets(survey.votes, survey.volunteers.float())[where]


def small() -> VoteRegressor:
    torch.manual_seed(0)
    return VoteRegressor(encoder("conv", image_size=32), loss="kl")


OPTIONS = {"epochs": 3, "batch_size": 16, "precision": "fp32", "monitor": "mse"}


def test_validation_is_the_same_set_after_a_resume_and_another_one_starts_anew(survey, tmp_path):
    """There, validation was drawn anew whenever training went on, from galaxies that had been
    trained on."""
    train_part, val_part, others = (
        learned(survey, slice(a, b)) for a, b in ((0, 32), (32, 48), (48, 64))
    )
    whole = [row["val_mse"] for row in train.fit(small(), train_part, val_part, **OPTIONS)]
    stopped = train.fit(small(), train_part, val_part, checkpoint=tmp_path / "c", **OPTIONS)
    first = next(stopped)["val_mse"]
    stopped.close()
    resumed = [
        row["val_mse"]
        for row in train.fit(small(), train_part, val_part, checkpoint=tmp_path / "c", **OPTIONS)
    ]
    assert resumed == whole and resumed[0] == first
    with pytest.warns(UserWarning, match="data was .* training starts anew"):
        list(train.fit(small(), train_part, others, checkpoint=tmp_path / "c", **OPTIONS))


def test_validation_is_not_augmented(survey):
    """There, validation galaxies were turned and mirrored at random like those to train on."""
    train_part, val_part = (learned(survey, slice(a, b)) for a, b in ((0, 32), (32, 48)))
    seen = []

    def noted(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images * 0.5

    model = small()
    (row,) = train.fit(model, train_part, val_part, views=noted, **OPTIONS | {"epochs": 1})
    assert sum(map(len, seen)) == 32  # the views of training galaxies, and no more
    plain = ((model.predict(val_part[0] / 255) - val_part[1][:, :37]) ** 2).mean().item()
    assert row["val_mse"] == pytest.approx(plain, rel=1e-4)


def test_a_prediction_belongs_to_its_galaxy_in_any_batch_and_order(survey):
    """There, predictions were saved under ids that began anew with every batch."""
    model = small()
    expected = torch.cat(
        [train.predict(model, image, precision="fp32") for image in survey.images.split(1)]
    )
    for batch_size in (1, 7, 64, 100):
        order = torch.randperm(64)
        found = train.predict(model, survey.images[order], batch_size=batch_size, precision="fp32")
        torch.testing.assert_close(found, expected[order], atol=1e-5, rtol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 1e-5  # which galaxy it is makes a difference

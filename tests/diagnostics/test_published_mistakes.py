"""Mistakes that are made on purpose: on data where it is certain what each of them must report.
About 15 s."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.diagnostics import published_mistakes
from galaxymorph.learning import augment, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder

CLASSES = ("dark", "grey", "bright", "white")
TRAINING = dict(batch_size=16, learning_rate=0.01, precision="fp32")


def galaxies(n_train=60, n_val=20, n_test=40, *, random=False, seed=0) -> Galaxies:
    """Galaxies whose class is how bright they are, as many of each; or whose labels are nothing but
    chance."""
    rng = np.random.default_rng(seed)
    n = n_train + n_val + n_test
    brightness = np.arange(n) % 4
    images = rng.integers(0, 40, (n, 3, 32, 32)) + 60 * brightness[:, None, None, None] * (
        not random
    )
    labels = rng.permutation(brightness) if random else brightness
    return Galaxies(
        ids=np.array([f"galaxy-{i:03d}" for i in range(n)]),
        images=torch.from_numpy(images.astype(np.uint8)),
        labels=torch.from_numpy(labels),
        classes=CLASSES,
        votes=None,
        split=np.repeat(np.array(["train", "val", "test"], dtype="U10"), [n_train, n_val, n_test]),
    )


class Pixels(nn.Module):
    """An encoder without weights: a patch of the image, by which every galaxy can be known
    again."""

    num_features = 192

    def forward(self, images):
        return images[:, :, :8, :8].flatten(1) * 8 - 0.6


class Brightness(nn.Module):
    """An encoder without weights that knows the class: a feature for each."""

    num_features = 4

    def forward(self, images):
        return (
            -100 * (images.mean((1, 2, 3))[:, None] * 255 - 19.5 - 60 * torch.arange(4)).abs() / 255
        )


def memory() -> nn.Module:
    """A learner that knows its training galaxies by heart."""
    return Classifier(Pixels(), classes=4)


def wise() -> nn.Module:
    """A network that is always right."""
    model = Classifier(Brightness(), classes=4)
    nn.init.eye_(model.head[1].weight)
    nn.init.zeros_(model.head[1].bias)
    return model


def small() -> nn.Module:
    return Classifier(encoder("cnn", channels=[4, 8]), classes=4)


def right(model, part):
    return float(
        (train.predict(model, part.images, precision="fp32").argmax(1) == part.labels)
        .float()
        .mean()
    )


# ---- the honest way, and the best epoch


def test_the_honest_network_is_that_of_the_best_validation_epoch():
    sample, views = galaxies(random=True), augment.Views()
    model, history = published_mistakes.honest(
        sample, small, views=views, epochs=5, average=0.9, seed=3, **TRAINING
    )
    torch.manual_seed(3)
    known, parts = small(), published_mistakes._parts(sample)
    rows = list(
        train.fit(known, *parts, views=views, epochs=5, average=0.9, seed=3, **TRAINING)
    )  # chooses by itself
    assert (
        history.val_loss.tolist() == [row["val_loss"] for row in rows] and rows[-1]["epochs"] == 5
    )
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), known.parameters(), strict=True)
    )
    assert history.test_accuracy[history.val_loss.idxmin()] == pytest.approx(
        right(model, sample.part("test")), abs=0.03
    )


def test_the_best_test_epoch_is_never_worse_than_the_chosen_one():
    history = pd.DataFrame(
        {"epoch": [1, 2, 3], "val_loss": [0.9, 0.5, 0.7], "test_accuracy": [0.75, 0.6, 0.7]}
    )
    found = published_mistakes.best_epoch(galaxies(), history)
    assert (found.reported, found.honest, found.n) == (0.75, 0.6, 40)
    assert found.finding == published_mistakes.NOT_GIVEN
    assert (
        found.beside["epoch chosen on test galaxies"] == 1
        and found.beside["epoch chosen on validation galaxies"] == 2
    )
    _, history = published_mistakes.honest(galaxies(random=True), memory, epochs=6, **TRAINING)
    found = published_mistakes.best_epoch(galaxies(random=True), history)
    assert (
        found.reported == history.test_accuracy.max() >= found.honest
        and history.test_accuracy.nunique() > 1
    )


# ---- leaks


def test_a_leak_keeps_the_number_of_training_galaxies_and_every_other_split():
    sample = galaxies()
    mixed = published_mistakes.leaky(sample, share=0.64, seed=1)
    assert (mixed.split == "train").sum() == 60 and len(mixed) == len(sample)
    for split in ("val", "test"):
        assert mixed.part(split).ids.tolist() == sample.part(split).ids.tolist()
    assert len(set(mixed.part("train").ids) & set(sample.part("test").ids)) == round(0.64 * 40)
    assert len(set(mixed.part("train").ids)) == 60
    truth = dict(zip(sample.ids, sample.labels.tolist(), strict=True))
    assert [truth[name] for name in mixed.ids] == mixed.labels.tolist()
    assert (sample.split == galaxies().split).all()  # the data set itself is left alone


def test_a_network_that_learns_by_heart_is_right_about_what_has_leaked():
    sample = galaxies(random=True)
    options = dict(
        epochs=60,
        monitor=None,
        batch_size=16,
        learning_rate=0.03,
        weight_decay=0.0,
        precision="fp32",
    )
    torch.manual_seed(0)
    model = memory()
    list(train.fit(model, *published_mistakes._parts(sample), **options))
    found = published_mistakes.leak(sample, model, memory, share=0.6, **options)
    assert right(model, sample.part("train")) == 1  # it does
    assert abs(found.honest - 0.25) < 0.2  # chance of 4 classes: +- 3 sigma of 40 galaxies
    assert found.beside["test galaxies that were trained on"] == 1
    unseen = found.beside["test galaxies that were not trained on"]
    assert found.reported == pytest.approx(0.6 + 0.4 * unseen) and unseen < 0.7
    assert found.finding.check == "ids" and found.finding.severity == "leak"


def test_nothing_leaks_without_a_share_and_more_than_all_is_refused():
    sample = galaxies()
    assert published_mistakes.leaky(sample, share=0.0).fingerprint == sample.fingerprint
    with pytest.raises(
        ValueError, match=r"share=0.64 of 40 test galaxies in place of some of 20.*from 0 to 0.50"
    ):
        published_mistakes.leaky(galaxies(n_train=20), share=0.64)
    with pytest.raises(ValueError, match=r"share=1.2 .*from 0 to 1.00"):
        published_mistakes.leaky(sample, share=1.2)


# ---- predictions and preprocessing


def test_shuffled_predictions_of_a_perfect_network_are_a_guess():
    sample = galaxies(n_test=400)
    found = published_mistakes.shuffled_predictions(sample, wise(), seed=2)
    assert found.honest == found.beside["accuracy, not shuffled"] == 1 and found.n == 400
    assert abs(found.reported - 0.25) < 0.08
    assert abs(found.beside["macro recall, shuffled"] - 0.25) < 0.08
    assert found.finding.check == "order" and found.finding.severity != "passed"


def test_the_same_preprocessing_makes_no_difference_and_another_one_does():
    sample = galaxies(24, 8, 40)
    model, _ = published_mistakes.honest(
        sample, small, epochs=12, batch_size=8, learning_rate=0.02, precision="fp32"
    )
    same = published_mistakes.other_preprocessing(sample, model, mean=0.1, std=0.15)
    assert same.reported == same.honest == pytest.approx(right(model, sample.part("test")))
    before = {
        name: value.clone() for name, value in [*model.state_dict().items(), *model.named_buffers()]
    }
    other = published_mistakes.other_preprocessing(sample, model, mean=[3.0, 3.0, 3.0], std=0.15)
    assert other.reported < other.honest and other.honest == same.honest
    assert other.finding.check == "normalisation" and other.finding.severity == "warning"
    assert "uses mean [3.0, 3.0, 3.0]" in other.finding.message
    assert all(
        torch.equal(before[name], value)
        for name, value in [*model.state_dict().items(), *model.named_buffers()]
    )
    # as if the images themselves were so much darker: (x - 3) / s is what the network sees of x -
    # 2.9
    moved = encoder("cnn", channels=[4, 8], mean=3.0)
    moved.load_state_dict(model.encoder.state_dict())
    model.encoder = moved
    assert other.reported == pytest.approx(right(model, sample.part("test")))


# ---- validation


@pytest.mark.long
def test_validation_galaxies_that_were_trained_on_flatter():
    sample = galaxies(60, 20, 60, random=True)
    options = dict(
        epochs=20,
        monitor=None,
        batch_size=16,
        learning_rate=0.03,
        weight_decay=0.0,
        precision="fp32",
    )
    found = published_mistakes.resampled_validation(sample, memory, legs=4, seed=1, **options)
    share = found.beside["share of the last validation galaxies that had been trained on"]
    assert share > 0.9  # 1 - (1/4)^3 of them
    assert found.reported > 0.25 + 3 * np.sqrt(0.25 * 0.75 / 20)  # chance of 20 galaxies
    assert abs(found.honest - 0.25) < 3 * np.sqrt(0.25 * 0.75 / 60)
    assert found.beside["validation galaxies with a fixed split"] < found.reported
    assert found.finding.check == "labels seen" and found.finding.severity == "warning"


def test_a_training_has_a_leg():
    with pytest.raises(ValueError, match=r"legs=0: expected at least 1"):
        published_mistakes.resampled_validation(galaxies(), memory, legs=0, epochs=1)


def test_one_leg_is_the_honest_training():
    sample = galaxies(random=True)
    found = published_mistakes.resampled_validation(
        sample, memory, legs=1, seed=2, epochs=3, **TRAINING
    )
    model, history = published_mistakes.honest(sample, memory, seed=2, epochs=3, **TRAINING)
    assert found.reported == history.val_accuracy[history.val_loss.idxmin()]
    assert found.reported == found.beside["validation galaxies with a fixed split"]
    assert found.honest == pytest.approx(right(model, sample.part("test")), abs=0.03)
    assert found.beside["share of the last validation galaxies that had been trained on"] == 0
    assert found.finding.severity == "passed"


@pytest.mark.long
def test_sorted_validation_is_the_recall_of_one_class():
    class Stubborn(Classifier):
        """Takes every galaxy for the first class."""

        def forward(self, images):
            return super().forward(images) * 0 + torch.tensor([1.0, 0.0, 0.0, 0.0])

    sample = galaxies(n_train=160, n_val=40, n_test=80)
    fresh = lambda: Stubborn(Pixels(), classes=4)  # noqa: E731
    found = published_mistakes.sorted_validation(sample, wise(), fresh, epochs=1, **TRAINING)
    assert (found.reported, found.honest, found.n) == (1.0, 0.25, 80)
    assert found.beside["share of the first class among the validation galaxies"] == 1
    assert found.beside["test galaxies with a stratified split"] == 1
    assert found.finding.check == "class balance" and found.finding.severity == "warning"


# ---- features


def test_features_in_training_mode_are_normalised_by_the_galaxy_itself():
    torch.manual_seed(0)
    images = galaxies().images[:6]
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten())
    network[0].weight.data, network[0].bias.data = (
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([0.5, 0.0, -0.5]),
    )
    found = published_mistakes.one_by_one(network, images).view(6, 3, 32, 32)
    x = images.double().numpy() / 255
    mean, variance = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
    by_hand = (x - mean) / np.sqrt(variance + 1e-5) * np.array([1, 2, 3]).reshape(3, 1, 1)
    by_hand += np.array([0.5, 0, -0.5]).reshape(3, 1, 1)
    np.testing.assert_allclose(found.numpy(), by_hand, atol=1e-3)
    drifted = np.zeros(3)
    for galaxy in mean[:, :, 0, 0]:
        drifted = 0.9 * drifted + 0.1 * galaxy  # BatchNorm's momentum
    np.testing.assert_allclose(network[0].running_mean.numpy(), drifted, rtol=1e-5)
    eval_mode = train.embed(network, images, precision="fp32").view(6, 3, 32, 32)
    assert (eval_mode - found).abs().mean() > 0.3


def test_training_mode_forgets_what_is_brightness():
    class Means(nn.Module):
        """The mean of each band after BatchNorm: of a galaxy by itself it is the same for all."""

        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images):
            return (
                self.norm(images).mean((2, 3)).round(decimals=3)
            )  # no rounding error is left to learn from

    network = Means()
    found = published_mistakes.training_mode(galaxies(n_test=80), network)
    assert found.honest == 1 and found.reported < 0.6
    assert found.finding.check == "batches" and found.finding.severity == "leak"
    assert "norm (BatchNorm2d)" in found.finding.message and "running_mean" in found.finding.message
    assert network.norm.num_batches_tracked == 0  # the encoder itself is left alone


def test_queries_are_the_galaxies_and_keys_their_views():
    views = published_mistakes.of_keys_alone(lambda images, *, generator=None: images + 1)
    images = torch.zeros(2, 3, 4, 4)
    drawn = [float(views(images, generator=None).mean()) for _ in range(4)]
    assert drawn == [0, 1, 0, 1]


@pytest.mark.long
def test_moco_of_one_view_is_held_against_moco_of_both():
    sample = galaxies(n_train=40)
    sample.split[:4], sample.labels[:4] = "unlabelled", -1
    seen = []

    def views(images, *, generator=None):
        seen.append(len(images))
        return images.flip(-1)

    fresh = lambda: encoder("cnn", channels=[4, 8])  # noqa: E731
    options = dict(
        views=views, contrast=dict(queue=16, dim=8), epochs=2, batch_size=20, precision="fp32"
    )
    both = published_mistakes.pretrained(sample, fresh, **options)
    drawn = [*seen]
    assert (
        drawn == [20] * 12
    )  # two views of 40 galaxies, the unlabelled ones among them, and of 20 of validation, twice
    seen.clear()
    found = published_mistakes.one_view(sample, both, fresh, **options)
    assert sum(seen) == sum(drawn) / 2  # of one view alone
    assert (
        found.n == 40
        and 0 <= found.reported <= 1
        and 0 <= found.honest <= 1
        and 0 <= found.beside["random weights"] <= 1
    )
    assert published_mistakes.one_view(sample, both, fresh, **options) == found  # the same seed

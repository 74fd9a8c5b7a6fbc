"""The training loop, prediction and what a learner needs of them."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from galaxymorph import pixels
from galaxymorph.learning import augment, device, state, train
from galaxymorph.learning.classifier import DNN, Classifier, balanced_weights
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.probes import linear_probe, nearest_neighbours


class Bright(nn.Module):
    """A learner that can tell bright from dark galaxies: logistic regression on the mean of the
    image."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1, 1))
        self.shift = nn.Parameter(torch.zeros(1))

    def logit(self, images):
        return images.mean((1, 2, 3))[:, None] @ self.scale + self.shift

    def loss(self, images, targets):
        return nn.functional.binary_cross_entropy_with_logits(
            self.logit(images).float()[:, 0], targets.float()
        )


def bright_and_dark(n: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randint(0, 120, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return images + (labels * 100).to(torch.uint8)[:, None, None, None], labels


def small_classifier(seed: int = 0, **options) -> Classifier:
    """With BatchNorm and two stages."""
    torch.manual_seed(seed)
    return Classifier(encoder("cnn", channels=[8, 16]), classes=2, **options)


def test_a_learner_with_nothing_but_a_loss_is_trained_and_reported():
    rows = list(
        train.fit(
            Bright(), bright_and_dark(40), bright_and_dark(10, 1), epochs=30, learning_rate=1.0
        )
    )
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["val_loss"] < 0.6 * math.log(2)  # the loss of a guess
    assert {
        "train_loss",
        "val_loss",
        "learning_rate",
        "seconds",
        "images_per_second",
        "epochs",
    } <= set(rows[0])
    assert "val_accuracy" not in rows[0]


def test_the_same_seed_gives_the_same_history_and_another_seed_another():
    def history(seed):
        learner = small_classifier(seed, dropout=0.3)
        views = augment.Views()
        data, val = bright_and_dark(24), bright_and_dark(8, 1)
        rows = train.fit(
            learner, data, val, views=views, epochs=2, batch_size=8, average=0.9, seed=seed
        )
        return [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}
            for row in rows
        ]

    assert history(3) == history(3)
    assert history(3) != history(4)


def test_the_weights_left_are_those_of_the_best_epoch_on_validation_data():
    class Counted(Bright):
        """Measures a score that is best in the third epoch, whatever was learned."""

        def __init__(self):
            super().__init__()
            self.calls, self.seen = 0, {}

        def measures(self, images, targets):
            if self.training:
                return {"loss": self.loss(images, targets)}
            self.calls += 1
            self.seen[self.calls] = self.scale.detach().clone()
            scores = {1: 0.1, 2: 0.5, 3: 0.9, 4: 0.2, 5: 0.3}
            return {"loss": torch.tensor(1.0), "accuracy": torch.tensor(scores[self.calls])}

    learner = Counted()
    data, val = bright_and_dark(40), bright_and_dark(10, 1)
    rows = list(train.fit(learner, data, val, epochs=5, monitor="accuracy", learning_rate=0.1))
    assert torch.equal(learner.scale, learner.seen[3])
    assert not torch.equal(learner.seen[5], learner.seen[3])
    assert len(rows) == 5
    patient = Counted()
    rows = list(train.fit(patient, data, val, epochs=5, monitor="accuracy", patience=1))
    assert len(rows) == 4  # the fourth epoch was not better than the third


def test_validation_galaxies_are_never_augmented():
    seen = []

    def views(images):
        seen.append(len(images))
        return images

    rows = list(
        train.fit(
            Bright(), bright_and_dark(40), bright_and_dark(10), views=views, epochs=3, batch_size=20
        )
    )
    assert len(rows) == 3
    assert seen == [20] * 6  # two training batches an epoch and nothing else


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights():
    class Exploding(Bright):
        steps = 0

        def loss(self, images, targets):
            self.steps += self.training
            return super().loss(images, targets) * (math.nan if self.steps > 2 else 1.0)

    learner, kept = Exploding(), []
    keep = lambda module: kept.append(module.scale.detach().clone())  # noqa: E731
    rows = train.fit(
        learner,
        bright_and_dark(40),
        bright_and_dark(10),
        epochs=4,
        batch_size=20,
        warmup=0.0,
        keep=keep,
    )
    first = next(rows)
    good = learner.scale.detach().clone()
    assert math.isfinite(first["val_loss"])
    assert good != 0
    with pytest.raises(
        train.Diverged,
        match=r"in epoch 2 the training loss is nan.*weights of epoch 1 are kept.*learning_rate",
    ):
        next(rows)
    assert torch.equal(learner.scale, good)
    assert len(kept) == 1 and torch.equal(kept[0], good)


def test_weights_that_only_fail_on_validation_galaxies_are_not_kept():
    class Blind(Bright):
        def loss(self, images, targets):
            return super().loss(images, targets) * (1.0 if self.training else math.inf)

    with pytest.raises(train.Diverged, match="validation loss inf; the weights of epoch 0"):
        next(train.fit(Blind(), bright_and_dark(40), bright_and_dark(10), epochs=1))


def test_an_epoch_meets_every_galaxy_once_in_batches_of_nearly_one_size():
    generator = torch.Generator().manual_seed(0)
    parts = list(
        train.batches(
            torch.zeros(65, dtype=torch.long), batch_size=32, balanced=False, generator=generator
        )
    )
    assert sorted(torch.cat(parts).tolist()) == list(range(65))
    assert [len(part) for part in parts] == [22, 22, 21]  # not 32, 32 and a lone galaxy
    few = train.batches(
        torch.zeros(5, dtype=torch.long), batch_size=2, balanced=False, generator=generator
    )
    assert [len(part) for part in few] == [3, 2]


def test_views_are_drawn_in_full_precision():
    seen = []

    def views(images):
        seen.append((images @ images).dtype)  # a product that autocast would round
        return images

    next(
        train.fit(
            Bright(),
            bright_and_dark(40),
            bright_and_dark(10),
            views=views,
            epochs=1,
            precision="bf16",
        )
    )
    assert set(seen) == {torch.float32}


def test_balanced_draws_meet_a_rare_class_as_often_as_a_common_one():
    labels = torch.tensor([0] * 900 + [1] * 100)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat(
        list(train.batches(labels, batch_size=50, balanced=True, generator=generator))
    )
    assert abs(labels[drawn].float().mean().item() - 0.5) < 0.05  # 3 sigma


def test_the_learning_rate_rises_linearly_and_falls_to_zero_as_a_cosine():
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = state.warmup_and_cosine(sgd, steps=10, warmup=0.2)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        sgd.step()
        schedule.step()
    expected = [1.0, 2.0] + [1 + math.cos(math.pi * k / 8) for k in range(8)]
    assert rates == pytest.approx(expected)


def test_a_galaxys_prediction_does_not_depend_on_its_batch_or_place():
    learner = small_classifier()
    images, _ = bright_and_dark(9)
    list(
        train.fit(learner, bright_and_dark(16), bright_and_dark(4), epochs=1)
    )  # so that BatchNorm has seen something
    whole = train.predict(learner, images, precision="fp32")
    torch.testing.assert_close(
        whole, train.predict(learner, images, batch_size=1, precision="fp32"), rtol=1e-4, atol=1e-5
    )
    order = torch.randperm(9)
    torch.testing.assert_close(
        whole[order], train.predict(learner, images[order], precision="fp32"), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(whole.sum(1), torch.ones(9))


def test_prediction_changes_no_weight_and_no_buffer():
    learner = small_classifier()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    learner.train()
    train.predict(learner, bright_and_dark(8)[0])
    train.evaluate(learner, bright_and_dark(8))
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_averaging_over_orientations_makes_a_prediction_blind_to_them():
    learner, (images, _) = small_classifier(), bright_and_dark(6)
    images[:, :, :8, :4] = 255
    turned = torch.rot90(images, 1, (2, 3)).flip(3)
    plain, plain_turned = (train.predict(learner, x, precision="fp32") for x in (images, turned))
    assert not torch.allclose(plain, plain_turned, atol=1e-5)
    averaged = [
        train.predict(learner, x, average_orientations=True, precision="fp32")
        for x in (images, turned)
    ]
    torch.testing.assert_close(*averaged, rtol=1e-4, atol=1e-5)


def test_the_eight_orientations_are_all_different():
    image = torch.rand(1, 3, 5, 5)
    views = pixels.orientations(image)
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
    assert torch.equal(views[5], torch.rot90(image, 1, (2, 3)).flip(3))


def test_no_galaxies_to_validate_with_or_an_unknown_measure_is_refused():
    data = bright_and_dark(8)
    with pytest.raises(ValueError, match="0 to validate"):
        next(train.fit(Bright(), data, (data[0][:0], data[1][:0])))
    with pytest.raises(ValueError, match="patience=0"):
        next(train.fit(Bright(), data, data, patience=0))
    with pytest.raises(ValueError, match="the learner measures loss"):
        next(train.fit(Bright(), data, data, monitor="accuracy"))
    with pytest.raises(ValueError, match="Bright has no stages"):
        next(train.fit(Bright(), data, data, layer_decay=0.5))


def test_bf16_is_used_only_where_the_processor_has_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(
        torch.cpu,
        "get_capabilities",
        lambda: {"avx512_f": True, "avx512_bf16": False},
        raising=False,
    )
    assert not device.has_bf16(cpu)
    with device.autocast("auto", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    with device.autocast("auto", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    for limit, has in (("AVX2", False), ("avx512_core_bf16", True), ("ALL", True)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert device.has_bf16(cpu) == has
    with pytest.raises(ValueError, match="fp16"):
        device.autocast("fp16", cpu)


def test_the_loss_of_the_classifier_is_weighted_in_training_and_plain_when_it_is_judged():
    weights = balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])
    learner = small_classifier(class_weights=weights)
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 0, 1, 0])
    with torch.no_grad():
        log_p = learner.predict(images).log()
        weighted = -sum(weights[k] * log_p[i, k] for i, k in enumerate(labels)) / sum(
            weights[k] for k in labels
        )
        torch.testing.assert_close(learner.loss(images, labels), weighted)
        log_p = learner.eval().predict(images).log()
        torch.testing.assert_close(
            learner.loss(images, labels), -sum(log_p[i, k] for i, k in enumerate(labels)) / 4
        )
        right = (log_p.argmax(1) == labels).float().mean()
        torch.testing.assert_close(learner.measures(images, labels)["accuracy"], right)
    with pytest.raises(ValueError, match="class 1"):
        balanced_weights(torch.tensor([0, 2]), 3)


def told(rows):
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
        for row in rows
    ]


@pytest.mark.parametrize("stop", [1, 3])
def test_a_training_that_was_stopped_goes_on_as_if_it_never_had(tmp_path, stop):
    def start(**options):
        learner, views = small_classifier(5, dropout=0.4), augment.Views()
        data, val = bright_and_dark(24), bright_and_dark(8, 1)
        settings = dict(
            views=views, epochs=4, batch_size=8, average=0.9, seed=5, learning_rate=3e-3
        )
        return learner, train.fit(learner, data, val, **settings, **options)

    whole, rows = start()
    expected = told(rows)
    _, rows = start(checkpoint=tmp_path / "x.checkpoint")
    for _ in range(stop):
        next(rows)
    rows.close()
    torch.manual_seed(123)
    kept = []
    resumed, rows = start(
        checkpoint=tmp_path / "x.checkpoint", keep=lambda module: kept.append(module.training)
    )
    assert told(rows) == expected
    assert kept  # the best weights so far are written again, should their file be gone
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    again, rows = start(checkpoint=tmp_path / "x.checkpoint")  # of a training that has ended
    assert told(rows) == expected
    assert torch.equal(again.head[1].weight, whole.head[1].weight)


def test_patience_survives_a_stop(tmp_path):
    class Worse(Bright):
        def measures(self, images, targets):
            return {
                "loss": self.loss(images, targets) * 0
                + (1.0 if self.training else self.shift.sum() * 0 + 1.0)
            }

    data, val = bright_and_dark(8), bright_and_dark(4, 1)
    rows = train.fit(Worse(), data, val, epochs=9, patience=3, checkpoint=tmp_path / "c")
    assert [next(rows)["best"], next(rows)["best"]] == [True, False]
    rows.close()
    assert (
        len(list(train.fit(Worse(), data, val, epochs=9, patience=3, checkpoint=tmp_path / "c")))
        == 4
    )


def test_a_checkpoint_of_other_settings_is_set_aside_and_said_so(tmp_path):
    path = tmp_path / "x.checkpoint"
    data, val = bright_and_dark(8), bright_and_dark(4, 1)
    next(train.fit(Bright(), data, val, epochs=3, learning_rate=0.1, checkpoint=path))
    with pytest.warns(UserWarning, match=r"learning_rate was 0.1, is 0.2.*x.checkpoint.old"):
        rows = list(train.fit(Bright(), data, val, epochs=3, learning_rate=0.2, checkpoint=path))
    assert len(rows) == 3 and (tmp_path / "x.checkpoint.old").is_file()
    with pytest.warns(UserWarning, match="galaxies was 8, is 6"):
        next(
            train.fit(
                Bright(),
                (data[0][:6], data[1][:6]),
                val,
                epochs=3,
                learning_rate=0.2,
                checkpoint=path,
            )
        )


@pytest.mark.parametrize(
    "change", ["images", "labels", "validation", "views", "weights", "option", "frozen", "mean"]
)
def test_a_checkpoint_of_other_galaxies_views_or_first_weights_is_set_aside(tmp_path, change):
    def start(changed):
        data, val = bright_and_dark(8), bright_and_dark(4, 1)
        if changed == "images":
            data = 255 - data[0], data[1]
        if changed == "labels":
            data = data[0], 1 - data[1]
        if changed == "validation":
            val = bright_and_dark(4, 2)
        learner, views = (
            small_classifier(int(changed == "weights")),
            augment.Views(zoom=0.3 if changed == "views" else 0.1),
        )
        learner.label_smoothing = 0.1 if changed == "option" else 0.0
        next(learner.parameters()).requires_grad_(changed != "frozen")
        learner.register_buffer(
            "mean", torch.tensor(0.2 if changed == "mean" else 0.1), persistent=False
        )
        return train.fit(
            learner,
            data,
            val,
            views=views,
            epochs=2,
            batch_size=8,
            checkpoint=tmp_path / "x.checkpoint",
        )

    next(start(None))
    with pytest.warns(UserWarning, match="starts anew"):
        next(start(change))


def test_the_moving_average_forgets_its_beginning_within_a_short_training():
    """After t steps the decay is no more than (1 + t) / (10 + t): by hand, on a training of 40
    steps."""
    learner, weights = Bright(), []
    options = {
        "epochs": 40,
        "batch_size": 16,
        "learning_rate": 0.1,
        "average": 0.8,
        "monitor": None,
    }
    watch = lambda *_: weights.append(learner.shift.item()) or {}  # noqa: E731
    list(train.fit(learner, bright_and_dark(16), bright_and_dark(4, 1), watch=watch, **options))
    expected = weights[0]
    for t, weight in enumerate(weights[1:], 1):
        decay = min(0.8, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * weight
    assert learner.shift.item() == pytest.approx(expected, rel=1e-4)


def test_a_network_with_batch_norm_is_no_worse_by_a_slow_moving_average_over_few_steps():
    options = {"epochs": 10, "batch_size": 16, "learning_rate": 3e-3, "seed": 0}
    *_, row = train.fit(
        small_classifier(), bright_and_dark(64), bright_and_dark(40, 1), average=0.99, **options
    )
    assert row["val_accuracy"] > 0.9


def test_the_moving_average_leaves_counters_and_queues_as_they_are():
    class Counting(Bright):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", torch.zeros(()))

        def loss(self, images, targets):
            self.steps += self.training
            return super().loss(images, targets)

    learner = Counting()
    rows = list(
        train.fit(
            learner,
            bright_and_dark(40),
            bright_and_dark(10),
            epochs=3,
            batch_size=20,
            average=0.9,
            monitor=None,
        )
    )
    assert len(rows) == 3 and learner.steps == 6


def test_without_a_monitor_the_last_epoch_is_kept():
    learner, kept = Bright(), []
    keep = lambda module: kept.append(module.scale.detach().clone())  # noqa: E731
    data = bright_and_dark(40)
    worse = data[0], 1 - data[1]  # the more is learned, the worse on these
    rows = list(
        train.fit(learner, data, worse, epochs=4, learning_rate=1.0, monitor=None, keep=keep)
    )
    assert rows[-1]["val_loss"] > rows[0]["val_loss"] and all(row["best"] for row in rows)
    assert len(kept) == 4 and torch.equal(learner.scale, kept[-1])


def test_early_stages_learn_slower_by_the_layer_decay():
    learner = Classifier(encoder("resnet18"), classes=2)
    adamw = state.optimiser(
        learner, "adamw", learning_rate=1e-3, layer_decay=0.5, weight_decay=0.05
    )
    rates = {id(p): group["lr"] for group in adamw.param_groups for p in group["params"]}
    stages = [
        learner.encoder.body.conv1,
        *(getattr(learner.encoder.body, f"layer{i}") for i in range(1, 5)),
        learner.head,
    ]
    for depth, stage in enumerate(stages):
        assert {rates[id(p)] for p in stage.parameters()} == {1e-3 * 0.5 ** (5 - depth)}
    assert len(rates) == len(list(learner.parameters()))
    row = next(
        train.fit(
            learner, bright_and_dark(8), bright_and_dark(4), epochs=2, batch_size=8, layer_decay=0.5
        )
    )
    assert row["learning_rate"] == pytest.approx(1e-3)  # of the head


def test_features_are_those_of_eval_mode_in_the_order_of_the_galaxies():
    network = encoder("cnn", channels=[8, 16]).train()
    images, _ = bright_and_dark(5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    features = train.embed(network, images, batch_size=2, precision="fp32")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        expected = network.eval()(images.float() / 255)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
        each = train.embed(network, images, each_orientation=True, batch_size=2, precision="fp32")
        by_hand = torch.stack([network(view) for view in pixels.orientations(images.float() / 255)])
    torch.testing.assert_close(each, by_hand, rtol=1e-4, atol=1e-5)


def test_features_of_views_follow_from_their_seed():
    mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.arange(0, 250, 50, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 32, 32)
    views = augment.Views(noise=0.0, colour=0.0, brightness=0.1)
    first, again, other = (train.embed(mean, images, views=views, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.testing.assert_close(
        first, images[:, :, 0, 0] / 255, rtol=0.1001, atol=0
    )  # each within its 10 per cent


def test_a_dnn_on_features_standardises_them_and_learns():
    torch.manual_seed(0)
    labels = torch.arange(80) % 2
    features = torch.randn(80, 6) * torch.tensor([1.0, 1, 1, 1, 1, 1e-3]) + torch.tensor(
        [0.0, 0, 0, 0, 50, 0]
    )
    features[:, 5] += labels * 4e-3  # four sigma in the faintest feature
    body = DNN(features, hidden=(8,), dropout=0.0)
    torch.testing.assert_close(body.mean, features.mean(0))
    model = Classifier(body, classes=2)
    *_, last = train.fit(
        model, (features, labels), (features, labels), epochs=40, batch_size=16, learning_rate=1e-2
    )
    assert last["val_accuracy"] > 0.9
    assert train.predict(model, features).shape == (80, 2)


def test_probe_and_neighbours_choose_by_validation_galaxies():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 20, generator=generator)
    features[:, :3] += 2 * nn.functional.one_hot(labels, 3)
    part, val = (features[:40], labels[:40]), (features[40:], labels[40:])
    probe = linear_probe(part, val)
    losses = []
    for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):  # by hand
        scaled = (features - features[:40].mean(0)) / features[:40].std(0, unbiased=False)
        fitted = LogisticRegression(C=strength, max_iter=2000).fit(
            scaled[:40].numpy(), labels[:40].numpy()
        )
        p = fitted.predict_proba(scaled[40:].numpy())
        losses.append(-np.mean(np.log(p[np.arange(20), labels[40:].numpy()])))
    p = probe.predict_proba(features[40:].numpy())
    assert -np.mean(np.log(p[np.arange(20), labels[40:].numpy()])) == pytest.approx(
        min(losses), rel=1e-3
    )
    voted = nearest_neighbours(part, val, numbers=(1, 5, 99))  # 99 is more than there are
    unit = nn.functional.normalize(features, dim=1)
    scores = {}
    for k in (1, 5, 40):
        similar, nearest = (unit[40:] @ unit[:40].T).topk(k)
        votes = torch.zeros(20, 3).scatter_add_(
            1, labels[:40][nearest], 1 / (1 - similar).clamp_min(1e-12)
        )
        scores[k] = (votes.argmax(1) == labels[40:]).float().mean().item()
    assert voted.score(features[40:].numpy(), labels[40:].numpy()) == pytest.approx(
        max(scores.values())
    )


def test_few_galaxies_are_trained_on_for_the_least_number_of_steps():
    def epochs_and_steps(n, **options):
        learner = Bright()
        met = []
        views = lambda images: met.append(len(images)) or images  # noqa: E731
        length = {"batch_size": 8, "epochs": 3, **options}
        rows = list(
            train.fit(learner, bright_and_dark(n), bright_and_dark(4, 1), views=views, **length)
        )
        assert {row["epochs"] for row in rows} == {len(rows)}
        assert sum(met) % (n * len(rows)) == 0  # in each epoch every galaxy as often
        assert len(met) == train.n_steps(n, **length)
        assert rows[-1]["learning_rate"] == pytest.approx(
            0, abs=1e-9
        )  # the cosine has come to its end
        return len(rows), len(met)

    assert epochs_and_steps(16) == (3, 6)  # two batches each
    assert epochs_and_steps(16, least_steps=9) == (3, 12)
    assert epochs_and_steps(16, least_steps=8) == (2, 8)
    assert epochs_and_steps(64, least_steps=9) == (3, 24)


def test_the_loss_of_an_epoch_of_several_passes_is_the_mean_over_all_of_them():
    still = {
        "batch_size": 8,
        "epochs": 1,
        "least_steps": 6,
        "learning_rate": 1e-12,
    }  # weights that hardly change
    (row,) = train.fit(Bright(), bright_and_dark(16), bright_and_dark(4, 1), **still)
    assert row["train_loss"] == pytest.approx(
        math.log(2), rel=1e-4
    )  # of a learner that knows nothing


class TwoHeads(Bright):
    """A learner whose targets are labels and the domain of each galaxy, such as survey or mock."""

    def __init__(self):
        super().__init__()
        self.met = []

    def loss(self, images, targets):
        labels, domain = targets
        self.met.append((labels, domain))
        known = super().loss(images, labels)
        return known + nn.functional.mse_loss(self.shift.expand(len(domain)), domain.float())


def test_targets_may_be_labels_and_a_domain(tmp_path):
    def part(n, seed=0):
        images, labels = bright_and_dark(n, seed)
        return images, (labels, torch.arange(n) % 3)

    options = {"epochs": 3, "batch_size": 8, "balanced": True, "checkpoint": tmp_path / "c"}
    learner = TwoHeads()
    rows = list(train.fit(learner, part(24), part(9, 1), **options))
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    batch = [(len(labels), len(domain)) for labels, domain in learner.met]
    assert batch == 3 * [(8, 8), (8, 8), (8, 8), (9, 9)]  # training batches and validation
    labels, domain = learner.met[3]
    assert labels.tolist() == [k % 2 for k in range(9)]
    assert domain.tolist() == [k % 3 for k in range(9)]
    expected = train.evaluate(learner, part(9, 1), batch_size=4)["loss"]
    assert rows[-1]["val_loss"] == pytest.approx(expected)
    images, (labels, domain) = part(24)
    other = images, (labels, 2 - domain)  # another domain is other data
    with pytest.warns(UserWarning, match="data was .* training starts anew"):
        next(train.fit(TwoHeads(), other, part(9, 1), **options))

"""Semi-supervised learning: equations against loops in NumPy, few labels, and resuming."""

import re

import numpy as np
import pytest
import torch

from galaxymorph.learning import encoders, model_files, saved, train
from galaxymorph.learning.augment import Views
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.semi_supervised import SemiSupervised, collapse

OFF = {"zoom": 0.0, "brightness": 0.0, "colour": 0.0, "noise": 0.0}
WEAK = Views(quarter_turns=True, shift=0.03, **OFF)
STRONG = Views(zoom=0.2, shift=0.1, blur=0.7, noise=0.03, brightness=0.4, colour=0.1)


def discs_and_bars(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Discs (0) and bars (1), turned and shifted, of any size and brightness, in noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    images, labels = [], np.arange(n) % 2
    for label in labels:
        angle, flux, size = rng.uniform(0, np.pi), rng.uniform(0.3, 0.9), rng.uniform(3, 5)
        dx, dy = rng.uniform(-2, 2, 2)
        u = (x - dx) * np.cos(angle) + (y - dy) * np.sin(angle)
        v = (y - dy) * np.cos(angle) - (x - dx) * np.sin(angle)
        bar = (abs(u) < 2.2 * size) & (abs(v) < 0.4 * size)
        shape = bar if label else np.hypot(u, v) < size
        images.append(flux * shape + rng.normal(0.1, 0.02, (3, 32, 32)))
    pixels = torch.tensor(np.array(images)).mul(255).clamp(0, 255).byte()
    return pixels, torch.tensor(labels)


def classifier(classes: int = 2, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(encoders.encoder("cnn", channels=[8, 16]), classes=classes)


def semi(unlabelled=None, labels=(0, 1), *, classes=2, seed=0, **options) -> SemiSupervised:
    unlabelled = discs_and_bars(8, 1)[0] if unlabelled is None else unlabelled
    how = {"classes": classes, "weak": WEAK, "strong": STRONG} | options
    return SemiSupervised(classifier(classes, seed), unlabelled, torch.tensor(labels), **how)


def probabilities(n: int, classes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([0.4, 0.9, 0.7][:classes], n)


@pytest.mark.parametrize("alignment", [False, True])
def test_thresholds_follow_the_equations_of_freematch_and_alignment_those_of_remixmatch(alignment):
    model = semi(labels=[0, 1, 1, 2, 2, 2, 2, 2], classes=3, momentum=0.8, alignment=alignment)
    prior = np.array([1, 2, 5]) / 8
    tau, local, mean = 1 / 3, np.full(3, 1 / 3), np.full(3, 1 / 3)
    shares = []
    for step in range(5):
        q = probabilities(20, 3, step)
        model._follow(torch.tensor(q, dtype=torch.float32))
        mean = 0.8 * mean + 0.2 * np.mean(q, 0)
        if alignment:
            q = np.array([row * prior / mean / np.sum(row * prior / mean) for row in q])
        tau = 0.8 * tau + 0.2 * np.mean([max(row) for row in q])  # eq. 5
        local = 0.8 * local + 0.2 * np.mean(q, 0)  # eq. 6
        wanted = [local[c] / max(local) * tau for c in range(3)]  # eq. 7
        np.testing.assert_allclose(model.thresholds(), wanted, rtol=1e-5)
        q = probabilities(50, 3, 100 + step)
        told = q * (prior / mean) ** alignment
        told /= told.sum(1, keepdims=True)
        given = model.aligned(torch.tensor(q, dtype=torch.float32))
        np.testing.assert_allclose(given, told, rtol=1e-5)
        classes, used = model.pseudo_labels(given)
        assert classes.tolist() == [int(np.argmax(row)) for row in told]
        assert used.tolist() == [max(row) >= wanted[int(np.argmax(row))] for row in told]
        shares.append(float(used.float().mean()))
    assert 0 < np.mean(shares) < 1


def test_a_fixed_threshold_is_that_of_fixmatch():
    model = semi(threshold=0.95, alignment=False)
    q = torch.tensor([[0.94, 0.06], [0.04, 0.96], [0.5, 0.5], [0.96, 0.04]])
    classes, used = model.pseudo_labels(q)
    assert used.tolist() == [False, True, False, True] and classes[used].tolist() == [1, 0]


def test_the_loss_is_that_of_the_labels_and_of_the_confident_pseudo_labels():
    same = Views(rotation=False, flip=False, shift=0.0, **OFF)
    unlabelled, _ = discs_and_bars(30, 3)
    model = semi(unlabelled, weak=same, strong=same, ratio=3, weight=0.7)
    images, labels = discs_and_bars(6, 4)
    model.eval()  # only BatchNorm: the same statistics in all passes
    model.training = True
    torch.manual_seed(5)
    drawn = unlabelled[torch.randint(30, (18,))]
    with torch.no_grad():
        own, theirs = (model.classifier.predict(each / 255).numpy() for each in (images, drawn))
    known = -np.mean([np.log(row[label]) for row, label in zip(own, labels, strict=True)])
    mean = 0.99 * 0.5 + 0.01 * theirs.mean(0)
    aligned = np.array([row / mean / np.sum(row / mean) for row in theirs])
    model.threshold = limit = float(np.median(aligned.max(1)))
    torch.manual_seed(5)
    measured = model.measures(images / 255, labels)
    total = used = 0
    for row, changed in zip(theirs, aligned, strict=True):
        if changed.max() >= limit:
            total, used = total - np.log(row[changed.argmax()]), used + 1
    assert 0 < used < 18 and float(measured["used"]) == pytest.approx(used / 18)
    wanted = known + 0.7 * total / 18
    assert float(measured["loss"].detach()) == pytest.approx(wanted, rel=1e-4)


def test_no_gradient_flows_through_the_pseudo_labels():
    model = semi(threshold=0.5, weight=1.0, ratio=1).train()
    seen = []
    model.weak = lambda images: seen.append(images.clone().requires_grad_()) or seen[-1]
    model.measures(*batch(4))["loss"].backward()
    assert seen[0].grad is None
    assert all(p.grad is not None for p in model.parameters())


def batch(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = discs_and_bars(n, 9)
    return images / 255, labels


def test_evaluation_changes_nothing_and_measures_the_pseudo_labels_against_the_labels():
    model = semi(threshold=0.5).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = batch(10)
    measured = model.measures(images, labels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert measured["used"] == 1  # all reach one half
    right = (model.aligned(model.predict(images)).argmax(1) == labels).float().mean()
    assert measured["used_right"] == right
    assert measured["loss"] == model.classifier.measures(images, labels)["loss"]


HOW = {"epochs": 1, "least_steps": 150, "batch_size": 4, "learning_rate": 5e-3, "monitor": None}
HOW |= {"precision": "fp32", "views": WEAK, "weight_decay": 0.0}


def test_unlabelled_galaxies_help_where_labels_are_few():
    labelled, validation = discs_and_bars(4, 20), discs_and_bars(4, 12)
    unlabelled, tested = discs_and_bars(200, 13)[0], discs_and_bars(200, 14)
    labels = labelled[1].tolist()
    accuracy = {}
    for learner in (classifier(), semi(unlabelled, labels, momentum=0.9)):
        list(train.fit(learner, labelled, validation, **HOW))
        told = train.predict(learner, tested[0], precision="fp32").argmax(1)
        accuracy[type(learner)] = float((told == tested[1]).float().mean())
    assert accuracy[SemiSupervised] > accuracy[Classifier] + 0.1, accuracy


def test_a_training_that_was_stopped_goes_on_as_if_it_never_had(tmp_path):
    labelled, validation = discs_and_bars(8, 1), discs_and_bars(6, 2)
    how = HOW | {"epochs": 3, "least_steps": 0, "average": 0.9, "batch_size": 4}

    def start(unlabelled=3, **options):
        learner = semi(discs_and_bars(20, unlabelled)[0])
        return learner, train.fit(learner, labelled, validation, **how, **options)

    def told(rows):
        timed = ("seconds", "images_per_second")
        return [{key: row[key] for key in row if key not in timed} for row in rows]

    whole, rows = start()
    expected = told(rows)
    _, rows = start(checkpoint=tmp_path / "c")
    next(rows), rows.close()
    resumed, rows = start(checkpoint=tmp_path / "c")
    torch.manual_seed(99)
    assert told(rows) == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    with pytest.warns(UserWarning, match="other settings .learner"):  # other unlabelled galaxies
        next(start(unlabelled=4, checkpoint=tmp_path / "c")[1])


def test_the_moving_average_holds_no_copy_of_the_galaxies():
    unlabelled = discs_and_bars(8, 1)[0]
    model = semi(unlabelled)
    averaged = torch.optim.swa_utils.AveragedModel(model).module
    assert averaged._unlabelled() is unlabelled
    assert sum(value.numel() for value in model.state_dict().values()) < unlabelled.numel()


def test_the_model_file_is_that_of_a_classifier(tmp_path):
    model = semi().eval()
    state = {"encoder": model.classifier.encoder.options, "classes": ["a", "b"], "image_size": 32}
    model_files.write(tmp_path / "m.safetensors", model.classifier, **state)
    loaded, _ = saved.load(tmp_path / "m.safetensors")
    images, _ = discs_and_bars(5, 0)
    given = [train.predict(each, images, precision="fp32") for each in (model, loaded)]
    torch.testing.assert_close(*given)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"unlabelled": torch.zeros(0, 3, 32, 32, dtype=torch.uint8)}, "0 unlabelled galaxies"),
        ({"labels": [0, 0]}, "class 1 has no labelled galaxy"),
        ({"ratio": 0}, "ratio=0"),
        ({"weight": -1.0}, "weight=-1.0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"threshold": 0.0}, "threshold=0.0"),
    ],
)
def test_what_cannot_be_trained_is_refused(options, wanted):
    with pytest.raises(ValueError, match=wanted):
        semi(**options)


@pytest.mark.parametrize(
    ("used", "shares", "wanted"),
    [
        (0.5, (0.4, 0.6), ""),
        (0.005, (0.4, 0.6), "nothing is learned"),
        (0.5, (0.8, 0.2), "one class takes over.*80% are 'a', of the labels 50%"),
        (0.5, (0.03, 0.97), "takes over|vanishes"),
    ],
)
def test_a_collapse_is_put_into_words(used, shares, wanted):
    state = {"share_a": shares[0], "share_b": shares[1]}
    said = collapse(used, state, {"a": 0.5, "b": 0.5})
    assert re.search(wanted, said) if wanted else said == ""


def test_a_vanished_class_is_named():
    state = {"share_a": 0.45, "share_b": 0.52, "share_c": 0.03}
    said = collapse(0.5, state, {"a": 0.3, "b": 0.3, "c": 0.4})
    assert said.startswith("a class vanishes") and "'c'" in said


def test_shares_are_those_of_the_used_pseudo_labels():
    model = semi(threshold=0.5, momentum=0.5).train()
    for _ in range(3):
        model.measures(*batch(4))
    state = model.state(["a", "b"])
    assert state["threshold_a"] == state["threshold_b"] == 0.5
    assert state["share_a"] + state["share_b"] == pytest.approx(1)
    assert float(model.used_classes.sum()) == pytest.approx(1 - 0.5**3)  # all are used

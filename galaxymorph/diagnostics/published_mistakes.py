"""Mistakes of published projects, each reproduced and compared with the honest protocol.

The honest protocol is that of the notebooks (`03_supervised`, `05_moco`). A mistake is the smallest
change to it, and the audit is tested for whether it notices. Every function decorated by `replays`
uses the same galaxies and seed for both, and returns a `Replay`.

Throughout, `sample` is a data set of `data.load` with classes; `fresh` makes an untrained
`classifier.Classifier` (for MoCo, an encoder) after torch's generator was seeded; `training` are
options of `train.fit`, including `seed`; `model` and `encoder` were trained by `honest` and
`pretrained` with the same options."""

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.diagnostics import audit
from galaxymorph.diagnostics.audit_predictions import batch_independent, predictions
from galaxymorph.diagnostics.findings import Finding
from galaxymorph.diagnostics.mistakes import replays
from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.predictions import predictions_of
from galaxymorph.learning import device, moco, probes, train
from galaxymorph.learning.train import Views

Fresh = Callable[[], nn.Module]
Bands = float | Sequence[float]
# reported, honest, finding and beside of a `Replay`
Made = tuple[float, float, Finding | str, Mapping[str, float | int]]

FIVE, DNN = "Galaxy classification, five CNNs", "MoCo + DNN"
NOT_GIVEN = "no check; train.fit never receives the test galaxies"
DRAWS_BOTH = "no check; moco.MoCo draws both views itself"


# ---- trained with labels


def honest(sample: Galaxies, fresh: Fresh, **training: Any) -> tuple[nn.Module, pd.DataFrame]:
    """Train like `03_supervised`; return the network with the lowest validation loss, and history.

    The history has one more column, `test_accuracy` of each epoch, which only `best_epoch` uses.
    All epochs are trained, so `training` can contain neither `monitor` nor `patience`."""
    tested, weights = [], []

    def note(model: nn.Module) -> None:
        # the validated weights: with a moving average, the averaged ones
        tested.append(_accuracy(model, sample))
        weights.append(copy.deepcopy(model.state_dict()))

    model, rows = _fitted(sample, fresh, monitor=None, patience=None, keep=note, **training)
    history = pd.DataFrame(rows).assign(test_accuracy=tested)
    model.load_state_dict(weights[int(history.val_loss.argmin())])
    return model, history


@replays("best epoch chosen on test galaxies", "ResNet50", direction=1)
def best_epoch(sample: Galaxies, history: pd.DataFrame) -> Made:
    """The largest test accuracy of all epochs, instead of the test accuracy of the epoch with
    the smallest validation loss; one
    training."""
    chosen, test = history.loc[history.val_loss.idxmin()], history.test_accuracy
    beside = {
        "epochs": len(history),
        "epoch chosen on test galaxies": int(history.epoch[test.idxmax()]),
        "epoch chosen on validation galaxies": int(chosen.epoch),
    }
    return float(test.max()), float(chosen.test_accuracy), NOT_GIVEN, beside


@replays("test galaxies in the training set", FIVE, direction=1)
def leak(
    sample: Galaxies, model: nn.Module, fresh: Fresh, *, share: float = 0.64, **training: Any
) -> Made:
    """As many training galaxies, but some of them are test galaxies, compared with a clean split;
    the same test galaxies.

    `share`: as in `leaky`, 64 % as published."""
    leaking = leaky(sample, share=share, seed=training.get("seed", 0))
    (careless, _), test = _fitted(leaking, fresh, **training), sample.part("test")
    seen = np.isin(test.ids, leaking.ids[leaking.split == "train"])
    beside = {
        f"test galaxies that were {what}trained on": _accuracy(careless, test.take(rows))
        for what, rows in (("", seen), ("not ", ~seen))
        if rows.any()
    }
    found = audit.shared_ids(leaking)
    return _accuracy(careless, sample), _accuracy(model, sample), found, beside


def leaky(sample: Galaxies, *, share: float = 0.64, seed: int = 0) -> Galaxies:
    """Return the data set with a `share` of test galaxies also in train, in place of others."""
    rng = np.random.default_rng(seed)
    parts = (np.flatnonzero(sample.split == split) for split in ("train", "test"))
    known, tested = map(rng.permutation, parts)
    n, most = round(share * len(tested)), min(1.0, len(known) / max(1, len(tested)))
    if not 0 <= n <= len(known) or share > 1:
        what = f"{len(tested):,} test galaxies in place of some of {len(known):,} training galaxies"
        raise ValueError(f"share={share} of {what}: give a share from 0 to {most:.2f}")
    others = np.flatnonzero(sample.split != "train")
    mixed = sample.take(np.concatenate([others, known[n:], tested[:n]]))
    mixed.split[len(others) :] = "train"
    return mixed


@replays("predictions in shuffled order", FIVE, measure="macro F1", direction=-1)
def shuffled_predictions(sample: Galaxies, model: nn.Module, *, seed: int = 0) -> Made:
    """Predictions in a different order than the labels that they are scored against; the accuracy
    of the same network, scored batch by batch, does not reveal
    it."""
    known = sample.take(sample.labels.numpy() >= 0)
    who = dict(ids=known.ids, split=known.split, labels=known.labels)
    p = train.predict(model, known.images)
    right = predictions_of(**who, probabilities=p, classes=sample.classes)
    rows, mixed = np.flatnonzero(known.split == "test"), right.p.copy()
    mixed[rows] = right.p[np.random.default_rng(seed).permutation(rows)]
    wrong = replace(right, p=mixed)
    found, true = (
        metrics.evaluate(each, n_bootstrap=0).query("`class` == ''").set_index("metric").value
        for each in (wrong, right)
    )
    names = ("precision", "recall")
    beside = {f"macro {name}, shuffled": float(found[f"macro_{name}"]) for name in names}
    beside["accuracy, not shuffled"] = float(true["accuracy"])
    finding = _of(predictions(wrong, sample), "order")
    return float(found["macro_f1"]), float(true["macro_f1"]), finding, beside


@replays("validation redrawn on every resume", "Galaxy classifier, vote fractions", direction=1)
def resampled_validation(
    sample: Galaxies, fresh: Fresh, *, legs: int = 4, seed: int = 0, **training: Any
) -> Made:
    """The accuracy of the last validation galaxies, many of which were trained on before the last
    resume, compared with the test accuracy of the same network.

    A leg continues with the best weights of the previous one and trains for all epochs of
    `training`. For comparison, the same `legs` are trained with one fixed split. In the published
    project about a third of the last validation galaxies had been trained on, because each leg used
    5,000 of 61,578 galaxies; here every leg uses all. Raises `ValueError` for fewer than one
    leg."""
    if legs < 1:
        raise ValueError(f"legs={legs}: expected at least 1")
    rng, splits = np.random.default_rng(seed), [sample]
    pool = np.flatnonzero(np.isin(sample.split, ("train", "val")))
    for _ in range(legs - 1):
        split = sample.split.copy()
        split[pool] = rng.permutation(split[pool])
        splits.append(replace(sample, split=split))
    accuracies = []
    for drawn in (splits, [sample] * legs):
        model, rows = _fitted(drawn[0], fresh, seed=seed, **training)
        for leg, each in enumerate(drawn[1:], 1):
            rows = list(train.fit(model, *_parts(each), seed=seed + leg, **training))
        accuracies.append((_validated(rows), _accuracy(model, sample)))
    seen = sorted(set().union(*(each.part("train").ids for each in splits)))
    known = np.isin(splits[-1].part("val").ids, seen).mean()
    beside = {"share of the last validation galaxies that had been trained on": float(known)}
    for part, value in zip(("validation", "test"), accuracies[1], strict=True):
        beside[f"{part} galaxies with a fixed split"] = value
    finding = _of(audit.model({"seen": seen, "seen_labels": seen}, splits[-1]), "labels seen")
    return *accuracies[0], finding, beside


@replays("preprocessing of another network", FIVE, direction=-1)
def other_preprocessing(
    sample: Galaxies, model: nn.Module, *, mean: Bands = 0.0, std: Bands = 1.0
) -> Made:
    """The same network predicts images normalised differently than its training images.

    `mean` and `std` of images in [0, 1]; the defaults only divide by 255."""
    careless, other = copy.deepcopy(model), {"mean": mean, "std": std}
    encoder: Any = careless.encoder
    for name, value in other.items():
        setattr(encoder, name, torch.as_tensor(value).reshape(-1, 1, 1).to(getattr(encoder, name)))
    header = {"normalisation": encoder.normalisation, "encoder": encoder.options | other}
    finding = _of(audit.model(header, sample), "normalisation")
    return _accuracy(careless, sample), _accuracy(model, sample), finding, {}


@replays("validation galaxies of one class", FIVE)
def sorted_validation(
    sample: Galaxies, model: nn.Module, fresh: Fresh, *, share: float = 0.2, **training: Any
) -> Made:
    """Validation is the first part of a table sorted by class, so its accuracy is the recall of
    the first class, compared with the test accuracy of the same network.

    `share`: of all galaxies outside test. `model` is for comparison."""
    pool = np.flatnonzero(np.isin(sample.split, ("train", "val")))
    order = pool[np.argsort(sample.labels.numpy()[pool], kind="stable")]
    split = sample.split.copy()
    split[order] = "train"
    split[order[: math.ceil(share * len(order))]] = "val"
    skewed = replace(sample, split=split)
    careless, rows = _fitted(skewed, fresh, **training)
    first = float((skewed.part("val").labels == 0).float().mean())
    beside = {
        "share of the first class among the validation galaxies": first,
        "test galaxies with a stratified split": _accuracy(model, sample),
    }
    finding = _of(audit.galaxies(skewed), "class balance")
    return _validated(rows), _accuracy(careless, sample), finding, beside


# ---- trained without labels


def pretrained(
    sample: Galaxies, fresh: Fresh, *, views: Views, contrast: Mapping[str, Any], **training: Any
) -> nn.Module:
    """Pre-train an encoder by MoCo like `05_moco`.

    `contrast`: options of `moco.MoCo`; `training` must have `epochs` and `batch_size`."""
    learned, val_part = sample.part("train", "unlabelled"), sample.part("val")
    encoder, n = _untrained(fresh, **training), len(learned)
    steps = train.n_steps(n, epochs=training["epochs"], batch_size=training["batch_size"])
    learner = moco.MoCo(encoder, views=views, galaxies=n, steps=steps, **contrast)
    parts = [(part.images, torch.arange(len(part))) for part in (learned, val_part)]
    list(train.fit(learner, *parts, monitor=None, **training))
    return encoder


@replays("one of two views not augmented", DNN, direction=-1)
def one_view(
    sample: Galaxies, encoder: nn.Module, fresh: Fresh, *, views: Views, **options: Any
) -> Made:
    """MoCo with views of the keys only, while queries are the galaxies as they are, compared with
    views of both; a linear probe on
    each."""
    careless = pretrained(sample, fresh, views=of_keys_alone(views), **options)
    learned = (careless, encoder, _untrained(fresh, **options))
    reported, right, random = (_probed(sample, partial(train.embed, each)) for each in learned)
    return reported, right, DRAWS_BOTH, {"random weights": random}


def of_keys_alone(views: Views) -> Views:
    """Return views for MoCo, which draws queries and keys in turn: queries stay unchanged."""
    kinds = itertools.cycle([lambda images, *, generator=None: images, views])
    return lambda images, *, generator=None: next(kinds)(images, generator=generator)


@replays("features taken in training mode", DNN, direction=-1)
def training_mode(sample: Galaxies, encoder: nn.Module) -> Made:
    """BatchNorm normalises each galaxy by itself, one at a time, compared with eval mode; a linear
    probe on the same
    encoder."""
    careless, few = copy.deepcopy(encoder), sample.part("test").images[:16]
    extract = partial(one_by_one, careless)
    reported, right = (_probed(sample, each) for each in (extract, partial(train.embed, encoder)))
    (finding,) = batch_independent(extract, few, network=careless)
    return reported, right, finding, {}


@torch.no_grad()
def one_by_one(encoder: nn.Module, images: train.Pixels) -> Float[Tensor, "galaxy feature"]:
    """Extract features in the wrong way: in training mode, one galaxy at a time.

    Raises torch's `ValueError` if BatchNorm is left with a single cell; use larger images then."""
    where = device.device()
    encoder.to(where).train()
    each = (encoder(device.to_float(image[None], where)) for image in images)
    return torch.cat([features.float().cpu() for features in each])


# ---- helpers


def _untrained(fresh: Fresh, *, seed: int = 0, **_training: Any) -> Any:
    torch.manual_seed(seed)
    return fresh()


def _fitted(
    sample: Galaxies, fresh: Fresh, **training: Any
) -> tuple[nn.Module, list[dict[str, Any]]]:
    model = _untrained(fresh, **training)
    return model, list(train.fit(model, *_parts(sample), **training))


def _parts(sample: Galaxies) -> list[train.Part]:
    return [(part.images, part.labels) for part in (sample.part("train"), sample.part("val"))]


def _validated(rows: Sequence[Mapping[str, Any]]) -> float:
    """Validation accuracy of the epoch that was kept."""
    return [row["val_accuracy"] for row in rows if row["best"]][-1]


def _accuracy(model: nn.Module, sample: Galaxies) -> float:
    part = sample.part("test")
    return train.evaluate(model, (part.images, part.labels))["accuracy"]


def _probed(sample: Galaxies, encode: Callable[[Tensor], Tensor]) -> float:
    """Test accuracy of a linear probe on features."""
    parts = map(sample.part, ("train", "val", "test"))
    known, chosen, asked = ((encode(part.images), part.labels) for part in parts)
    return float(probes.linear_probe(known, chosen).score(asked[0].numpy(), asked[1].numpy()))


def _of(findings: Sequence[Finding], check: str) -> Finding:
    return next(each for each in findings if each.check == check)

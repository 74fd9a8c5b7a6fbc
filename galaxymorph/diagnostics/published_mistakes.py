"""Mistakes of published projects, each made once on purpose beside the honest way: what a mistake
reports, what is right.

A composition of the library's leaves, not a leaf itself: the honest protocol is that of the
notebooks (`02_supervised`, `04_moco`), a mistake is the smallest change to it, and the audit is
asked whether it would have noticed. Every function makes one of the `MISTAKES`, on the same
galaxies with the same seed, and returns a `Replay`.

Everywhere `sample` is a data set of `data.load` with classes; `fresh` makes an untrained
`classifier.Classifier` (for MoCo: an encoder), after torch's generator was seeded; `training` are
options of `train.fit`."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.diagnostics import audit
from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.learning import classifier, device, moco, train

Views = Callable[..., Float[Tensor, "galaxy 3 size size"]]
FIVE = "Galaxy classification, five CNNs"


@dataclass(frozen=True)
class Mistake:
    """A mistake that was published: `direction` is the sign that reported less honest should have
    (0: either)."""

    name: str
    published_in: str
    measure: str
    direction: int
    what: str
    prevented: str = ""  # where no check can find it afterwards: why it cannot happen here


MISTAKES = {
    "best_epoch": Mistake(
        "best epoch chosen on test galaxies",
        "ResNet50",
        "accuracy",
        1,
        "The largest test accuracy of all epochs, against that of the epoch with the smallest validation loss; one training.",
        "no check; train.fit is not given the test galaxies",
    ),
    "training_mode": Mistake(
        "features taken in training mode",
        "MoCo + DNN",
        "accuracy",
        -1,
        "BatchNorm normalises each galaxy by itself, as they come one by one, against eval mode; a linear probe on the same "
        "encoder.",
    ),
    "leak": Mistake(
        "test galaxies in the training set",
        FIVE,
        "accuracy",
        1,
        "As many training galaxies, but some of them are test galaxies, against a clean split; the same test galaxies.",
    ),
    "shuffled_predictions": Mistake(
        "predictions in shuffled order",
        FIVE,
        "macro F1",
        -1,
        "Predictions in another order than the labels that they are scored against; the accuracy of the same network, scored "
        "batch by batch, does not know.",
    ),
    "resampled_validation": Mistake(
        "validation redrawn on every resume",
        "Galaxy classifier, vote fractions",
        "accuracy",
        1,
        "What the last validation galaxies say, of which many were trained on before the last resume, against what the test "
        "galaxies say of the same network.",
    ),
    "one_view": Mistake(
        "one of two views not augmented",
        "MoCo + DNN",
        "accuracy",
        -1,
        "MoCo whose queries are the galaxies as they are and only the keys are views, against views for both; a linear probe "
        "on either.",
        "no check; moco.MoCo draws both views itself",
    ),
    "other_preprocessing": Mistake(
        "preprocessing of another network",
        FIVE,
        "accuracy",
        -1,
        "The same network predicts images that are normalised in another way than those that it was trained on.",
    ),
    "sorted_validation": Mistake(
        "validation galaxies of one class",
        FIVE,
        "accuracy",
        0,
        "Validation is the first part of a table sorted by class, so that its accuracy is the recall of the first class, "
        "against the test accuracy of the same network.",
    ),
}


class Replay(NamedTuple):
    """A mistake that was made once. `n`: test galaxies that the honest number is of. `beside`:
    further numbers, by name."""

    mistake: str  # one of MISTAKES
    reported: float
    honest: float
    n: int
    finding: audit.Finding | None  # what the audit says to it; None where no check is meant for it
    beside: Mapping[str, float]


def honest(
    sample: Galaxies,
    fresh: Callable[[], nn.Module],
    *,
    views: Views | None = None,
    seed: int = 0,
    **training: Any,
) -> tuple[nn.Module, pd.DataFrame]:
    """Trains as `02_supervised` does; the network of the epoch with the smallest validation loss,
    and the history.

    The history has one more column, `test_accuracy`, of the weights of each epoch: only
    `best_epoch` reads it, nothing is chosen by it. All epochs are trained, so `training` can have
    neither `monitor` nor `patience`."""
    test, tested, weights = sample.part("test"), [], []

    def note(
        model: nn.Module,
    ) -> None:  # with a moving average, its weights, which are those that are validated
        tested.append(_accuracy(model, test))
        weights.append(copy.deepcopy(model.state_dict()))

    torch.manual_seed(seed)
    model = fresh()
    rows = train.fit(
        model,
        *_parts(sample),
        views=views,
        monitor=None,
        patience=None,
        keep=note,
        seed=seed,
        **training,
    )
    history = pd.DataFrame(list(rows)).assign(test_accuracy=tested)
    model.load_state_dict(weights[int(history.val_loss.argmin())])
    return model, history


def best_epoch(sample: Galaxies, history: pd.DataFrame) -> Replay:
    """The mistake of choosing the epoch on test galaxies, from a history of `honest`."""
    chosen = history.loc[history.val_loss.idxmin()]
    beside = {
        "epochs": len(history),
        "epoch chosen on test galaxies": int(history.epoch[history.test_accuracy.idxmax()]),
    }
    beside["epoch chosen on validation galaxies"] = int(chosen.epoch)
    test = history.test_accuracy
    return Replay(
        "best_epoch",
        float(test.max()),
        float(chosen.test_accuracy),
        len(sample.part("test")),
        None,
        beside,
    )


def leak(
    sample: Galaxies,
    model: nn.Module,
    fresh: Callable[[], nn.Module],
    *,
    share: float = 0.64,
    views: Views | None = None,
    seed: int = 0,
    **training: Any,
) -> Replay:
    """The mistake of testing on training galaxies, a `share` of the test galaxies (64 % as
    published), against the `model` that `honest` trained with the same options."""
    leaking, test = leaky(sample, share=share, seed=seed), sample.part("test")
    torch.manual_seed(seed)
    careless = fresh()
    list(train.fit(careless, *_parts(leaking), views=views, seed=seed, **training))
    seen = np.isin(test.ids, leaking.ids[leaking.split == "train"])
    beside = {
        f"test galaxies that were {'' if known else 'not '}trained on": _accuracy(
            careless, test.take(seen == known)
        )
        for known in (True, False)
        if (seen == known).any()
    }
    finding = audit.shared_ids(leaking)
    return Replay(
        "leak", _accuracy(careless, test), _accuracy(model, test), len(test), finding, beside
    )


def leaky(sample: Galaxies, *, share: float = 0.64, seed: int = 0) -> Galaxies:
    """The same data set, in which a `share` of the test galaxies are training galaxies, too, in
    place of as many others.

    Raises `ValueError` where there are fewer training galaxies than that.
    """
    rng = np.random.default_rng(seed)
    known, tested = (
        rng.permutation(np.flatnonzero(sample.split == split)) for split in ("train", "test")
    )
    n = round(share * len(tested))
    if not 0 <= n <= len(known) or share > 1:
        raise ValueError(
            f"share={share} of {len(tested):,} test galaxies in place of some of {len(known):,} training galaxies: give a "
            f"share from 0 to {min(1.0, len(known) / max(1, len(tested))):.2f}"
        )
    others = np.flatnonzero(sample.split != "train")
    mixed = sample.take(np.concatenate([others, known[n:], tested[:n]]))
    mixed.split[len(others) :] = "train"
    return mixed


def shuffled_predictions(sample: Galaxies, model: nn.Module, *, seed: int = 0) -> Replay:
    """The mistake of scoring predictions of test galaxies that stand in another order than their
    labels."""
    labelled = sample.take(sample.labels.numpy() >= 0)
    probabilities = [f"p_{name}" for name in sample.classes]
    right = pd.DataFrame(train.predict(model, labelled.images).numpy(), columns=probabilities)
    names = np.array(sample.classes)[labelled.labels.numpy()]
    right = right.assign(id=labelled.ids, split=labelled.split, label=names)
    rows = np.flatnonzero(labelled.split == "test")
    wrong = right.copy()
    wrong.loc[rows, probabilities] = right.loc[
        np.random.default_rng(seed).permutation(rows), probabilities
    ].to_numpy()
    found, true = (
        metrics.evaluate(each, n_bootstrap=0).query("`class` == ''") for each in (wrong, right)
    )
    found, true = (dict(zip(each.metric, each.value, strict=True)) for each in (found, true))
    beside = {
        f"{name.replace('_', ' ')}, shuffled": found[name]
        for name in ("macro_precision", "macro_recall")
    }
    beside["accuracy, not shuffled"] = true["accuracy"]
    finding = _of(audit.predictions(wrong, sample), "order")
    return Replay(
        "shuffled_predictions", found["macro_f1"], true["macro_f1"], len(rows), finding, beside
    )


def resampled_validation(
    sample: Galaxies,
    fresh: Callable[[], nn.Module],
    *,
    legs: int = 4,
    views: Views | None = None,
    seed: int = 0,
    **training: Any,
) -> Replay:
    """The mistake of drawing training and validation galaxies again in each of the `legs` that a
    training is resumed for.

    A leg goes on with the best weights of the one before and trains all the epochs of `training`.
    Beside it the same legs with the split that stays. In the published project each leg took 5,000
    of 61,578 galaxies, so that about a third of the last validation galaxies had been trained on;
    here every leg takes all, and `beside` says how many had been. Raises `ValueError` without a
    leg."""
    if legs < 1:
        raise ValueError(f"legs={legs}: a training has 1 or more")
    rng, test = np.random.default_rng(seed), sample.part("test")
    pool = np.flatnonzero(np.isin(sample.split, ("train", "val")))
    splits = [sample]
    for _ in range(legs - 1):
        split = sample.split.copy()
        split[pool] = rng.permutation(split[pool])
        splits.append(replace(sample, split=split))
    models, validated = [], []
    for stays in (False, True):
        torch.manual_seed(seed)
        model, rows = fresh(), []
        for leg, each in enumerate([sample] * legs if stays else splits):
            rows = list(train.fit(model, *_parts(each), views=views, seed=seed + leg, **training))
        models.append(model)
        validated.append([row["val_accuracy"] for row in rows if row["best"]][-1])
    seen = sorted(set().union(*(each.part("train").ids for each in splits)))
    last = splits[-1].part("val").ids
    beside = {
        "share of the last validation galaxies that had been trained on": float(
            np.isin(last, seen).mean()
        ),
        "validation galaxies with a split that stays": validated[1],
        "test galaxies with a split that stays": _accuracy(models[1], test),
    }
    finding = _of(audit.model({"seen": seen, "seen_labels": seen}, splits[-1]), "labels seen")
    return Replay(
        "resampled_validation", validated[0], _accuracy(models[0], test), len(test), finding, beside
    )


def other_preprocessing(
    sample: Galaxies,
    model: nn.Module,
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> Replay:
    """The mistake of taking off another `mean` and `std` from images in [0, 1] than the network was
    trained with; by default none, as where 8-bit images are only divided by 255."""
    careless, test = copy.deepcopy(model), sample.part("test")
    encoder: Any = careless.encoder
    for name, value in (("mean", mean), ("std", std)):
        setattr(encoder, name, torch.as_tensor(value).reshape(-1, 1, 1).to(getattr(encoder, name)))
    header = {
        "normalisation": encoder.normalisation,
        "encoder": encoder.options | {"mean": mean, "std": std},
    }
    finding = _of(audit.model(header, sample), "normalisation")
    return Replay(
        "other_preprocessing",
        _accuracy(careless, test),
        _accuracy(model, test),
        len(test),
        finding,
        {},
    )


def sorted_validation(
    sample: Galaxies,
    model: nn.Module,
    fresh: Callable[[], nn.Module],
    *,
    share: float = 0.2,
    views: Views | None = None,
    seed: int = 0,
    **training: Any,
) -> Replay:
    """The mistake of validating on the first `share` of all galaxies but those of test, sorted by
    class. Beside it the `model` that `honest` trained with the same options."""
    pool = np.flatnonzero(np.isin(sample.split, ("train", "val")))
    order = pool[np.argsort(sample.labels.numpy()[pool], kind="stable")]
    split = sample.split.copy()
    split[order] = "train"
    split[order[: math.ceil(share * len(order))]] = "val"
    skewed, test = replace(sample, split=split), sample.part("test")
    torch.manual_seed(seed)
    careless = fresh()
    rows = list(train.fit(careless, *_parts(skewed), views=views, seed=seed, **training))
    reported = [row["val_accuracy"] for row in rows if row["best"]][-1]
    finding = _of(audit.galaxies(skewed), "class balance")
    beside = {
        "share of the first class among the validation galaxies": float(
            (skewed.part("val").labels == 0).float().mean()
        ),
        "test galaxies with a stratified split": _accuracy(model, test),
    }
    return Replay(
        "sorted_validation", reported, _accuracy(careless, test), len(test), finding, beside
    )


# ---- learned without labels


def pretrained(
    sample: Galaxies,
    fresh: Callable[[], nn.Module],
    *,
    views: Views,
    contrast: Mapping[str, Any],
    epochs: int,
    batch_size: int,
    seed: int = 0,
    **training: Any,
) -> nn.Module:
    """An encoder that MoCo taught as `04_moco` does. `contrast`: options of `moco.MoCo`."""
    learned, val_part = sample.part("train", "unlabelled"), sample.part("val")
    torch.manual_seed(seed)
    encoder = fresh()
    steps = train.n_steps(len(learned), epochs=epochs, batch_size=batch_size)
    learner = moco.MoCo(encoder, views=views, galaxies=len(learned), steps=steps, **contrast)
    parts = [(part.images, torch.arange(len(part))) for part in (learned, val_part)]
    list(
        train.fit(
            learner,
            *parts,
            epochs=epochs,
            batch_size=batch_size,
            monitor=None,
            seed=seed,
            **training,
        )
    )
    return encoder


def one_view(
    sample: Galaxies,
    encoder: nn.Module,
    fresh: Callable[[], nn.Module],
    *,
    views: Views,
    seed: int = 0,
    **options: Any,
) -> Replay:
    """The mistake of contrasting galaxies as they are with views of them, against the `encoder`
    that `pretrained` taught with the same options. Beside both, an encoder with random weights."""
    careless = pretrained(sample, fresh, views=of_keys_alone(views), seed=seed, **options)
    torch.manual_seed(seed)
    reported, right, untrained = (
        _probed(sample, functools.partial(train.embed, each))
        for each in (careless, encoder, fresh())
    )
    return Replay(
        "one_view", reported, right, len(sample.part("test")), None, {"random weights": untrained}
    )


def of_keys_alone(views: Views) -> Views:
    """Views for MoCo, which draws those of queries and those of keys by turns: queries get the
    images as they are."""
    of_keys = itertools.cycle([False, True])
    return lambda images, *, generator=None: (
        views(images, generator=generator) if next(of_keys) else images
    )


def training_mode(sample: Galaxies, encoder: nn.Module) -> Replay:
    """The mistake of extracting features without a call of eval(), galaxy by galaxy; a linear probe
    on either."""
    careless = copy.deepcopy(encoder)
    reported = _probed(sample, functools.partial(one_by_one, careless))
    right = _probed(sample, functools.partial(train.embed, encoder))
    test = sample.part("test")
    (finding,) = audit.batch_independent(
        functools.partial(one_by_one, careless), test.images[:16], network=careless
    )
    return Replay("training_mode", reported, right, len(test), finding, {})


@torch.no_grad()
def one_by_one(
    encoder: nn.Module, images: UInt8[Tensor, "galaxy 3 size size"]
) -> Float[Tensor, "galaxy feature"]:
    """Features as they must not be extracted: in training mode, each galaxy by itself. Running
    statistics follow each of them.

    Raises torch's `ValueError` where BatchNorm is left with a single cell, of which it can take no
    variance: take larger images, or a network that halves them less often."""
    encoder.to(device.device()).train()
    return torch.cat(
        [encoder(device.to_float(image[None], device.device())).float().cpu() for image in images]
    )


# ---- all of them


def by_seed(replays: Sequence[Replay], seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each replay: mistake, seed, measure, reported, honest, difference and n. `replays`:
    of each mistake one for each of the `seeds`, in their order. Raises `ValueError` where there are
    more or fewer."""
    rows = []
    for name, made in _by_mistake(replays).items():
        if len(made) != len(seeds):
            raise ValueError(
                f"{name}: {len(made)} replays for {len(seeds)} seeds; make each mistake once for every seed"
            )
        for seed, each in zip(seeds, made, strict=True):
            row = {"mistake": MISTAKES[name].name, "seed": seed, "measure": MISTAKES[name].measure}
            row |= {
                "reported": each.reported,
                "honest": each.honest,
                "difference": each.reported - each.honest,
            }
            rows.append(row | {"n": each.n})
    return pd.DataFrame(rows)


def table(replays: Sequence[Replay]) -> pd.DataFrame:
    """A row for each mistake, the one that was worth the most first: mistake, published_in,
    measure, reported, honest and difference (means over seeds), low and high (the smallest and the
    largest difference), n, seeds, found_by (the check of `audit`), beside (further numbers, means
    over seeds) and what. `replays`: one of each mistake for each seed."""
    rows = []
    for name, made in _by_mistake(replays).items():
        mistake = MISTAKES[name]
        differences = [each.reported - each.honest for each in made]
        beside = pd.DataFrame([each.beside for each in made]).mean()
        row = {
            "mistake": mistake.name,
            "published_in": mistake.published_in,
            "measure": mistake.measure,
        }
        row |= {
            "reported": np.mean([each.reported for each in made]),
            "honest": np.mean([each.honest for each in made]),
        }
        row |= {
            "difference": np.mean(differences),
            "low": min(differences),
            "high": max(differences),
        }
        row |= {"n": min(each.n for each in made), "seeds": len(made), "found_by": _found_by(made)}
        text = "; ".join(f"{key} {value:.3g}" for key, value in beside.items())
        rows.append(row | {"beside": text, "what": mistake.what})
    return pd.DataFrame(rows).sort_values(
        "difference", key=abs, ascending=False, kind="stable", ignore_index=True
    )


def sentences(table: pd.DataFrame) -> list[str]:
    """What a `table` says of each mistake: what it reports, what is right, and whether that was to
    be expected."""
    said = []
    for row in table.to_dict("records"):
        tested = f"one seed, {row['n']:,} test galaxies"
        if row["seeds"] > 1:
            tested = f"{row['low']:+.3f} to {row['high']:+.3f} over {row['seeds']} seeds, {row['n']:,} test galaxies each"
        said.append(
            f"{row['mistake'][0].upper()}{row['mistake'][1:]} ({row['published_in']}): reports {row['measure']} "
            f"{row['reported']:.3f} where the honest one is {row['honest']:.3f}, {row['difference']:+.3f} ({tested}): "
            f"{_verdict(row)}. Found by: {row['found_by']}."
            + (f" Beside it: {row['beside']}." if row["beside"] else "")
        )
    return said


def _by_mistake(replays: Sequence[Replay]) -> dict[str, list[Replay]]:
    names = dict.fromkeys(each.mistake for each in replays)
    return {name: [each for each in replays if each.mistake == name] for name in names}


def _verdict(row: Mapping[str, Any]) -> str:
    (direction,) = (each.direction for each in MISTAKES.values() if each.name == row["mistake"])
    if not (row["low"] > 0 or row["high"] < 0):
        return (
            "it made no difference"
            if row["low"] == row["high"]
            else "the seeds do not agree that it made a difference"
        )
    text = "too good" if row["difference"] > 0 else "too low"
    if direction * row["difference"] < 0:
        text = f"{text}, the other way than expected"
    low, high = wilson(round(row["honest"] * row["n"]), int(row["n"]))
    if row["measure"] == "accuracy" and low <= row["reported"] <= high:
        text += f", though within the 95 % interval of the honest number for so many galaxies ({low:.3f} to {high:.3f})"
    return text


def _found_by(made: Sequence[Replay]) -> str:
    """The check that noticed, and how often where not always."""
    findings = [each.finding for each in made if each.finding is not None]
    if not findings:
        return MISTAKES[made[0].mistake].prevented
    noticed = sum(finding.severity != "passed" for finding in findings)
    often = (
        ""
        if noticed == len(made)
        else f" in {noticed} of {len(made)} seeds"
        if noticed
        else ", which missed it"
    )
    return f"audit: {findings[0].check}{often}"


# ---- the parts


def _parts(sample: Galaxies) -> list[train.Part]:
    """What `train.fit` is given to train on and to validate with."""
    return [(part.images, part.labels) for part in (sample.part("train"), sample.part("val"))]


def _accuracy(model: nn.Module, part: Galaxies) -> float:
    return train.evaluate(model, (part.images, part.labels))["accuracy"]


def _probed(sample: Galaxies, encode: Callable[[Tensor], Tensor]) -> float:
    """Test accuracy of a linear probe on features."""
    known, chosen, asked = (
        (encode(part.images), part.labels) for part in map(sample.part, ("train", "val", "test"))
    )
    return float(classifier.linear_probe(known, chosen).score(asked[0].numpy(), asked[1].numpy()))


def _of(findings: Sequence[audit.Finding], check: str) -> audit.Finding:
    """The finding of one check."""
    return next(each for each in findings if each.check == check)

"""Leaks and misalignments: of galaxies before anything is trained, of model files, and of
predictions.

Each function makes some of the `CHECKS` and returns a `Finding` for each of them, passed or not;
`trained` makes those that fit of all that a run has made. `check` stops at leaks, `summary` and
`overview` are tables for the report."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from numpy import ndarray
from scipy import sparse, stats
from torch import Tensor, nn

from galaxymorph import project
from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.load import load
from galaxymorph.diagnostics.duplicates import CHUNK, duplicates, sums
from galaxymorph.evaluation.intervals import holm
from galaxymorph.learning import encoders, saved, train
from galaxymorph.run.results import read
from galaxymorph.text import listing, plain_id

# Every check, and what to do where it finds a leak.
CHECKS = {
    "ids": "leave them out of one of the splits",
    "duplicates": "leave all but one of each group out, or keep a group in one split",
    "class balance": "draw the splits stratified by class",
    "class sizes": "add galaxies of the class, or merge classes",
    "normalisation": "measure mean and std on training galaxies alone, or use fixed ones",
    "labels seen": "take a model that was trained on the same split",
    "galaxies seen": "call the result transductive, or train without the test galaxies",
    "rows": "write each labelled galaxy once, under the id that the data set has for it",
    "labels": "write ids, labels and probabilities from the same rows",
    "splits": "write the split of the data set that was trained on",
    "order": "write ids, labels and probabilities from the same rows, without shuffling in between",
    "batches": "call eval() on the network before it predicts",
}
_some = functools.partial(listing, most=3)
Severity = Literal["passed", "warning", "leak"]
SEVERITIES: tuple[Severity, ...] = ("passed", "warning", "leak")


@dataclass(frozen=True)
class Finding:
    """What one check said. A leak makes a result worth nothing; a warning belongs beside it. `n` is
    how many were compared."""

    check: str  # one of CHECKS
    severity: Severity
    message: str
    ids: tuple[str, ...] = ()
    n: int = 0


class Leak(ValueError):
    """A check found a leak that was not allowed."""


def check(findings: Iterable[Finding], *, allow: Sequence[str] = ()) -> None:
    """Raises `Leak` with all leaks among the findings, the first galaxies of each, and what to do;
    not for checks in `allow`.

    Raises `ValueError` for a name in `allow` that is none of `CHECKS`.
    """
    for name in allow:
        if name not in CHECKS:
            near = difflib.get_close_matches(name, CHECKS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"allow: no check {name!r}; {hint}There are: {', '.join(CHECKS)}")
    leaks = [each for each in findings if each.severity == "leak" and each.check not in allow]
    if leaks:
        lines = [
            f"{each.check}: {each.message}. What to do: {CHECKS[each.check]}" for each in leaks
        ]
        raise Leak(
            "\n".join(
                [*lines, f"To go on all the same, allow: {sorted({each.check for each in leaks})}"]
            )
        )


def summary(findings: Iterable[Finding]) -> pd.DataFrame:
    """A row for each check that was made: `check`, `result` (passed, warning, leak), `n` compared,
    `galaxies` named, `what`."""
    rows = [(each.check, each.severity, each.n, len(each.ids), each.message) for each in findings]
    return pd.DataFrame(rows, columns=["check", "result", "n", "galaxies", "what"])


def overview(found: Mapping[str, Sequence[Finding]]) -> pd.DataFrame:
    """A row for each check, over all that it was made of (the names in `found`): `check`, `result`
    (the worst), `of` (how many it was made of), `warnings` and `leaks` (of how many), `what` (the
    message of the first of the worst, and whose it is)."""
    rows = []
    for name in CHECKS:
        made = [
            (whose, each)
            for whose, several in found.items()
            for each in several
            if each.check == name
        ]
        if made:
            whose, worst = max(
                made, key=lambda pair: SEVERITIES.index(pair[1].severity)
            )  # the first of equals
            counts = [sum(each.severity == severity for _, each in made) for severity in SEVERITIES]
            what = f"{whose}: {worst.message}" if len(made) > 1 else worst.message
            rows.append((name, worst.severity, len(made), *counts[1:], what))
    return pd.DataFrame(rows, columns=["check", "result", "of", "warnings", "leaks", "what"])


def sentences(found: Mapping[str, Sequence[Finding]]) -> list[str]:
    """The same in words: how many checks passed, and a sentence for each that did not, the leaks
    first."""
    table = overview(found)
    bad = table.loc[table.result != "passed"].sort_values(
        by="leaks", ascending=False, kind="stable"
    )
    passed = int(table.of.sum() - table[["warnings", "leaks"]].to_numpy().sum())
    said = [f"Audit of {len(found):,} things: {passed:,} of {int(table.of.sum()):,} checks passed."]
    for row in bad.to_dict("records"):
        share = f", {row['leaks'] + row['warnings']} of {row['of']}" if row["of"] > 1 else ""
        said.append(f"{row['check']} ({row['result']}{share}): {row['what']}.")
    return said


# --- galaxies, before anything is trained ---------------------------------------------------------


def galaxies(sample: Galaxies, *, least: int = 5, level: float = 0.01) -> list[Finding]:
    """Ids and looks that occur twice, and how classes are spread over the splits.

    The same galaxy in validation or test and in another split is a leak, unlabelled galaxies
    included, as methods learn from their images; twice in one split, or in train and among the
    unlabelled, it is a warning. Two ids are the same if they are so without folder, ending and
    leading zeros. What looks the same, `duplicates` says.

    Args:
        least: galaxies of each class in each split, below which there is a warning. level:
        family-wise error of the test for class-skewed splits (chi-square of each split against the
        others, by
            resampling where a count of less than 5 is expected; Holm over splits).
    """
    found = duplicates(sample.images)
    links = sparse.coo_array(
        (np.ones(len(found)), (found["first"], found["second"])), shape=(len(sample), len(sample))
    )
    alike = sparse.csgraph.connected_components(links, directed=False)[1]
    return [
        shared_ids(sample),
        _repeated("duplicates", "image, rotated, mirrored, shifted or compressed,", alike, sample),
        _balance(sample, level=level),
        _sizes(sample, least=least),
    ]


def shared_ids(sample: Galaxies) -> Finding:
    """Ids that occur twice: the quick part of `galaxies`, which needs no images."""
    return _repeated(
        "ids",
        "id",
        np.unique([plain_id(each) for each in sample.ids], return_inverse=True)[1],
        sample,
    )


def _repeated(name: str, what: str, group: Int[ndarray, " galaxy"], sample: Galaxies) -> Finding:
    """Galaxies of the same group, in one split or in several."""
    order = np.argsort(group, kind="stable")
    sets = [
        rows for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(rows) > 1
    ]
    judged = [
        rows
        for rows in sets
        if len(set(sample.split[rows])) > 1 and set(sample.split[rows]) & {"val", "test"}
    ]
    n, shown = len(sample), judged or sets
    if not shown:
        return Finding(name, "passed", f"no {what} twice among {n:,} galaxies", n=n)
    texts = [
        " = ".join(f"{sample.ids[row]} ({sample.split[row]})" for row in rows) for rows in shown
    ]
    where = "in different splits" if judged else "twice within a split or what is learned from"
    rest = (
        f"; {len(sets) - len(judged):,} more within a split"
        if judged and len(sets) > len(judged)
        else ""
    )
    return Finding(
        name,
        "leak" if judged else "warning",
        f"the same {what} {where}: {len(shown):,} groups of {sum(map(len, shown)):,} galaxies: {_some(texts)}{rest}",
        tuple(str(sample.ids[row]) for rows in shown for row in rows),
        n,
    )


def _counts(sample: Galaxies) -> pd.DataFrame:
    """How many labelled galaxies of each class (columns) each split (rows) has that has any."""
    labelled = sample.labels.numpy() >= 0
    table = pd.crosstab(sample.split[labelled], sample.labels.numpy()[labelled])
    table = table.reindex(columns=pd.RangeIndex(len(sample.classes)), fill_value=0)
    table.columns = list(sample.classes)
    return table


def _balance(sample: Galaxies, *, level: float) -> Finding:
    counts = _counts(sample)
    n = int(counts.to_numpy().sum())
    if len(counts) < 2:
        return Finding(
            "class balance", "passed", "labels in no two splits: nothing to compare", n=n
        )
    values = []
    for split in counts.index:
        pair = np.array([counts.loc[split], counts.drop(split).sum()])
        pair = pair[:, pair.sum(0) > 0]
        few = stats.contingency.expected_freq(pair).min() < 5
        method = (
            stats.MonteCarloMethod(n_resamples=4999, rng=np.random.default_rng(0)) if few else None
        )
        tested: Any = stats.chi2_contingency(
            pair, correction=False, method=method
        )  # of one class alone, p = 1
        values.append(float(tested.pvalue))
    order = np.argsort(values)
    adjusted = holm(np.array(values))[order]
    texts = [
        f"{counts.index[row]} (p = {p:.2g}: "
        + ", ".join(f"{name} {k}" for name, k in counts.iloc[row].items())
        + ")"
        for row, p in zip(order, adjusted, strict=True)
    ]
    skewed = [text for text, p in zip(texts, adjusted, strict=True) if p < level]
    if skewed:
        return Finding(
            "class balance",
            "warning",
            f"class fractions differ from the other splits' in {_some(skewed)}",
            n=n,
        )
    return Finding(
        "class balance",
        "passed",
        f"class fractions agree between splits (least p = {adjusted[0]:.2g})",
        n=n,
    )


def _sizes(sample: Galaxies, *, least: int) -> Finding:
    counts = _counts(sample)
    n = int(counts.to_numpy().sum())
    cells = (
        (split, name, int(count)) for split, row in counts.iterrows() for name, count in row.items()
    )
    few = [f"{count} of {name} in {split}" for split, name, count in cells if count < least]
    if few:
        return Finding("class sizes", "warning", f"fewer than {least} galaxies: {_some(few)}", n=n)
    return Finding(
        "class sizes",
        "passed",
        f"at least {least} galaxies of each class in each split with labels",
        n=n,
    )


# --- all that a run has made ----------------------------------------------------------------------


def trained(
    run: str,
    steps: Sequence[str] | None = None,
    *,
    galaxies: Mapping[str, Any] | None = None,
    few: int = 6,
) -> dict[str, list[Finding]]:
    """What a run (or those of its `steps`) has made, each against the data set that it was made
    from: predictions tables by `predictions`, model files by `model` and, if they are classifiers,
    `batch_independent` on a few test galaxies.

    By name: of a piece of work, of its row ("cae_frozen/seed=0/dnn"), or "<piece>, model". Pieces
    that are not done are left out. `galaxies` are the options of `data.load` for pieces that were
    executed by hand, which do not say theirs."""
    found: dict[str, list[Finding]] = {}
    samples: dict[str, Galaxies] = {}
    try:
        results = read(run, steps) if steps is None or steps else []
    except FileNotFoundError:
        if steps:
            raise
        results = []  # of a run by hand nothing is there yet
    for result in results:
        tables = [result.row(name) if name else result for name in result.rows if result.done]
        file = project.model_file(run, result.name)
        if not result.done or not (tables or file.is_file()):
            continue
        drawn = {"seed": 0, "n_labels": None} | result.parameters | result.combination
        target = "votes" if result.votes is not None else "classes"
        options = {**(drawn.get("galaxies") or galaxies or {}), "target": target}
        options |= {"seed": drawn["seed"], "n_labels": drawn["n_labels"]}
        key = json.dumps(options, sort_keys=True, default=str)
        sample = samples[key] = samples.get(key) or load(**options)
        for each in tables:
            if each.predictions is not None:
                found[each.name] = predictions(each.predictions, sample)
        if file.is_file():
            learner, header = saved.load(file)
            found[f"{result.name}, model"] = model(header, sample)
            if "classes" in header:
                predict = functools.partial(train.predict, learner)
                images = sample.part("test").images[:few]
                found[f"{result.name}, model"] += batch_independent(
                    predict, images, network=learner
                )
    return found


# --- model files ----------------------------------------------------------------------------------


def model(header: Mapping[str, Any], sample: Galaxies) -> list[Finding]:
    """What the header of a model file says, against the test galaxies of a data set: normalisation,
    and what it was trained on.

    The mean and standard deviation that images are normalised by have to be the fixed ones of this
    package or those published with ImageNet weights; or `normalisation_ids` in the header says on
    which galaxies they were measured, all of them training galaxies here. Of others it is tried
    whether they are those of training galaxies, or of more than these."""
    seen, told = (set(header.get(key, ())) for key in ("seen", "seen_labels"))
    test, val = (set(sample.ids[sample.split == split].tolist()) for split in ("test", "val"))
    findings = [_normalisation(header, sample)]
    if "seen" not in header or "seen_labels" not in header:
        unknown = "the header does not say which galaxies it was trained on (seen, seen_labels)"
        return [
            *findings,
            Finding("galaxies seen", "warning", unknown),
            Finding("labels seen", "warning", unknown),
        ]
    kinds: list[tuple[str, set[str], Severity, str]] = [
        ("galaxies seen", seen - told, "warning", "trained on the images of"),
        ("labels seen", told, "leak", "trained with the labels of"),
    ]
    for name, known, severity, what in kinds:
        found = sorted(known & test)
        if found:
            text = f"{what} {len(found):,} of {len(test):,} test galaxies: {_some(found)}"
            findings.append(Finding(name, severity, text, tuple(found), len(test)))
        elif chosen := sorted(told & val if name == "labels seen" else ()):
            text = f"{what} {len(chosen):,} of {len(val):,} validation galaxies, by which epochs are chosen: {_some(chosen)}"
            findings.append(Finding(name, "warning", text, tuple(chosen), len(val)))
        else:
            findings.append(
                Finding(name, "passed", f"{what} none of {len(test):,} test galaxies", n=len(test))
            )
    return findings


def _normalisation(header: Mapping[str, Any], sample: Galaxies) -> Finding:
    said, options = header.get("normalisation"), header.get("encoder", {})
    if not said:
        return Finding(
            "normalisation", "warning", "the header does not say how images are normalised"
        )
    mean, std = (_bands(said[key]) for key in ("mean", "std"))
    used = [
        _bands(options.get(key, default))
        for key, default in (("mean", encoders.MEAN), ("std", encoders.STD))
    ]
    if not (np.allclose(mean, used[0]) and np.allclose(std, used[1])):
        text = f"the header says mean {mean}, std {std}, but its encoder takes mean {used[0]}, std {used[1]}"
        return Finding("normalisation", "warning", text)
    transforms = [weights.transforms() for weights in encoders.PUBLISHED.values()]
    known = [
        (encoders.MEAN, encoders.STD),
        (0.5, 0.5),
        *((each.mean, each.std) for each in transforms),
    ]
    if any(np.allclose(mean, _bands(m)) and np.allclose(std, _bands(s)) for m, s in known):
        return Finding(
            "normalisation",
            "passed",
            "fixed or published mean and std, measured on none of these galaxies",
        )
    training = set(sample.ids[sample.split == "train"].tolist())
    if "normalisation_ids" in header:
        ids = header["normalisation_ids"]
        beyond = sorted(set(ids) - training)
        if beyond:
            text = f"measured on {len(beyond):,} of {len(ids):,} galaxies that are not in train: {_some(beyond)}"
            return Finding("normalisation", "leak", text, tuple(beyond), len(ids))
        return Finding(
            "normalisation",
            "passed",
            f"measured on {len(ids):,} galaxies, all of them in train",
            n=len(ids),
        )
    parts = {
        "training galaxies": ["train"],
        "training and unlabelled galaxies": ["train", "unlabelled"],
        "training and validation galaxies": ["train", "val"],
        "training and test galaxies": ["train", "test"],
        "galaxies with labels": ["train", "val", "test"],
        "test galaxies": ["test"],
        "all galaxies": ["train", "val", "test", "unlabelled"],
    }
    for what, splits in parts.items():
        rows = np.flatnonzero(np.isin(sample.split, splits))
        if len(rows) and np.allclose(_bands(_moments(sample.images, rows)[0]), mean, rtol=1e-4):
            beyond = [str(sample.ids[row]) for row in rows if sample.split[row] in ("val", "test")]
            text = f"mean and std are those of {len(rows):,} {what}"
            return Finding(
                "normalisation", "leak" if beyond else "passed", text, tuple(beyond), len(rows)
            )
    text = f"mean {mean} and std {std} are neither fixed, published nor those of a split; say normalisation_ids in the header"
    return Finding("normalisation", "warning", text)


def _bands(value: Any) -> list[float]:
    """A value of each band, from that or from one for all."""
    return [round(float(each), 6) for each in np.broadcast_to(np.asarray(value, float), 3)]


def _moments(
    images: UInt8[Tensor, "galaxy 3 size size"], rows: Int[ndarray, " row"]
) -> Float[ndarray, "2 3"]:
    """Mean and standard deviation of each band, in [0, 1]."""
    total = sum(
        sums(images[torch.from_numpy(part)]).sum(0)
        for part in np.array_split(rows, -(-len(rows) // CHUNK))
    )
    mean, square = np.asarray(total).reshape(2, 3) / (len(rows) * images.shape[-1] ** 2)
    return np.array([mean, np.sqrt(square - mean**2)]) / 255


# --- predictions ----------------------------------------------------------------------------------


def predictions(table: pd.DataFrame, sample: Galaxies) -> list[Finding]:
    """A predictions table (`id, split, label, p_<class>...`) against the data set: rows, labels,
    splits, and their order.

    Every labelled galaxy has to be there once, with its own label and split. Labels that are moved
    by some rows, exchanged between classes or shuffled are told apart. Probabilities in another
    order than labels are found by agreeing better with labels some rows away, or no better than
    chance.

    Raises `ValueError` for a table without these columns, or for other classes than the data set's.
    """
    wanted = ["id", "split", "label", *(f"p_{name}" for name in sample.classes)]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise ValueError(
            f"predictions have no column {_some(missing)}; expected {', '.join(wanted)}"
        )
    ids = pd.Series(table["id"].to_numpy(str), dtype=object)
    row = {name: at for at, name in enumerate(sample.ids.tolist())}
    at = np.array([row.get(name, -1) for name in ids], dtype=int)
    there = at >= 0
    names = np.array([*sample.classes, ""], dtype=object)
    label, true = table.label.to_numpy(object)[there], names[sample.labels.numpy()[at[there]]]
    labels = _labels(label, true, ids[there].to_numpy(), sample.classes)
    wrong = ids[there][table.split.to_numpy(object)[there] != sample.split[at[there]]]
    n = int(there.sum())
    if len(wrong):
        text = f"{len(wrong):,} of {n:,} galaxies are in another split than in the data set: {_some(wrong)}"
        splits = Finding("splits", "leak", text, tuple(wrong), n)
    else:
        splits = _compared("splits", n, f"the splits of {n:,} galaxies are those of the data set")
    return [_rows(ids, there, sample), labels, splits, _order(table, sample.classes)]


def _compared(name: str, n: int, text: str) -> Finding:
    return (
        Finding(name, "passed", text, n=n)
        if n
        else Finding(name, "warning", "no galaxy to compare")
    )


def _rows(ids: pd.Series, there: Shaped[ndarray, " row"], sample: Galaxies) -> Finding:
    twice, unknown = ids[ids.duplicated()].unique(), ids[~there].unique()
    missing = np.setdiff1d(sample.ids[sample.labels.numpy() >= 0], ids.to_numpy(str))
    named = tuple(str(each) for part in (twice, unknown, missing) for each in part)
    texts = [
        f"{len(part):,} {what}: {_some(part)}"
        for part, what in (
            (twice, "ids are there more than once"),
            (unknown, "ids are none of the data set"),
            (missing, "labelled galaxies are missing"),
        )
        if len(part)
    ]
    if len(twice):
        again = int(ids.duplicated().to_numpy().argmax())
        values = ids.to_numpy()
        if (values == values[np.arange(len(values)) % again]).all():
            texts.insert(
                0,
                f"ids begin again every {again} rows: numbered within each batch, not within the data set",
            )
    if texts:
        return Finding("rows", "leak", "; ".join(texts), named, len(ids))
    return Finding(
        "rows", "passed", f"every labelled galaxy is there once, in {len(ids):,} rows", n=len(ids)
    )


def _labels(label: ndarray, true: ndarray, ids: ndarray, classes: Sequence[str]) -> Finding:
    n, wrong = len(label), label != true
    if not wrong.any():
        return _compared("labels", n, f"the labels of {n:,} galaxies are those of the data set")
    rows, agree = _best_move(true, label, classes)
    mapped = pd.DataFrame({"true": true, "label": label}).drop_duplicates()
    if agree >= max(0.98 * (n - abs(rows)), n / 2, 10) and agree > (~wrong).sum():
        why = f"the column is shifted by {rows:+d} rows against the ids"
    elif mapped.true.is_unique and mapped.label.is_unique:
        renamed = mapped[mapped.true != mapped.label]
        why = "classes are exchanged: " + _some(
            [f"{a} is called {b}" for a, b in zip(renamed.true, renamed.label, strict=True)]
        )
    elif sorted(label) == sorted(true) and _better_than_chance(label, true) < 3:
        why = "the labels are shuffled: as many of each class, and no more agreement than by chance"
    else:
        why = "these labels are wrong"
    text = (
        f"{wrong.sum():,} of {n:,} labels are not those of the data set; {why}: {_some(ids[wrong])}"
    )
    return Finding("labels", "leak", text, tuple(ids[wrong]), n)


def _best_move(of: ndarray, against: ndarray, classes: Sequence[str]) -> tuple[int, int]:
    """By how many rows (not 0) `of` has to be moved down to agree best with `against`, and in how
    many rows it does then."""
    n = len(of)
    spectra = [
        np.fft.rfft([of == name, against == name], 2 * n) for name in classes
    ]  # padded: nothing comes around
    agree = np.rint(np.fft.irfft(sum(b * a.conj() for a, b in spectra), 2 * n)).astype(int)
    agree[0] = -1
    best = int(agree.argmax())
    return best - 2 * n if best >= n else best, int(agree[best])


def _better_than_chance(one: ndarray, other: ndarray) -> float:
    """Agreement beyond what shuffling leaves, in (about) standard deviations."""
    shares = pd.concat(
        [pd.Series(each).value_counts(normalize=True) for each in (one, other)], axis=1
    ).fillna(0)
    chance = float(shares.prod(axis=1).sum())
    return float(
        ((one == other).mean() - chance) / np.sqrt(max(chance * (1 - chance), 1e-12) / len(one))
    )


def _order(table: pd.DataFrame, classes: Sequence[str]) -> Finding:
    """Whether probabilities and labels belong to the same rows; within each split, as splits may
    have been predicted apart."""
    told = table[table.label != ""]
    values = told[[f"p_{name}" for name in classes]].to_numpy(float)
    guess, label, split = (
        np.array(classes, dtype=object)[values.argmax(1)],
        told.label.to_numpy(object),
        told.split.to_numpy(object),
    )
    chance = []
    for name in pd.unique(split):
        g, t = guess[split == name], label[split == name]
        n = len(t)
        if n < 30 or len(set(g)) < 2 or len(set(t)) < 2:
            continue
        rows, agree = _best_move(g, t, classes)
        if agree - (g == t).sum() > 3 * np.sqrt(n):  # twice that of the best of all moves by chance
            text = (
                f"in {name}, probabilities agree with labels in {agree:,} of {n:,} rows if they are moved by {rows:+d} rows, "
                f"as they stand in {(g == t).sum():,}"
            )
            return Finding("order", "leak", text, tuple(told["id"].astype(str)[split == name]), n)
        if _better_than_chance(g, t) < 2.33:
            chance.append(f"{name} ({(g == t).sum():,} of {n:,})")
    if chance:
        text = f"predictions agree with labels no better than shuffled ones in {_some(chance)}"
        return Finding("order", "warning", text, n=len(told))
    return _compared("order", len(told), "no other order of the rows agrees better with the labels")


@torch.no_grad()
def batch_independent(
    predict: Callable[[Tensor], Tensor],
    images: UInt8[Tensor, "galaxy 3 size size"],
    *,
    network: nn.Module | None = None,
    tolerance: float = 0.1,
) -> list[Finding]:
    """Whether predictions (or features) of a galaxy depend on which others are predicted with it,
    or on chance.

    `images`: a few, at least 4, are predicted together, again, one by one, and by halves in reverse
    order. Allowed is `tolerance` of the spread among galaxies, as bfloat16 rounds differently in
    batches of other sizes.

    A `predict` that hands galaxies to its network one by one, in training mode, gives the same each
    time: give it `network`, too, so that the modes of its layers are watched, and whether a
    prediction changes its parameters or buffers."""
    n = len(images)
    if n < 4:
        raise ValueError(f"{n} images: at least 4 are needed to be predicted in other batches")
    layers = dict(network.named_modules()) if network is not None else {}
    sensitive = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
    training = dict[str, str]()
    ran = list[str]()

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        def note(layer: nn.Module, _: Any) -> None:
            ran.append(name)
            if layer.training:
                training[name] = type(layer).__name__

        return note

    hooks = [
        layer.register_forward_pre_hook(watch(name))
        for name, layer in layers.items()
        if isinstance(layer, sensitive)
    ]
    state = (
        {}
        if network is None
        else {name: value.clone() for name, value in network.state_dict().items()}
    )
    try:
        together, again = predict(images).float(), predict(images).float()
        alone = torch.cat([predict(image[None]).float() for image in images])
        halves = torch.cat([predict(part).float() for part in images.flip(0).tensor_split(2)]).flip(
            0
        )
    finally:
        for hook in hooks:
            hook.remove()
    changed = [
        name
        for name, value in (network.state_dict() if network is not None else {}).items()
        if not value.equal(state[name])
    ]
    spread = together.std(0).square().mean().sqrt() + 1e-6
    apart = {
        what: ((other - together).square().mean().sqrt() / spread).item()
        for what, other in (
            ("predicted again", again),
            ("alone", alone),
            ("in other batches", halves),
        )
    }
    texts = [
        f"{what} they differ by {value:.2g} of their spread"
        for what, value in apart.items()
        if not value <= tolerance
    ]
    if training:
        texts.append(
            f"{len(training)} layers were in training mode: {_some([f'{k} ({v})' for k, v in training.items()])}"
        )
    if changed:
        texts.append(f"predicting changed {_some(changed)}")
    if texts:
        return [Finding("batches", "leak", f"predictions of {n} galaxies: {'; '.join(texts)}", n=n)]
    watched = f", {len(set(ran))} layers in eval mode" if ran else ""
    return [
        Finding(
            "batches",
            "passed",
            f"{n} galaxies alone, in other batches and again: the same{watched}",
            n=n,
        )
    ]

"""From predictions tables to numbers: metrics with intervals, and comparisons of methods. scikit-learn does the
computing.

A predictions table has the columns `id`, `split`, `label` (a class's name; empty or NaN for unlabelled) and `p_<class>`
for each class; what is taken for the answer is the class of the largest probability (the first of equals). Each metric:

* accuracy: the fraction of galaxies whose class is right. balanced_accuracy: the mean over classes of recall (Brodersen
  et al. 2010), hence the same number as macro_recall, under the name that the literature uses.
* precision of a class: right / taken for it, 0 where nothing was taken for it; recall: right / truly of it; f1: their
  harmonic mean; macro_*: the unweighted mean over classes.
* auc of a class: area under the receiver operating characteristic of the class against the rest, which is the
  probability that a galaxy of the class has a larger p_<class> than one of the rest, ties counting half (Hanley &
  McNeil 1982); overall: the mean.
* log_loss: mean of -ln p of the true class, in nats, p no smaller than float64's epsilon (2.2e-16).
* brier: mean over galaxies of the sum over classes of (p - [is the class])^2, from 0 to 2 (Brier 1950).

A class without a galaxy in the part under test has no recall, f1 or AUC: its rows are NaN, means go over the other
classes, and the row's `note` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics as sk
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.stats import t as student
from sklearn.dummy import DummyClassifier

OVERALL = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "auc", "log_loss", "brier")
PER_CLASS = ("precision", "recall", "f1", "auc")
TOLERANCE = 1e-3  # by how much the rounded probabilities of a galaxy may miss 1; they are then rescaled
BLOCK = 2**22  # weights of galaxies in memory at once while bootstrapping


# ---- one predictions table


def classes(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The names of the classes, in the order of the table's `p_<class>` columns. Raises `ValueError` for another table."""
    names = tuple(str(c).removeprefix("p_") for c in predictions.columns if str(c).startswith("p_"))
    missing = [c for c in ("id", "split", "label") if c not in predictions.columns]
    if missing or not names:
        missing += [] if names else ["p_<class>"]
        have = ", ".join(map(str, predictions.columns))
        raise ValueError(f"no predictions table: columns {', '.join(missing)} are missing; it has {have}")
    return names


def evaluate(predictions: pd.DataFrame, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """All metrics of the labelled galaxies of a split, each with its interval.

    Returns a tidy table with the columns metric, `class` (empty for overall metrics), value, low, high, n (galaxies; of
    a class: its own) and note (why a value is NaN or follows a convention, else empty).

    low and high: the central 95 % of a bootstrap of the galaxies, stratified by true class (`n_bootstrap` draws; Efron
    1979), NaN without draws. A percentile interval: it covers the choice of the galaxies alone, not of the training
    run, and collapses to a point where every galaxy is right; see `smallest_difference` for what such a test set can
    tell.

    Raises `ValueError`, naming the rows, for an id that is there twice, a label that is no class, or probabilities that
    are none or miss a sum of 1 by more than 0.001; and where the split has no labelled galaxy.
    """
    names = classes(predictions)
    true, p = _arrays(predictions, split)
    point, draws = _point(true, p), _bootstrap(true, p, n_bootstrap=n_bootstrap, seed=seed)
    rows = []
    for metric, k, n, note in _notes(true, p, names, split):
        low, high = np.percentile(draws[metric, k], [2.5, 97.5]) if n_bootstrap else (np.nan, np.nan)
        row = {"metric": metric, "class": "" if k < 0 else names[k], "value": point[metric, k]}
        rows.append(row | {"low": float(low), "high": float(high), "n": n, "note": note})
    return pd.DataFrame(rows)


def confusion(predictions: pd.DataFrame, *, split: str = "test") -> Int[ndarray, "true taken_for"]:
    """How many labelled galaxies of a class (row) were taken for which (column); the order is that of `classes`."""
    true, p = _arrays(predictions, split)
    return sk.confusion_matrix(true, p.argmax(1), labels=range(p.shape[1]))


def roc(predictions: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """The points of the receiver operating characteristic of each class against the rest.

    Columns: `class`, false_positive_rate, true_positive_rate, threshold (on p_<class>), auc and n (galaxies of the
    class), the last two the same in all rows of a class. A class without a galaxy in the split, or without any other,
    has no rows.
    """
    names = classes(predictions)
    true, p = _arrays(predictions, split)
    curves = []
    for k in np.flatnonzero(_two_sided(true, len(names))):
        false_positive, true_positive, threshold = sk.roc_curve(true == k, p[:, k])
        curve = {"class": names[k], "false_positive_rate": false_positive, "true_positive_rate": true_positive}
        auc = float(sk.auc(false_positive, true_positive))
        curves.append(pd.DataFrame(curve | {"threshold": threshold, "auc": auc, "n": int((true == k).sum())}))
    columns = ["class", "false_positive_rate", "true_positive_rate", "threshold", "auc", "n"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def mistakes(predictions: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """The misclassified galaxies of a split, the most confident first: columns id, label, taken_for, probability (of
    `taken_for`). The index is that of `predictions`."""
    names = np.array(classes(predictions))
    true, p = _arrays(predictions, split)
    rows = predictions.loc[_selected(predictions, split)]
    table = pd.DataFrame(
        {"id": rows["id"], "label": names[true], "taken_for": names[p.argmax(1)], "probability": p.max(1)}, index=rows.index
    )
    return table.loc[table.label != table.taken_for].sort_values(by="probability", ascending=False, kind="stable")


def majority(predictions: pd.DataFrame) -> pd.DataFrame:
    """The same table as a classifier without eyes would fill it: every galaxy gets the frequencies of the classes among
    the labelled training galaxies, and so is taken for the largest class (scikit-learn's
    `DummyClassifier(strategy="prior")`)."""
    names = classes(predictions)
    train, _ = _arrays(predictions, "train")
    prior = DummyClassifier(strategy="prior").fit(np.zeros((len(train), 1)), train)
    frequency = np.zeros(len(names))
    frequency[prior.classes_] = prior.class_prior_
    return predictions.assign(**{f"p_{name}": frequency[k] for k, name in enumerate(names)})


# ---- many predictions tables


def compare(pieces: Sequence[Mapping[str, Any]], *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """One row per method and label budget, over its seeds, in the order of `pieces`.

    A piece is one training run: `step` (the method), `seed`, `n_labels` (None: all labels), `predictions` (a table, or
    None where it is missing), and, if known, `seconds` and `protocol`.

    Columns: method, protocol (where a piece has one), n_labels (integer, <NA> for all), n_train and n_test (labelled
    galaxies per seed; the fewest), n_test_all (different galaxies tested over all seeds), seeds (those that are there),
    missing (those that are not), seconds (mean), interval (what low and high are), train_accuracy, val_accuracy (means;
    NaN where a table has no such part), and for every metric of `OVERALL`, of the test part: <metric> (mean over
    seeds), <metric>_std (over seeds, n - 1), <metric>_low and <metric>_high.

    low and high with two seeds or more: the 95 % t-interval of the mean over seeds, cut off where the metric ends.
    Seeds count as independent, although their test and training sets overlap: it is rather too narrow (Nadeau & Bengio
    2003). With one seed: the bootstrap interval over galaxies of `evaluate`, which knows nothing of the spread between
    seeds.

    Raises `ValueError` that names the method and seed of a faulty table, of two pieces for the same seed, or of one that was
    tested on other galaxies than another method with its seed.
    """
    _check_test_galaxies(pieces)
    groups: dict[tuple[str, int | None], list[Mapping[str, Any]]] = {}
    for piece in pieces:
        groups.setdefault((str(piece["step"]), _budget(piece)), []).append(piece)
    rows = []
    for (step, n_labels), group in groups.items():
        seeds = [piece.get("seed") for piece in group]
        twice = {s for s in seeds if seeds.count(s) > 1}
        if twice:
            raise ValueError(f"{step}, {_labels_text(n_labels)}: seed {twice.pop()} is there twice; give variants a step each")
        rows.append({"method": step, "n_labels": n_labels} | _row(group, n_bootstrap=n_bootstrap, seed=seed))
    table = (
        pd.DataFrame(rows)
        .reindex(columns=_columns())
        .astype(dict.fromkeys(["n_labels", "n_train", "n_test", "n_test_all"], "Int64"))
    )
    return table if any(piece.get("protocol") for piece in pieces) else table.drop(columns="protocol")


def _check_test_galaxies(pieces: Sequence[Mapping[str, Any]]) -> None:
    """A comparison means nothing unless all methods with one seed are tested on the same galaxies."""
    first: dict[Any, tuple[str, frozenset[str]]] = {}
    for piece in pieces:
        predictions = piece["predictions"]
        if predictions is None:
            continue
        tested = frozenset(predictions.loc[_selected(predictions, "test"), "id"])
        name, others = first.setdefault(piece.get("seed"), (str(piece["step"]), tested))
        if tested != others:
            raise ValueError(
                f"{piece['step']}, seed {piece.get('seed')}: tested on {len(tested):,} galaxies, of which "
                f"{len(tested & others):,} are among the {len(others):,} of {name}; execute both again with the same galaxies"
            )


def per_class(pieces: Sequence[Mapping[str, Any]], *, metric: str = "f1") -> pd.DataFrame:
    """A metric of `PER_CLASS` on the test part, methods (and label budgets, where there are several) by classes, mean
    over seeds.

    `pieces` as for `compare`; those that are missing are left out.
    """
    if metric not in PER_CLASS:
        raise ValueError(f"metric={metric!r}: one of {', '.join(PER_CLASS)}")
    several = len({_budget(piece) for piece in pieces}) > 1
    found: dict[str, list[pd.Series]] = {}
    for piece in pieces:
        if piece["predictions"] is not None:
            table = _evaluated(piece, n_bootstrap=0, seed=0)
            name = str(piece["step"]) + (f", {_labels_text(_budget(piece))}" if several else "")
            found.setdefault(name, []).append(table.loc[metric, "value"].drop("", errors="ignore"))
    return pd.DataFrame({name: pd.DataFrame(values).mean() for name, values in found.items()}).T


def smallest_difference(n_test: int, accuracy: float) -> float:
    """The smallest difference between two accuracies near `accuracy` that a test set of `n_test` galaxies resolves at
    95 %.

    1.96 sqrt(2 a (1 - a) / (n_test + 2)) with a = (n_test accuracy + 1) / (n_test + 2): the half-width of the interval
    of a difference of two proportions with a success and a failure added to each, so that it also holds near 0 and 1
    (Agresti & Caffo 2000). The two count as tested on independent galaxies; a paired test on the same galaxies may
    resolve somewhat less.
    """
    if n_test < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"n_test={n_test}, accuracy={accuracy}: at least one galaxy, and from 0 to 1")
    a = (n_test * accuracy + 1) / (n_test + 2)
    return 1.96 * math.sqrt(2 * a * (1 - a) / (n_test + 2))


def sentences(table: pd.DataFrame, *, baseline: str = "majority") -> list[str]:
    """What a table of `compare` says about accuracy, in plain words, for each label budget: who is ahead, what is a
    tie, what is missing, and what answering without eyes reaches (the method `baseline`, which is not ranked).

    Two methods are told apart only if they differ by more than both `smallest_difference` (of the different galaxies
    that were tested) and, with two seeds or more each, the 95 % margin of Welch's t-test over seeds. No correction for
    the number of methods.
    """
    said, budgets = [], {}
    for row in table.to_dict("records"):
        budgets.setdefault(_budget(row), []).append(row)
    for n_labels, rows in budgets.items():
        opening = f"With {_labels_text(n_labels)}"
        there = sorted((row for row in rows if row["seeds"]), key=lambda row: -row["accuracy"])
        ranked = [row for row in there if row["method"] != baseline]
        if ranked:
            said += _ranking(opening, ranked)
        elif any(row["method"] != baseline for row in rows):
            said.append(f"{opening}: no result yet.")
        for row in there:
            if row["method"] == baseline:
                said.append(f"{opening}, naming the most common class every time would reach {row['accuracy']:.3f}.")
        for row in rows:
            if row["missing"]:
                said.append(f"{opening}, {row['method']} lacks {row['missing']} of {row['missing'] + row['seeds']} seeds.")
    return said


def readable(table: pd.DataFrame, *, metrics: Sequence[str] = ("accuracy", "macro_f1", "auc", "log_loss")) -> pd.DataFrame:
    """A table of `compare` as text to look at: each metric as `0.903 [0.885, 0.921]`; no value as an en dash."""
    shown = []
    for row in table.to_dict("records"):
        text = {name: row[name] or "" for name in ("method", "protocol") if name in row}
        text["labels"] = "all" if _budget(row) is None else f"{_budget(row):,}"
        text |= {f"{part} galaxies": _number(row[f"n_{part}"], ",.0f") for part in ("train", "test")}
        text["seeds"] = str(row["seeds"]) + (f" ({row['missing']} missing)" if row["missing"] else "")
        text |= {f"{part} accuracy": _number(row[f"{part}_accuracy"], ".3f") for part in ("train", "val")}
        for metric in metrics:
            name = "test accuracy" if metric == "accuracy" else metric.replace("_", " ")
            limits = [_number(row[f"{metric}_{end}"], ".3f") for end in ("low", "high")]
            text[name] = _number(row[metric], ".3f") + ("" if "–" in limits else f" [{', '.join(limits)}]")
        shown.append(text | {"interval": row["interval"], "seconds": _number(row["seconds"], ",.0f")})
    return pd.DataFrame(shown)


def _number(value: Any, form: str) -> str:
    return "–" if bool(pd.isna(value)) else format(value, form)


# ---- the parts


def _selected(predictions: pd.DataFrame, split: str) -> Bool[ndarray, " galaxy"]:
    """Which rows are labelled galaxies of the split."""
    label = predictions["label"]
    return ((predictions["split"] == split) & label.notna() & (label.astype(str) != "")).to_numpy(dtype=bool)


def _arrays(predictions: pd.DataFrame, split: str) -> tuple[Int[ndarray, " galaxy"], Float[ndarray, "galaxy class"]]:
    """True classes as indices, and probabilities that sum to 1, of the labelled galaxies of a split, once they are checked."""
    names = classes(predictions)
    twice = predictions.loc[predictions["id"].duplicated(keep=False), "id"]
    if len(twice):
        raise ValueError(
            f"{twice.nunique()} ids are there twice or more: {_some(list(twice.unique()))}; keep one row per galaxy"
        )
    rows = predictions.loc[_selected(predictions, split)]
    if rows.empty:
        have = ", ".join(f"{name} ({n} rows)" for name, n in predictions["split"].value_counts().items())
        raise ValueError(f"no labelled galaxy in split {split!r}; the table has {have or 'no rows'}")
    label = rows["label"]
    if pd.api.types.is_float_dtype(label):  # class names that are numbers, read from a file with empty labels
        label = label.astype(int)
    true = np.array([names.index(name) if name in names else -1 for name in label.astype(str)])
    if (true < 0).any():
        wrong = [f"{row} ({name})" for row, name in label.loc[true < 0].items()]
        raise ValueError(f"labels that are no class in rows {_some(wrong)}; classes: {', '.join(names)}")
    p = np.asarray(rows[[f"p_{name}" for name in names]], dtype=float)
    total = p.sum(1)
    good = (p >= 0).all(1) & (abs(total - 1) <= TOLERANCE)  # NaN is neither
    if not good.all():
        wrong = [
            f"{row} (id {rows.at[row, 'id']}, sum {s:.4g})" for row, s in zip(rows.index[~good], total[~good], strict=True)
        ]
        raise ValueError(f"p_<class> are no probabilities that sum to 1 in {len(wrong)} rows: {_some(wrong)}")
    return true, p / total[:, None]


def _some(things: Sequence[Any]) -> str:
    return ", ".join(map(str, things[:5])) + (f" and {len(things) - 5} more" if len(things) > 5 else "")


def _present(true: Int[ndarray, " galaxy"], n_classes: int) -> Bool[ndarray, " class"]:
    return np.bincount(true, minlength=n_classes) > 0


def _two_sided(true: Int[ndarray, " galaxy"], n_classes: int) -> Bool[ndarray, " class"]:
    """Which classes have galaxies both in them and outside, as an ROC needs."""
    count = np.bincount(true, minlength=n_classes)
    return (count > 0) & (count < len(true))


def _notes(
    true: Int[ndarray, " galaxy"], p: Float[ndarray, "galaxy class"], names: tuple[str, ...], split: str
) -> Iterator[tuple[str, int, int, str]]:
    """The rows of a table of metrics: metric, index of the class (-1: overall), galaxies, note."""
    present, two_sided = _present(true, len(names)), _two_sided(true, len(names))
    taken, count = np.bincount(p.argmax(1), minlength=len(names)), np.bincount(true, minlength=len(names))
    for metric in OVERALL:
        over = two_sided if metric == "auc" else present
        mean = metric in ("balanced_accuracy", "auc") or metric.startswith("macro")
        note = f"mean over the {over.sum()} of {len(names)} classes in the {split} part" if mean and not over.all() else ""
        if not over.any():
            note = f"the {split} part has one class only"
        yield metric, -1, len(true), note
    for metric in PER_CLASS:
        for k in range(len(names)):
            note = "" if present[k] else f"no galaxy of this class in the {split} part"
            if present[k] and metric == "auc" and not two_sided[k]:
                note = f"the {split} part has one class only"
            if present[k] and metric == "precision" and not taken[k]:
                note = "no galaxy was taken for this class: precision counts as 0"
            yield metric, k, int(count[k]), note


def _point(true: Int[ndarray, " galaxy"], p: Float[ndarray, "galaxy class"]) -> dict[tuple[str, int], float]:
    """Every metric from scikit-learn, by (metric, index of the class); index -1: overall."""
    n_classes, taken = p.shape[1], p.argmax(1)
    present, two_sided = _present(true, n_classes), _two_sided(true, n_classes)
    scores = np.full((4, n_classes), np.nan)  # in the order of PER_CLASS
    there = np.flatnonzero(present)
    scores[:3, there] = sk.precision_recall_fscore_support(true, taken, labels=there, zero_division=0)[:3]  # pyright: ignore
    for k in np.flatnonzero(two_sided):
        scores[3, k] = sk.roc_auc_score(true == k, p[:, k])
    precision, recall, f1 = scores[:3, there].mean(1)
    auc = scores[3, two_sided].mean() if two_sided.any() else np.nan
    if n_classes > 1:
        log_loss = sk.log_loss(true, p, labels=range(n_classes))
        brier = sk.brier_score_loss(true, p, labels=range(n_classes), scale_by_half=False)  # pyright: ignore
    else:  # scikit-learn wants two classes
        log_loss = brier = 0.0
    overall = (sk.accuracy_score(true, taken), recall, precision, recall, f1, auc, log_loss, brier)
    values = {(metric, -1): float(value) for metric, value in zip(OVERALL, overall, strict=True)}
    return values | {(m, k): float(scores[i, k]) for i, m in enumerate(PER_CLASS) for k in range(n_classes)}


def _bootstrap(
    true: Int[ndarray, " galaxy"], p: Float[ndarray, "galaxy class"], *, n_bootstrap: int, seed: int
) -> dict[tuple[str, int], Float[ndarray, " draw"]]:
    """Every metric of every draw, keyed as in `_point`. In each draw a galaxy's place is taken by a random one of its class."""
    rng = np.random.default_rng(seed)
    order = np.argsort(true, kind="stable")
    true, p = true[order], p[order]
    count = np.bincount(true, minlength=p.shape[1])
    first, size = (np.cumsum(count) - count)[true], count[true]  # of the galaxy's class
    blocks = []
    for start in range(0, max(n_bootstrap, 1), max(1, BLOCK // len(true))):
        n = min(n_bootstrap - start, max(1, BLOCK // len(true)))
        drawn = first + (rng.random((n, len(true))) * size).astype(np.int64)  # (draw, galaxy)
        drawn += np.arange(n)[:, None] * len(true)
        weights = np.bincount(drawn.ravel(), minlength=n * len(true)).reshape(n, len(true)).astype(float)
        blocks.append(_weighted(weights, true, p))
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}


def _weighted(
    weights: Float[ndarray, "draw galaxy"], true: Int[ndarray, " galaxy"], p: Float[ndarray, "galaxy class"]
) -> dict[tuple[str, int], Float[ndarray, " draw"]]:
    """Every metric for many weightings of the same galaxies at once, keyed as in `_point`.

    The weights of each class sum to its number of galaxies in every draw.
    """
    n, n_classes = p.shape
    one_hot = np.eye(n_classes)[true]
    cell = np.eye(n_classes**2)[true * n_classes + p.argmax(1)]
    matrix = (weights @ cell).reshape(len(weights), n_classes, n_classes)
    present, two_sided = _present(true, n_classes), _two_sided(true, n_classes)
    right, truly, taken = np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(2), matrix.sum(1)  # (draw, class)
    scores = np.full((4, len(weights), n_classes), np.nan)  # in the order of PER_CLASS
    scores[0][:, present] = (right / np.maximum(taken, 1))[:, present]
    scores[1][:, present] = (right / np.maximum(truly, 1))[:, present]
    scores[2][:, present] = (2 * right / np.maximum(truly + taken, 1))[:, present]
    for k in np.flatnonzero(two_sided):
        scores[3][:, k] = _weighted_auc(weights, true == k, p[:, k])
    precision, recall, f1 = scores[:3][:, :, present].mean(2)
    auc = scores[3][:, two_sided].mean(1) if two_sided.any() else np.full(len(weights), np.nan)
    likely = np.clip(p[np.arange(n), true], np.finfo(float).eps, 1 - np.finfo(float).eps)
    brier = ((p - one_hot) ** 2).sum(1)
    overall = (right.sum(1) / n, recall, precision, recall, f1, auc, weights @ -np.log(likely) / n, weights @ brier / n)
    values = {(metric, -1): value for metric, value in zip(OVERALL, overall, strict=True)}
    return values | {(m, k): scores[i][:, k] for i, m in enumerate(PER_CLASS) for k in range(n_classes)}


def _weighted_auc(
    weights: Float[ndarray, "draw galaxy"], positive: Bool[ndarray, " galaxy"], score: Float[ndarray, " galaxy"]
) -> Float[ndarray, " draw"]:
    """The weighted fraction of pairs of a positive and a negative that are in order, ties counting half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # of each group of equal scores
    up = np.add.reduceat(np.where(positive[order], weights[:, order], 0), starts, axis=1)
    down = np.add.reduceat(np.where(positive[order], 0, weights[:, order]), starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    return (up * below).sum(1) / (positive.sum() * (~positive).sum())


# ---- the rows of a comparison


def _columns() -> list[str]:
    first = ["method", "protocol", "n_labels", "n_train", "n_test", "n_test_all", "seeds", "missing", "seconds", "interval"]
    each = [f"{metric}{end}" for metric in OVERALL for end in ("", "_std", "_low", "_high")]
    return first + ["train_accuracy", "val_accuracy"] + each


def _budget(piece: Mapping[str, Any]) -> int | None:
    n_labels = piece.get("n_labels")
    return None if bool(pd.isna(n_labels)) else int(n_labels)  # pyright: ignore[reportArgumentType]


def _labels_text(n_labels: int | None) -> str:
    return "all labels" if n_labels is None else f"{n_labels:,} labels"


@contextmanager
def _named(piece: Mapping[str, Any]) -> Iterator[None]:
    """Says in an error whose table it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{piece['step']}, {_labels_text(_budget(piece))}, seed {piece.get('seed')}: {error}") from error


def _evaluated(piece: Mapping[str, Any], *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """The table of `evaluate` of a piece's test part, indexed by metric and class."""
    with _named(piece):
        return evaluate(piece["predictions"], n_bootstrap=n_bootstrap, seed=seed).set_index(["metric", "class"])


def _row(group: Sequence[Mapping[str, Any]], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """A method's row of `compare` (without method and n_labels), from its pieces."""
    there = [piece for piece in group if piece["predictions"] is not None]
    protocols = dict.fromkeys(piece["protocol"] for piece in group if piece.get("protocol"))
    row: dict[str, Any] = {"protocol": " / ".join(protocols) or None}  # seeds may differ: one may have seen test galaxies
    row |= {"seeds": len(there), "missing": len(group) - len(there), "interval": ""}
    if not there:
        return row
    tables = [piece["predictions"] for piece in there]
    tested = [table.loc[_selected(table, "test"), "id"] for table in tables]
    seconds = [piece["seconds"] for piece in there if piece.get("seconds") is not None]
    row |= {
        "n_train": min(int(_selected(table, "train").sum()) for table in tables),
        "n_test": min(len(ids) for ids in tested),
        "n_test_all": len({galaxy for ids in tested for galaxy in ids}),
        "seconds": float(np.mean(seconds)) if seconds else np.nan,
        "interval": "t over seeds" if len(there) > 1 else "bootstrap over galaxies",
        "train_accuracy": float(np.mean([_accuracy(piece, "train") for piece in there])),
        "val_accuracy": float(np.mean([_accuracy(piece, "val") for piece in there])),
    }
    draws = n_bootstrap if len(there) == 1 else 0
    results = [_evaluated(piece, n_bootstrap=draws, seed=seed) for piece in there]
    for metric in OVERALL:
        values = np.array([result.at[(metric, ""), "value"] for result in results])
        low, high = (float(results[0].at[(metric, ""), end]) for end in ("low", "high"))  # for one seed
        row |= _spread(metric, values, low=low, high=high)
    return row


def _accuracy(piece: Mapping[str, Any], split: str) -> float:
    if not _selected(piece["predictions"], split).any():
        return math.nan
    with _named(piece):
        true, p = _arrays(piece["predictions"], split)
    return float(sk.accuracy_score(true, p.argmax(1)))


def _spread(metric: str, values: Float[ndarray, " seed"], *, low: float, high: float) -> dict[str, float]:
    """Mean over seeds, standard deviation, interval; `low` and `high` are taken where there is one seed."""
    mean, std = float(values.mean()), math.nan
    if len(values) > 1:
        std = float(values.std(ddof=1))
        margin = float(student.ppf(0.975, len(values) - 1)) * std / math.sqrt(len(values))
        end = {"log_loss": math.inf, "brier": 2.0}.get(metric, 1.0)
        low, high = max(mean - margin, 0.0), min(mean + margin, end)
    return {metric: mean, f"{metric}_std": std, f"{metric}_low": low, f"{metric}_high": high}


def _margin(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """By how much two methods have to differ in accuracy to be told apart (`sentences`)."""
    margin = smallest_difference(int(min(a["n_test_all"], b["n_test_all"])), (a["accuracy"] + b["accuracy"]) / 2)
    if a["seeds"] > 1 and b["seeds"] > 1:
        va, vb = (row["accuracy_std"] ** 2 / row["seeds"] for row in (a, b))
        if va + vb > 0:
            freedom = (va + vb) ** 2 / (va**2 / (a["seeds"] - 1) + vb**2 / (b["seeds"] - 1))
            margin = max(margin, float(student.ppf(0.975, freedom)) * math.sqrt(va + vb))
    return margin


def _ranking(opening: str, ranked: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences on the methods of one label budget, the most accurate first."""
    best = ranked[0]
    galaxies = f"{best['seeds']} seeds, {best['n_test']:.0f} test galaxies each"
    if best["seeds"] == 1:
        galaxies = f"one seed, {best['n_test']:.0f} test galaxies"
    interval = f"{best['accuracy_low']:.3f} to {best['accuracy_high']:.3f}"
    score = f"{best['accuracy']:.3f} (95 % interval {interval}, {galaxies})"
    n, least = int(best["n_test_all"]), smallest_difference(int(best["n_test_all"]), best["accuracy"])
    power = f"{opening}, {n:,} different test galaxies tell two such methods apart from a difference of {least:.3f} on."
    if len(ranked) == 1:
        return [f"{opening}, {best['method']} reaches an accuracy of {score}.", power]
    ties, behind = [], []
    for row in ranked[1:]:
        margin, difference = _margin(best, row), best["accuracy"] - row["accuracy"]
        text = f"{row['method']} ({row['accuracy']:.3f}, lower by {difference:.3f} where {margin:.3f} can be told apart)"
        (behind if difference > margin else ties).append(text)
    said = [f"{opening}, {best['method']} has the highest accuracy, {score}."]
    if ties:
        said.append(f"{opening}, it is a tie of {best['method']} with {' and with '.join(ties)}.")
    if behind:
        said.append(f"{opening}, {best['method']} is ahead, by a resolved difference, of {' and of '.join(behind)}.")
    return [*said, power]

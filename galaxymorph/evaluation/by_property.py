"""Where methods fail: on which galaxies, on which labels, and where two of them differ. From predictions tables alone.

`pieces` are those of `comparison.compare`, of one number of labels (`chosen`). A galaxy that is tested under several seeds is
one galaxy: it counts once where galaxies are counted, its probabilities and verdicts are averaged over the seeds where it was
held out, and intervals know what the test sets of seeds have in common.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import spearmanr
from scipy.stats import t as student

from galaxymorph import galaxy_zoo_tree as schema
from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.comparison import budget, is_control, labels, named
from galaxymorph.evaluation.significance import LEVEL, difference, holm

HELD_OUT = ("val", "test")  # no method was trained on these
NOTHING = 1e-9  # by how much a mean may miss its equals


def chosen(pieces: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of `runs.trained` that are looked at here: with predictions, with the most labels of all, and no controls (random
    encoders, pixels alone). Raises `ValueError` where there is none."""
    there = [piece for piece in pieces if piece["predictions"] is not None and not is_control(piece)]
    if not there:
        raise ValueError(f"none of {len(pieces)} pieces of work is a method with predictions yet; train one first")
    budgets = [math.inf if (n := budget(piece)) is None else n for piece in there]
    return [piece for piece, n in zip(there, budgets, strict=True) if n == max(budgets)]


# ---- properties of galaxies


def by_property(pieces: Sequence[Mapping[str, Any]], properties: pd.DataFrame, *, bins: int = 4) -> pd.DataFrame:
    """How right and how sure each method is about test galaxies of small, ... large values of each property.

    `properties`: a row per galaxy, a column of numbers for each property; ids in the index or in the column id. Its quantiles
    over all different test galaxies part them into `bins`, the same for all methods; galaxies of the same value are in the
    same bin, so that there may be fewer. Galaxies without a value (NaN) are left out.

    Columns: property, method, bin (from 0), low, high (the smallest and the largest value in the bin), accuracy, accuracy_low,
    accuracy_high, confidence (mean of the largest probability), gap (confidence less accuracy: above 0 a method is too sure),
    gap_low, gap_high, n (different galaxies), tests (galaxies, over all seeds) and seeds. Accuracy and confidence are means
    over seeds.

    accuracy_low and accuracy_high: with one seed the 95 % interval of Wilson (1927); with more that of the mean over seeds,
    whose variance is max(s^2, (1 - r) v) / S + r v as in `significance`: s^2 between S seeds, v = p (1 - p) / (n + 2) of one
    seed's galaxies with p = (right + 1) / (n + 2), r the share of the bin's galaxies that two seeds have in common. gap_low
    and gap_high: the same interval about the gap, the confidence taken as known.

    Raises `ValueError` for faulty tables, pieces of several numbers of labels, and tested galaxies that `properties` lacks.
    """
    if bins < 1:
        raise ValueError(f"bins={bins}: at least 1")
    judged, rows = _judged(pieces), []
    for name, values in _values(properties, judged).items():
        values = values.loc[np.isfinite(values)]
        if values.empty:
            continue
        edges = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
        _, which = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)
        inside = judged.join(pd.Series(which, values.index, name="bin"), on="id", how="inner")
        for method, own in inside.groupby("method", sort=False):
            for k, tests in own.groupby("bin"):
                low, high = values[which == k].min(), values[which == k].max()
                rows.append({"property": name, "method": method, "bin": k, "low": low, "high": high} | _accuracy(tests))
    ends = ("", "_low", "_high")
    columns = ["property", "method", "bin", "low", "high", *(f"accuracy{end}" for end in ends), "confidence"]
    columns += [*(f"gap{end}" for end in ends), "n", "tests", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def trends(pieces: Sequence[Mapping[str, Any]], properties: pd.DataFrame) -> pd.DataFrame:
    """Whether methods fail more, or are too sure more, the larger a property is.

    Columns: property, method, measure ("accuracy" or "gap"), correlation, p, p_holm, resolved, n (different galaxies) and
    seeds. correlation: Spearman's, over different galaxies, of the property with the galaxy's mean over its tests of being
    right, or of confidence less that. As each galaxy counts once, p (two-sided, Student's t of the rank correlation) is that
    of galaxies alone, with the seeds as they are. p_holm: corrected for all rows (Holm 1979); resolved: below 0.05. Where all
    galaxies are alike the correlation is NaN and p is 1.

    A trend is no cause: classes differ in size and brightness, and properties go together.
    """
    judged = _judged(pieces)
    judged["gap"] = judged["confidence"] - judged["right"]
    values, rows = _values(properties, judged), []
    for name in values:
        for method, tests in judged.groupby("method", sort=False):
            each = pd.DataFrame(tests.groupby("id").agg({"right": "mean", "gap": "mean"})).assign(value=values[name])
            each = each.loc[np.isfinite(each["value"])]
            for measure, column in (("accuracy", "right"), ("gap", "gap")):
                correlation, p = math.nan, 1.0
                if len(each) > 2 and min(each["value"].nunique(), each[column].nunique()) > 1:
                    correlation, p = map(float, spearmanr(each["value"], each[column]))  # pyright: ignore
                row = {"property": name, "method": method, "measure": measure, "correlation": correlation, "p": p}
                rows.append(row | {"n": len(each), "seeds": tests["seed"].nunique()})
    table = pd.DataFrame(rows, columns=["property", "method", "measure", "correlation", "p", "n", "seeds"])
    corrected = holm(table["p"].to_numpy(float))
    table.insert(5, "p_holm", corrected)
    table.insert(6, "resolved", corrected < LEVEL)
    return table


def property_sentences(table: pd.DataFrame, trends: pd.DataFrame) -> list[str]:
    """What tables of `by_property` and `trends` of the same pieces say: for each property the strongest trend that is told
    apart, of accuracy and of being too sure; and where there is none."""
    said, none = [], []
    for name, rows in trends.groupby("property", sort=False):
        text, told = str(name).replace("_", " "), rows.loc[rows.resolved]
        none += [text] * told.empty
        for measure, kind in told.groupby("measure", sort=True):
            best = kind.loc[kind.correlation.abs().idxmax()]
            own = table.loc[(table.property == name) & (table.method == best.method)].sort_values(by="bin")
            ends = ", ".join(_bin(row, str(measure)) for row in own.iloc[[0, -1]].to_dict("records"))
            alike, of = int((np.sign(kind.correlation) == np.sign(best.correlation)).sum()), rows.method.nunique()
            what = "Accuracy" if measure == "accuracy" else "Confidence less accuracy"
            said.append(
                f"{what} {'rises' if best.correlation > 0 else 'falls'} with {text}, {'most clearly ' * (of > 1)}that of "
                f"{best.method}: {ends} (rank correlation {best.correlation:+.2f}, {_p(best.p_holm)} after Holm's correction "
                f"for {len(trends)} tests, {best.n:,} different galaxies, {_seeds(best.seeds)})."
                + f" So it does for {alike} of {of} methods."
                * (of > 1)
            )
    if none:
        ends = sorted({trends.n.min(), trends.n.max()})
        said.append(
            f"With {', '.join(none[:-1])}{' and ' * (len(none) > 1)}{none[-1]}, neither accuracy nor calibration of any method "
            f"changes by a trend that can be told apart ({' to '.join(f'{n:,}' for n in ends)} different galaxies; Holm's "
            f"correction for {len(trends)} tests)."
        )
    return said


def ambiguous(pieces: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> pd.DataFrame:
    """Clean galaxies, whose votes fit a class, against ambiguous ones, whose votes fit none, of the test part.

    Only methods that predict votes (`votes` of a piece is a table) say anything about the latter; the others have no rows.
    What is asked is which class the most volunteers arrive at (`schema.class_fractions`), as an ambiguous galaxy has no right
    answer.

    Columns: method, part ("clean" or "ambiguous"), agreement (share of galaxies whose leading class is that of the volunteers,
    mean over seeds), agreement_low, agreement_high (as in `by_property`), confidence (mean of the predicted share of that
    class), volunteers (mean of their own share of their leading class), n (different galaxies) and seeds.
    """
    rows = []
    for method, group in _methods(pieces).items():
        parts: dict[str, list[pd.DataFrame]] = {"clean": [], "ambiguous": []}
        for seed, piece in enumerate(group):
            if piece.get("votes") is None:
                continue
            table = piece["votes"].loc[piece["votes"]["split"] == "test"]
            told = table[list(schema.COLUMNS)].to_numpy(float)
            shares = schema.class_fractions(told, classes)
            predicted = schema.class_fractions(table[[f"p_{name}" for name in schema.COLUMNS]].to_numpy(float), classes)
            right = (shares.argmax(1) == predicted.argmax(1)).astype(float)
            each = pd.DataFrame({"seed": seed, "id": table["id"].to_numpy(), "right": right, "confidence": predicted.max(1)})
            each["volunteers"] = shares.max(1)
            clean = schema.hard_labels(told, classes) >= 0
            for part, which in (("clean", clean), ("ambiguous", ~clean)):
                parts[part].append(each.loc[which & np.isfinite(told[:, 0])])
        for part, found in parts.items():
            tests = pd.concat(found) if found else pd.DataFrame()
            if len(tests):
                own = _accuracy(tests)
                row = {"method": method, "part": part, "agreement": own["accuracy"], "agreement_low": own["accuracy_low"]}
                row |= {"agreement_high": own["accuracy_high"], "confidence": own["confidence"]}
                rows.append(row | {"volunteers": tests["volunteers"].mean(), "n": own["n"], "seeds": own["seeds"]})
    columns = ["method", "part", "agreement", "agreement_low", "agreement_high", "confidence", "volunteers", "n", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def ambiguous_sentences(table: pd.DataFrame) -> list[str]:
    """What a table of `ambiguous` says: one sentence for each method, or one that there is none."""
    said = []
    for method, rows in table.groupby("method", sort=False):
        if set(rows.part) == {"clean", "ambiguous"}:
            texts = [
                f"{row['agreement']:.3f} [{row['agreement_low']:.3f}, {row['agreement_high']:.3f}] of {row['n']:,} "
                f"{row['part']} ones (where {row['volunteers']:.2f} of the volunteers name it, and the method gives "
                f"{row['confidence']:.2f})"
                for row in rows.to_dict("records")
            ]
            seeds = _seeds(rows.seeds.max())
            said.append(f"{method} names the class that the most volunteers arrive at for {' and '.join(texts)}, {seeds}.")
    return said or ["No method predicts galaxies whose votes fit no class: how it fares on them is not known."]


# ---- labels


def suspects(pieces: Sequence[Mapping[str, Any]], *, splits: Sequence[str] = HELD_OUT) -> pd.DataFrame:
    """Galaxies whose label methods doubt, by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70, 1373, eq. 1).

    For each method: t_j is the mean of p_j over the galaxies labelled j; a galaxy is taken to be of that class, among those
    with p_j >= t_j, whose p_j is the largest, and suspected where this is not its label. p_j are averaged over the seeds where
    the galaxy is in `splits`, on which no method was trained.

    Columns: id, label, suspected (the class that the most methods suspect; of as many, the one of the larger probability),
    methods (how many agree on it), of (how many predict the galaxy), probability (of the suspected class, mean over those that
    agree). Sorted by the share of methods, then by probability; galaxies that no method suspects have no row.

    A suspect is not an error: methods err, classes overlap, and methods that learned from the same labels share their mistakes.
    `label_errors` says how many are to be expected of methods that err independently.
    """
    found = _consensus(pieces, splits)
    table = found.loc[found["methods"] > 0, ["id", "label", "suspected", "methods", "of", "probability"]]
    order = pd.DataFrame({"share": table["methods"] / table["of"], "probability": table["probability"]})
    return table.loc[order.sort_values(by=["share", "probability"], ascending=False, kind="stable").index].reset_index(
        drop=True
    )


def label_errors(pieces: Sequence[Mapping[str, Any]], *, splits: Sequence[str] = HELD_OUT) -> pd.DataFrame:
    """How many labels of each class are suspected, by more than half of the methods, to be of each other class.

    Columns: label, suspected, n (galaxies with the label), found, expected and errors. A row for each pair of classes.

    * expected: how many would be found if each method doubted as many galaxies with this label as it does, but which ones were
      chance, independent of the other methods. What is found beyond that is due to the galaxies: to a wrong label, or to looks
      that are those of another class. Of a single method it is what is found.
    * errors: the estimated number of label errors, n times the joint distribution of given and true labels: found and confirmed
      galaxies of a label, scaled to its number of galaxies, as some reach no threshold (Northcutt et al. 2021, eq. 3); 0 for a
      label of which no galaxy is found or confirmed.
    """
    found = _consensus(pieces, splits)
    names, place = found.attrs["classes"], {name: k for k, name in enumerate(found.attrs["classes"])}
    label, agreed = (np.array([place.get(name, -1) for name in found[column]]) for column in ("label", "agreed"))
    count, chance = np.zeros((2, len(names), len(names)))
    np.add.at(count, (label[agreed >= 0], agreed[agreed >= 0]), 1)
    np.add.at(chance, label, found.attrs["chance"])
    n = np.bincount(label, minlength=len(names))
    total = count.sum(1, keepdims=True)
    scaled = np.divide(count * n[:, None], total, out=np.zeros_like(count), where=total > 0)
    rows = [
        {
            "label": names[i],
            "suspected": names[j],
            "n": n[i],
            "found": int(count[i, j]),
            "expected": chance[i, j],
            "errors": scaled[i, j],
        }
        for i, j in np.ndindex(count.shape)
        if i != j
    ]
    return pd.DataFrame(rows, columns=["label", "suspected", "n", "found", "expected", "errors"])


def suspect_sentences(suspects: pd.DataFrame, errors: pd.DataFrame) -> list[str]:
    """What tables of `suspects` and `label_errors` of the same pieces say, and what they do not."""
    n, found, expected = int(errors.drop_duplicates("label").n.sum()), int(errors.found.sum()), float(errors.expected.sum())
    if suspects.empty:
        return [f"Of {n:,} held-out galaxies none has a label that a method doubts."]
    of = int(suspects.of.max())
    who = f"most of {of} methods doubt" if of > 1 else "the method doubts"
    chance = f" If the methods doubted galaxies at random, each as many as it does, most would agree on {expected:.1f}." * (
        of > 1
    )
    every = f", {int((suspects.methods == suspects.of).sum()):,} one that all of them doubt" * (of > 1)
    said = [
        f"Of {n:,} held-out galaxies {found:,} have a label that {who}{every} (confident learning).",
        "A suspect is not an error: classes overlap, and methods that learned from the same labels share their mistakes. Look "
        f"at a galaxy before its label is changed.{chance}",
    ]
    if found:
        most = errors.loc[errors.found.idxmax()]
        said.append(
            f"The most frequent: {most.found:,} labelled {most.label} are suspected to be {most.suspected} "
            f"{f'({most.expected:.1f} by chance)' if of > 1 else '(which one method cannot tell from its own mistakes)'}; the "
            f"estimate of confident learning is {most.errors:.1f} of the {most.n:,} with that label."
        )
    return said


# ---- two methods


def disagreements(pieces: Sequence[Mapping[str, Any]], a: str, b: str) -> pd.DataFrame:
    """Test galaxies that two methods name differently, those first of which both are surest: by the smaller one of the two
    probabilities.

    Columns: id, label, class_a, probability_a, class_b, probability_b, right ("a", "b" or "neither"). Probabilities are means
    over the seeds that both have and that test the galaxy. Raises `ValueError` for a method that is not there, and for two
    that were tested on other galaxies.
    """
    both = _pair(pieces, a, b)
    found, names = _probabilities([piece for pair in both for piece in pair], ("test",))
    p_a, p_b = (found[name].to_numpy() for name in (a, b))
    index, named_as = found[a].index, np.array(names)
    label = np.array(index.get_level_values("label"))
    table = pd.DataFrame(
        {
            "id": index.get_level_values("id"),
            "label": label,
            "class_a": named_as[p_a.argmax(1)],
            "probability_a": p_a.max(1),
            "class_b": named_as[p_b.argmax(1)],
            "probability_b": p_b.max(1),
        }
    )
    table["right"] = np.select([table.class_a == table.label, table.class_b == table.label], ["a", "b"], "neither")
    table = table.loc[table.class_a != table.class_b]
    surest = table[["probability_a", "probability_b"]].min(axis=1).sort_values(ascending=False, kind="stable")
    return table.loc[surest.index].reset_index(drop=True)


def confusion_difference(
    pieces: Sequence[Mapping[str, Any]], a: str, b: str, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """The confusion matrix of a less that of b, both as fractions of the true class (row), mean over the seeds that both have.

    One row per cell. Columns: label, taken_for, a, b (fractions), difference, low, high (its 95 % interval), p, p_holm,
    resolved, n (galaxies of the label per seed; the fewest) and seeds. Interval and p are those of `significance.difference`,
    of the galaxies with this label and of being taken for that class: paired over the same galaxies, McNemar's exact test with
    one seed. p_holm: corrected for all cells; resolved: below 0.05. A class without test galaxies has NaN, and p 1.
    """
    both = _pair(pieces, a, b)
    names = metrics.classes(both[0][0]["predictions"])
    rows = []
    for label in names:
        for taken_for in names:
            cells = [[_cell(piece, label, taken_for) for piece in pair] for pair in both]
            cells = [pair for pair in cells if len(pair[0]["predictions"])]
            row: dict[str, Any] = {"label": label, "taken_for": taken_for, "p": 1.0, "n": 0, "seeds": len(cells)}
            if cells:
                found = difference(*zip(*cells, strict=True), n_bootstrap=n_bootstrap, seed=seed)
                row |= {name: found[name] for name in ("difference", "low", "high", "p")}
                row |= {"a": found["accuracy_a"], "b": found["accuracy_b"], "n": found["n_test"]}
            rows.append(row)
    table = pd.DataFrame(rows, columns=["label", "taken_for", "a", "b", "difference", "low", "high", "p", "n", "seeds"])
    corrected = holm(table["p"].to_numpy(float))
    table.insert(8, "p_holm", corrected)
    table.insert(9, "resolved", corrected < LEVEL)
    return table


def confusion_sentences(table: pd.DataFrame, a: str, b: str) -> list[str]:
    """Which cells of a table of `confusion_difference` are told apart: one sentence each, the largest difference first."""
    told = table.loc[table.resolved]
    said = []
    for row in told.loc[told.difference.abs().sort_values(ascending=False, kind="stable").index].to_dict("records"):
        more, less, sign = (a, b, 1) if row["difference"] > 0 else (b, a, -1)
        shares = (row["a"], row["b"]) if sign > 0 else (row["b"], row["a"])
        low, high = sorted((sign * row["low"], sign * row["high"]))
        what = (
            f"is right about {row['label']}"
            if row["label"] == row["taken_for"]
            else f"takes {row['label']} for {row['taken_for']}"
        )
        said.append(
            f"{more} {what} more often than {less}: {shares[0]:.3f} against {shares[1]:.3f} (difference "
            f"{sign * row['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, {_p(row['p_holm'])} after Holm's "
            f"correction for {len(table)} cells, {row['n']:,} galaxies{' each' * (row['seeds'] > 1)}, {_seeds(row['seeds'])})."
        )
    return said or [
        f"No cell of the confusion matrices of {a} and {b} can be told apart ({len(table)} cells, the smallest p after Holm's "
        f"correction {table.p_holm.min():.2f}, {_seeds(table.seeds.max())})."
    ]


# ---- the parts


def _methods(pieces: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The pieces with predictions by method. Raises `ValueError` for several numbers of labels, a seed twice, other classes."""
    there = [piece for piece in pieces if piece["predictions"] is not None]
    budgets = list(dict.fromkeys(budget(piece) for piece in there))
    if len(budgets) > 1:
        raise ValueError(
            f"pieces with {', '.join(map(labels, budgets))}: give those of one number of labels (`failures.chosen`)"
        )
    if not there:
        raise ValueError("no piece has predictions; train a method first")
    methods: dict[str, list[Mapping[str, Any]]] = {}
    names: tuple[str, ...] = ()
    for piece in there:
        with named(piece):
            own = metrics.classes(piece["predictions"])
            names = names or own
            if own != names:
                raise ValueError(f"classes are {', '.join(own)}, those of {there[0]['step']} are {', '.join(names)}")
            group = methods.setdefault(str(piece["step"]), [])
            if any(other.get("seed") == piece.get("seed") for other in group):
                raise ValueError("this seed is there twice; give variants a step each")
            group.append(piece)
    return methods


def _judged(pieces: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each test of a galaxy: method, seed (its number in the method's order), id, right (1 or 0), confidence."""
    found = []
    for method, group in _methods(pieces).items():
        for seed, piece in enumerate(group):
            table = piece["predictions"]
            with named(piece):
                true, p = metrics.checked(table, "test")
            ids = table.loc[metrics.selected(table, "test"), "id"].astype(str).to_numpy()
            right = (p.argmax(1) == true).astype(float)
            row = {"method": method, "seed": seed, "id": ids, "right": right, "confidence": p.max(1)}
            found.append(pd.DataFrame(row))
    return pd.concat(found, ignore_index=True)


def _values(properties: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """The properties of the different galaxies of a table of `_judged`, by id."""
    table = properties.set_index("id") if "id" in properties else properties
    table = table.set_axis(table.index.astype(str), axis=0)
    twice = table.index[table.index.duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"properties: {len(twice)} ids are there twice or more: {metrics.some(list(twice))}; keep one row each"
        )
    text = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise ValueError(f"properties: no numbers in {metrics.some(text)}; leave out such columns")
    ids = pd.Index(judged["id"].unique(), name="id")
    lacking = ids.difference(table.index, sort=False)
    if len(lacking):
        raise ValueError(
            f"properties: no row for {len(lacking):,} of the {len(ids):,} galaxies that were tested: "
            f"{metrics.some(list(lacking))}; measure the galaxies of the data set that the methods were tested on"
        )
    return table.loc[ids].astype(float)


def _accuracy(tests: pd.DataFrame) -> dict[str, Any]:
    """What `by_property` says of the tests of some galaxies by one method (columns seed, id, right, confidence)."""
    groups = [each for _, each in tests.groupby("seed")]
    seeds = [pd.Series(each["right"].to_numpy(), each["id"].to_numpy()) for each in groups]
    accuracy, low, high = _interval(seeds)
    confidence = float(np.mean([each["confidence"].to_numpy().mean() for each in groups]))
    gap = {"gap": confidence - accuracy, "gap_low": confidence - high, "gap_high": confidence - low}
    found = {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high, "confidence": confidence} | gap
    return found | {"n": tests["id"].nunique(), "tests": len(tests), "seeds": len(seeds)}


def _interval(seeds: Sequence[pd.Series]) -> tuple[float, float, float]:
    """The mean over seeds of the share of galaxies that are right, and its 95 % interval, as `by_property` says. A series for
    each seed: 1 or 0 by id."""
    means = np.array([each.mean() for each in seeds])
    if len(seeds) == 1:
        return float(means[0]), *metrics.wilson(int(seeds[0].sum()), len(seeds[0]))
    sizes = np.array([len(each) for each in seeds])
    p = (means * sizes + 1) / (sizes + 2)
    v = float((p * (1 - p) / (sizes + 2)).mean())
    pairs = combinations(seeds, 2)
    common = float(np.mean([len(i.index.intersection(j.index)) / math.sqrt(len(i) * len(j)) for i, j in pairs]))
    own = max(float(means.var(ddof=1)), (1 - common) * v) / len(seeds)
    variance = own + common * v
    freedom = (len(seeds) - 1) * (variance / own) ** 2 if own > 0 else math.inf
    mean, margin = float(means.mean()), float(student.ppf(1 - LEVEL / 2, freedom)) * math.sqrt(variance)
    return mean, max(mean - margin, 0.0), min(mean + margin, 1.0)


def _probabilities(
    pieces: Sequence[Mapping[str, Any]], splits: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """For each method the probabilities of the galaxies in `splits`, mean over its seeds (index id and label, a column for each
    class), and the classes."""
    found, names = {}, ()
    for method, group in _methods(pieces).items():
        parts = []
        for piece in group:
            table = piece["predictions"]
            names = metrics.classes(table)
            for split in splits:
                which = metrics.selected(table, split)
                if which.any():
                    with named(piece):
                        true, p = metrics.checked(table, split)
                    ids = table.loc[which, "id"].astype(str).to_numpy()
                    index = pd.MultiIndex.from_arrays([ids, np.array(names)[true]], names=["id", "label"])
                    parts.append(pd.DataFrame(p, index, columns=pd.Index(names)))
        if parts:
            found[method] = pd.concat(parts).groupby(level=["id", "label"]).mean()
    if not found:
        raise ValueError(f"no labelled galaxy in {' or '.join(splits)} of any method: predict those that it was not trained on")
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    ids = index.get_level_values("id")
    if ids.has_duplicates:
        known = ids[ids.duplicated()].unique()
        raise ValueError(
            f"{len(known)} galaxies have other labels elsewhere: {metrics.some(list(known))}; the tables are of other data"
        )
    return found, names


def _assigned(p: Float[ndarray, "galaxy class"], label: Int[ndarray, " galaxy"]) -> Int[ndarray, " galaxy"]:
    """The class that confident learning takes each galaxy for, of one method; -1 where no probability reaches its threshold."""
    threshold = [p[label == k, k].mean() - NOTHING if (label == k).any() else np.inf for k in range(p.shape[1])]
    above = p >= np.array(threshold)
    return np.where(above.any(1), np.where(above, p, -1).argmax(1), -1)


def _consensus(pieces: Sequence[Mapping[str, Any]], splits: Sequence[str]) -> pd.DataFrame:
    """A row for each galaxy: the columns of `suspects`, and agreed, the class that more than half of the methods take it for,
    or "". `attrs`: classes, and chance `(galaxy, class)`, the probability of that if methods were independent of each
    other."""
    found, names = _probabilities(pieces, splits)
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    place = {name: k for k, name in enumerate(names)}
    label = index.get_level_values("label").map(place).to_numpy(int)
    taken, by_those = np.zeros((2, len(index), len(names)))  # how many methods say a class of a galaxy, and the sum of their p
    number = np.zeros((len(found) + 1, len(index), len(names)))  # the distribution of the former if methods were independent
    number[0], of = 1, np.zeros(len(index), int)
    for each in found.values():
        rows, p = index.get_indexer(each.index), each.to_numpy(float)
        assigned = _assigned(p, label[rows])
        sure = assigned >= 0
        taken[rows[sure], assigned[sure]] += 1
        by_those[rows[sure], assigned[sure]] += p[sure, assigned[sure]]
        of[rows] += 1
        rates = np.zeros((len(names), len(names)))
        np.add.at(rates, (label[rows][sure], assigned[sure]), 1)
        rates /= np.maximum(np.bincount(label[rows], minlength=len(names)), 1)[:, None]
        before, rate = number[:, rows], rates[label[rows]]
        number[:, rows] = before * (1 - rate)
        number[1:, rows] += before[:-1] * rate
    mean = by_those / np.maximum(taken, 1)
    others = np.where(np.arange(len(names)) == label[:, None], -1, taken + 0.999 * mean)  # the larger mean of equal numbers
    suspected, galaxy = others.argmax(1), np.arange(len(index))
    most = taken.argmax(1)
    agreed = np.where(taken.max(1) > of / 2, np.array(names, object)[most], "")
    table = pd.DataFrame({"id": index.get_level_values("id"), "label": index.get_level_values("label")})
    table["suspected"] = np.array(names)[suspected]
    table["methods"] = np.where(suspected == label, 0, taken[galaxy, suspected]).astype(int)
    table = table.assign(of=of, probability=mean[galaxy, suspected], agreed=agreed)
    table.attrs = {"classes": names, "chance": (number * (np.arange(len(number))[:, None] > of / 2)[..., None]).sum(0)}
    return table


def _pair(pieces: Sequence[Mapping[str, Any]], a: str, b: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The pieces of two methods, for each seed that both have."""
    methods = _methods(pieces)
    unknown = [name for name in (a, b) if name not in methods]
    if unknown or a == b:
        raise ValueError(f"methods {a!r} and {b!r}: give two different ones of {', '.join(methods)}")
    theirs = {piece.get("seed"): piece for piece in methods[b]}
    both = [(piece, theirs[piece.get("seed")]) for piece in methods[a] if piece.get("seed") in theirs]
    if not both:
        raise ValueError(f"{a} and {b} have no seed in common: execute both with the same seeds")
    for one, other in both:
        tables = (one["predictions"], other["predictions"])
        ours, others = (set(table.loc[metrics.selected(table, "test"), "id"]) for table in tables)
        if ours != others:
            raise ValueError(
                f"{a}, seed {one.get('seed')}: tested on {len(ours):,} galaxies, of which {len(ours & others):,} are among the "
                f"{len(others):,} of {b}; execute both again with the same galaxies"
            )
    return both


def _cell(piece: Mapping[str, Any], label: str, taken_for: str) -> dict[str, Any]:
    """A piece of which "right" is to take a galaxy for a class, and which tests the galaxies of one label only."""
    table = piece["predictions"]
    names = metrics.classes(table)
    with named(piece):
        true, p = metrics.checked(table, "test")
    which = true == names.index(label)
    yes = (p.argmax(1)[which] == names.index(taken_for)).astype(float)
    ids = table.loc[metrics.selected(table, "test"), "id"].to_numpy()[which]
    cell = pd.DataFrame({"id": ids, "split": "test", "label": "yes", "p_yes": yes, "p_no": 1 - yes})
    return {"step": piece["step"], "seed": piece.get("seed"), "n_labels": piece.get("n_labels"), "predictions": cell}


def _bin(row: Mapping[str, Any], measure: str) -> str:
    """`0.61 [0.52, 0.70] where it is 1.2 to 3.4`."""
    form = ".3f" if measure == "accuracy" else "+.3f"
    low, high = (format(row[f"{measure}_{end}"], form) for end in ("low", "high"))
    return f"{row[measure]:{form}} [{low}, {high}] where it is {row['low']:.3g} to {row['high']:.3g}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _seeds(n: Any) -> str:
    return "one seed" if n == 1 else f"{n} seeds"

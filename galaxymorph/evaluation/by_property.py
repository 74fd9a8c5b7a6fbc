"""Where methods fail: on which galaxies, on which labels, and where two of them differ. From
predictions tables alone.

`pieces` are those of `comparison.compare`, of one number of labels (`chosen`). A galaxy that is
tested under several seeds is one galaxy: it counts once where galaxies are counted, its
probabilities and verdicts are averaged over the seeds where it was held out, and intervals know
what the test sets of seeds have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation.entries import by_method, named
from galaxymorph.evaluation.intervals import LEVEL, holm, of_mean
from galaxymorph.evaluation.phrases import p_value, seeds_text
from galaxymorph.evaluation.predictions import checked, selected
from galaxymorph.text import some

# ---- properties of galaxies


def by_property(
    pieces: Sequence[Mapping[str, Any]], properties: pd.DataFrame, *, bins: int = 4
) -> pd.DataFrame:
    """How right and how sure each method is about test galaxies of small, ... large values of each
    property.

    `properties`: a row per galaxy, a column of numbers for each property; ids in the index or in
    the column id. Its quantiles over all different test galaxies part them into `bins`, the same
    for all methods; galaxies of the same value are in the same bin, so that there may be fewer.
    Galaxies without a value (NaN) are left out.

    Columns: property, method, bin (from 0), low, high (the smallest and the largest value in the
    bin), accuracy, accuracy_low, accuracy_high, confidence (mean of the largest probability), gap
    (confidence less accuracy: above 0 a method is too sure), gap_low, gap_high, n (different
    galaxies), tests (galaxies, over all seeds) and seeds. Accuracy and confidence are means over
    seeds.

    accuracy_low and accuracy_high: with one seed the 95 % interval of Wilson (1927); with more that
    of the mean over seeds, whose variance is max(s^2, (1 - r) v) / S + r v as in `significance`:
    s^2 between S seeds, v = p (1 - p) / (n + 2) of one seed's galaxies with p = (right + 1) / (n +
    2), r the share of the bin's galaxies that two seeds have in common. gap_low and gap_high: the
    same interval about the gap, the confidence taken as known.

    Raises `ValueError` for faulty tables, pieces of several numbers of labels, and tested galaxies
    that `properties` lacks."""
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
                rows.append(
                    {"property": name, "method": method, "bin": k, "low": low, "high": high}
                    | _accuracy(tests)
                )
    ends = ("", "_low", "_high")
    columns = [
        "property",
        "method",
        "bin",
        "low",
        "high",
        *(f"accuracy{end}" for end in ends),
        "confidence",
    ]
    columns += [*(f"gap{end}" for end in ends), "n", "tests", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def trends(pieces: Sequence[Mapping[str, Any]], properties: pd.DataFrame) -> pd.DataFrame:
    """Whether methods fail more, or are too sure more, the larger a property is.

    Columns: property, method, measure ("accuracy" or "gap"), correlation, p, p_holm, resolved, n
    (different galaxies) and seeds. correlation: Spearman's, over different galaxies, of the
    property with the galaxy's mean over its tests of being right, or of confidence less that. As
    each galaxy counts once, p (two-sided, Student's t of the rank correlation) is that of galaxies
    alone, with the seeds as they are. p_holm: corrected for all rows (Holm 1979); resolved: below
    0.05. Where all galaxies are alike the correlation is NaN and p is 1.

    A trend is no cause: classes differ in size and brightness, and properties go together.
    """
    judged = _judged(pieces)
    judged["gap"] = judged["confidence"] - judged["right"]
    values, rows = _values(properties, judged), []
    for name in values:
        for method, tests in judged.groupby("method", sort=False):
            each = pd.DataFrame(tests.groupby("id").agg({"right": "mean", "gap": "mean"})).assign(
                value=values[name]
            )
            each = each.loc[np.isfinite(each["value"])]
            for measure, column in (("accuracy", "right"), ("gap", "gap")):
                correlation, p = math.nan, 1.0
                if len(each) > 2 and min(each["value"].nunique(), each[column].nunique()) > 1:
                    correlation, p = map(float, spearmanr(each["value"], each[column]))  # pyright: ignore
                row = {
                    "property": name,
                    "method": method,
                    "measure": measure,
                    "correlation": correlation,
                    "p": p,
                }
                rows.append(row | {"n": len(each), "seeds": tests["seed"].nunique()})
    table = pd.DataFrame(
        rows, columns=["property", "method", "measure", "correlation", "p", "n", "seeds"]
    )
    corrected = holm(table["p"].to_numpy(float))
    table.insert(5, "p_holm", corrected)
    table.insert(6, "resolved", corrected < LEVEL)
    return table


def property_sentences(table: pd.DataFrame, trends: pd.DataFrame) -> list[str]:
    """What tables of `by_property` and `trends` of the same pieces say: for each property the
    strongest trend that is told apart, of accuracy and of being too sure; and where there is
    none."""
    said, none = [], []
    for name, rows in trends.groupby("property", sort=False):
        text, told = str(name).replace("_", " "), rows.loc[rows.resolved]
        none += [text] * told.empty
        for measure, kind in told.groupby("measure", sort=True):
            best = kind.loc[kind.correlation.abs().idxmax()]
            own = table.loc[(table.property == name) & (table.method == best.method)].sort_values(
                by="bin"
            )
            ends = ", ".join(
                _bin(row, str(measure)) for row in own.iloc[[0, -1]].to_dict("records")
            )
            alike, of = (
                int((np.sign(kind.correlation) == np.sign(best.correlation)).sum()),
                rows.method.nunique(),
            )
            what = "Accuracy" if measure == "accuracy" else "Confidence less accuracy"
            said.append(
                f"{what} {'rises' if best.correlation > 0 else 'falls'} with {text}, {'most clearly ' * (of > 1)}that of "
                f"{best.method}: {ends} (rank correlation {best.correlation:+.2f}, {p_value(best.p_holm)} after Holm's correction "
                f"for {len(trends)} tests, {best.n:,} different galaxies, {seeds_text(best.seeds)})."
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
    """Clean galaxies, whose votes fit a class, against ambiguous ones, whose votes fit none, of the
    test part.

    Only methods that predict votes (`votes` of a piece is a table) say anything about the latter;
    the others have no rows. What is asked is which class the most volunteers arrive at
    (`schema.class_fractions`), as an ambiguous galaxy has no right answer.

    Columns: method, part ("clean" or "ambiguous"), agreement (share of galaxies whose leading class
    is that of the volunteers, mean over seeds), agreement_low, agreement_high (as in
    `by_property`), confidence (mean of the predicted share of that class), volunteers (mean of
    their own share of their leading class), n (different galaxies) and seeds."""
    rows = []
    for method, group in by_method(pieces).items():
        parts: dict[str, list[pd.DataFrame]] = {"clean": [], "ambiguous": []}
        for seed, piece in enumerate(group):
            if piece.get("votes") is None:
                continue
            table = piece["votes"].loc[piece["votes"]["split"] == "test"]
            told = table[list(galaxy_zoo_tree.COLUMNS)].to_numpy(float)
            shares = galaxy_zoo_tree.class_fractions(told, classes)
            predicted = galaxy_zoo_tree.class_fractions(
                table[[f"p_{name}" for name in galaxy_zoo_tree.COLUMNS]].to_numpy(float), classes
            )
            right = (shares.argmax(1) == predicted.argmax(1)).astype(float)
            each = pd.DataFrame(
                {
                    "seed": seed,
                    "id": table["id"].to_numpy(),
                    "right": right,
                    "confidence": predicted.max(1),
                }
            )
            each["volunteers"] = shares.max(1)
            clean = galaxy_zoo_tree.hard_labels(told, classes) >= 0
            for part, which in (("clean", clean), ("ambiguous", ~clean)):
                parts[part].append(each.loc[which & np.isfinite(told[:, 0])])
        for part, found in parts.items():
            tests = pd.concat(found) if found else pd.DataFrame()
            if len(tests):
                own = _accuracy(tests)
                row = {
                    "method": method,
                    "part": part,
                    "agreement": own["accuracy"],
                    "agreement_low": own["accuracy_low"],
                }
                row |= {"agreement_high": own["accuracy_high"], "confidence": own["confidence"]}
                rows.append(
                    row
                    | {
                        "volunteers": tests["volunteers"].mean(),
                        "n": own["n"],
                        "seeds": own["seeds"],
                    }
                )
    columns = [
        "method",
        "part",
        "agreement",
        "agreement_low",
        "agreement_high",
        "confidence",
        "volunteers",
        "n",
        "seeds",
    ]
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
            seeds = seeds_text(rows.seeds.max())
            said.append(
                f"{method} names the class that the most volunteers arrive at for {' and '.join(texts)}, {seeds}."
            )
    return said or [
        "No method predicts galaxies whose votes fit no class: how it fares on them is not known."
    ]


# ---- labels


# ---- two methods


# ---- the parts


def _judged(pieces: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each test of a galaxy: method, seed (its number in the method's order), id, right
    (1 or 0), confidence."""
    found = []
    for method, group in by_method(pieces).items():
        for seed, piece in enumerate(group):
            table = piece["predictions"]
            with named(piece):
                true, p = checked(table, "test")
            ids = table.loc[selected(table, "test"), "id"].astype(str).to_numpy()
            right = (p.argmax(1) == true).astype(float)
            row = {
                "method": method,
                "seed": seed,
                "id": ids,
                "right": right,
                "confidence": p.max(1),
            }
            found.append(pd.DataFrame(row))
    return pd.concat(found, ignore_index=True)


def _values(properties: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """The properties of the different galaxies of a table of `_judged`, by id."""
    table = properties.set_index("id") if "id" in properties else properties
    table = table.set_axis(table.index.astype(str), axis=0)
    twice = table.index[table.index.duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"properties: {len(twice)} ids are there twice or more: {some(list(twice))}; keep one row each"
        )
    text = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise ValueError(f"properties: no numbers in {some(text)}; leave out such columns")
    ids = pd.Index(judged["id"].unique(), name="id")
    lacking = ids.difference(table.index, sort=False)
    if len(lacking):
        raise ValueError(
            f"properties: no row for {len(lacking):,} of the {len(ids):,} galaxies that were tested: "
            f"{some(list(lacking))}; measure the galaxies of the data set that the methods were tested on"
        )
    return table.loc[ids].astype(float)


def _accuracy(tests: pd.DataFrame) -> dict[str, Any]:
    """What `by_property` says of the tests of some galaxies by one method (columns seed, id, right,
    confidence)."""
    groups = [each for _, each in tests.groupby("seed")]
    seeds = [pd.Series(each["right"].to_numpy(), each["id"].to_numpy()) for each in groups]
    accuracy, low, high = of_mean(seeds)
    confidence = float(np.mean([each["confidence"].to_numpy().mean() for each in groups]))
    gap = {"gap": confidence - accuracy, "gap_low": confidence - high, "gap_high": confidence - low}
    found = {
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "confidence": confidence,
    } | gap
    return found | {"n": tests["id"].nunique(), "tests": len(tests), "seeds": len(seeds)}


def _bin(row: Mapping[str, Any], measure: str) -> str:
    """`0.61 [0.52, 0.70] where it is 1.2 to 3.4`."""
    form = ".3f" if measure == "accuracy" else "+.3f"
    low, high = (format(row[f"{measure}_{end}"], form) for end in ("low", "high"))
    return (
        f"{row[measure]:{form}} [{low}, {high}] where it is {row['low']:.3g} to {row['high']:.3g}"
    )

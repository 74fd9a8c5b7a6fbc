"""Accuracy as a function of galaxy properties and of the agreement between volunteers.

All functions take entries with one budget (`Entries.trained_methods`). A galaxy tested with several
seeds is counted once; intervals account for the galaxies that seeds share.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation.calibration import equal_bins
from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.intervals import corrected, share_right
from galaxymorph.evaluation.phrases import after_holm, extent, say
from galaxymorph.text import listing

MEASURES = {"accuracy": "right", "gap": "gap"}  # measures of `trends`: columns of `_judged`
BINNED = ["property", "method", "bin", "low", "high", "accuracy", "accuracy_low", "accuracy_high"]
BINNED += ["confidence", "gap", "gap_low", "gap_high", "n", "tests", "seeds"]
TRENDS = ["property", "method", "measure", "correlation", "p", "p_holm", "resolved", "n", "seeds"]
ASKED = ["method", "part", "agreement", "agreement_low", "agreement_high", "confidence"]
ASKED += ["volunteers", "n", "seeds"]


def by_property(entries: Entries, properties: pd.DataFrame, *, bins: int = 4) -> pd.DataFrame:
    """Tabulate the accuracy and confidence of each method in bins of each property.

    Args:
        properties: one row per galaxy, with ids as index or column `id`, and one numeric column
            per property; NaN values are ignored.
        bins: number of bins, with about equal numbers of test galaxies and the same for all
            methods; equal values share a bin, so there may be fewer.

    Columns: property, method, bin (from 0), low and high (range of values), accuracy with its
    interval, confidence (mean largest probability), gap (confidence - accuracy; positive if
    overconfident) with its interval (neglecting the error of the confidence), n (distinct
    galaxies), tests (summed over seeds) and seeds. Accuracy and confidence are means over seeds.

    Raises `ValueError` if properties are invalid or a tested galaxy has no row."""
    if bins < 1:
        raise ValueError(f"bins={bins}: expected at least 1")
    judged, rows = _judged(entries), []
    for name, values in _values(properties, judged).items():
        values = values.dropna()
        if values.empty:
            continue
        which = pd.Series(equal_bins(values.to_numpy(), bins), values.index, name="bin")
        inside = judged.join(which, on="id", how="inner")
        for method, own in inside.groupby("method", sort=False):
            for k, tests in own.groupby("bin"):
                row = {"property": name, "method": method, "bin": k}
                row |= {"low": values[which == k].min(), "high": values[which == k].max()}
                rows.append(row | _accuracy(tests))
    return pd.DataFrame(rows, columns=BINNED)


def trends(entries: Entries, properties: pd.DataFrame) -> pd.DataFrame:
    """Test whether accuracy or overconfidence of the methods correlates with each property.

    Columns: property, method, measure ("accuracy" or "gap"), correlation, p, p_holm, resolved, n
    (distinct galaxies) and seeds. correlation: Spearman's, between the property and each galaxy's
    mean accuracy or gap over its tests. p: two-sided, from Student's t; each galaxy counts once, so
    the variance between seeds is not included. p_holm: corrected for all rows (Holm 1979);
    resolved: p_holm < 0.05. If all galaxies are equal, the correlation is NaN and p is 1.

    Correlation is not causation: classes differ in size and brightness, and properties correlate.
    """
    judged, rows = _judged(entries), []
    judged["gap"] = judged["confidence"] - judged["right"]
    for name, values in _values(properties, judged).items():
        for method, tests in judged.groupby("method", sort=False):
            each = pd.DataFrame(tests.groupby("id").agg({"right": "mean", "gap": "mean"}))
            each = each.assign(value=values).dropna()
            n, seeds = len(each), tests["seed"].nunique()
            for measure, column in MEASURES.items():
                correlation, p = math.nan, 1.0
                if n > 2 and min(each["value"].nunique(), each[column].nunique()) > 1:  # pyright: ignore
                    correlation, p = map(float, spearmanr(each["value"], each[column]))  # pyright: ignore
                rows.append((name, method, measure, correlation, p, math.nan, False, n, seeds))
    return corrected(pd.DataFrame(rows, columns=TRENDS))


def property_sentences(table: pd.DataFrame, trends: pd.DataFrame) -> list[str]:
    """Describe `by_property` and `trends` of the same entries in words.

    Gives the strongest significant trends with each property, then the properties without one."""
    found, without = [], []
    for name, rows in trends.groupby("property", sort=False):
        text, resolved = str(name).replace("_", " "), rows.loc[rows.resolved]
        without += [text] * resolved.empty
        for _, kind in resolved.groupby("measure"):
            best = kind.loc[kind.correlation.abs().idxmax()]
            own = table.loc[(table.property == name) & (table.method == best.method)]
            ends = own.sort_values(by="bin").iloc[[0, -1]].to_dict("records")
            alike = int((np.sign(kind.correlation) == np.sign(best.correlation)).sum())
            found.append((text, best, ends, alike, rows.method.nunique()))
    n = extent(f"{trends.n.min():,}", f"{trends.n.max():,}") if len(trends) else ""
    return say(
        "properties", trends=found, without=without, n=n, holm=after_holm(len(trends), "tests")
    )


def ambiguous(entries: Entries, classes: Sequence[str]) -> pd.DataFrame:
    """Compare test galaxies with a clear class with ambiguous ones, whose votes fit no class.

    Only methods that predict votes have rows. Ambiguous galaxies have no true class, so predictions
    are compared with the class that most volunteers arrive at (`galaxy_zoo_tree.class_fractions`).

    Columns: method, part ("clean" or "ambiguous"), agreement (share of galaxies whose predicted
    leading class is the volunteers' one, mean over seeds) with its interval, confidence (mean
    predicted fraction of the predicted class), volunteers (mean voted fraction of their leading
    class), n (distinct galaxies) and seeds."""
    rows = []
    for method, group in entries.methods().items():
        asked = []
        for seed, votes in enumerate(entry.votes for entry in group if entry.votes):
            part = votes.voted()
            shares = galaxy_zoo_tree.class_fractions(part.true, classes)
            predicted = galaxy_zoo_tree.class_fractions(part.predicted, classes)
            each = pd.DataFrame({"seed": seed, "id": part.ids})
            each["unclear"] = galaxy_zoo_tree.hard_labels(part.true, classes) < 0
            each["right"] = (shares.argmax(1) == predicted.argmax(1)).astype(float)
            asked.append(each.assign(confidence=predicted.max(1), volunteers=shares.max(1)))
        for unclear, own in pd.concat(asked).groupby("unclear") if asked else ():
            found = {k.replace("accuracy", "agreement"): v for k, v in _accuracy(own).items()}
            found |= {"part": "ambiguous" if unclear else "clean", "method": method}
            rows.append(found | {"volunteers": own["volunteers"].mean()})
    return pd.DataFrame(rows, columns=ASKED)


def ambiguous_sentences(table: pd.DataFrame) -> list[str]:
    """Describe a table of `ambiguous`, one sentence per method."""
    groups = [
        (method, rows.to_dict("records"))
        for method, rows in table.groupby("method", sort=False)
        if set(rows.part) == {"clean", "ambiguous"}
    ]
    return say("ambiguous", methods=groups)


# ---- the parts


def _judged(entries: Entries) -> pd.DataFrame:
    """Return one row per tested galaxy and seed: method, seed (index), id, right, confidence."""
    found = []
    for method, group in entries.methods().items():
        for seed, table in enumerate(entry.predictions for entry in group if entry.predictions):
            part = table.labelled()
            row = {"method": method, "seed": seed, "id": part.ids}
            row |= {"right": part.right.astype(float), "confidence": part.confidence}
            found.append(pd.DataFrame(row))
    return pd.concat(found, ignore_index=True)


def _values(properties: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the properties of the galaxies in `judged` by id, with NaN for infinite values."""
    table = properties.set_index("id") if "id" in properties else properties
    table = table.set_axis(table.index.astype(str), axis=0)
    if table.index.has_duplicates:
        duplicates = table.index[table.index.duplicated()].unique()
        raise ValueError(f"properties: duplicate ids {listing(duplicates, 5)}; keep one row each")
    text = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise ValueError(f"properties: column {text[0]!r} is not numeric; leave it out")
    ids = pd.Index(judged["id"].unique(), name="id")
    lacking = ids.difference(table.index, sort=False)
    if len(lacking):
        raise ValueError(
            f"properties: no row for {len(lacking):,} of the {len(ids):,} tested galaxies: "
            f"{listing(lacking, 5)}; measure the data set that the methods were tested on"
        )
    return table.loc[ids].astype(float).replace([math.inf, -math.inf], math.nan)


def _accuracy(tests: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy, confidence and gap of one method for some tests (see `by_property`)."""
    seeds = [each for _, each in tests.groupby("seed")]
    right, ids = ([each[name].to_numpy() for each in seeds] for name in ("right", "id"))
    value, low, high = share_right(right, ids)
    confidence = float(np.mean([each["confidence"].to_numpy().mean() for each in seeds]))
    found = {"accuracy": value, "accuracy_low": low, "accuracy_high": high}
    found |= {"confidence": confidence, "gap": confidence - value}
    found |= {"gap_low": confidence - high, "gap_high": confidence - low}
    return found | {"n": tests["id"].nunique(), "tests": len(tests), "seeds": len(seeds)}

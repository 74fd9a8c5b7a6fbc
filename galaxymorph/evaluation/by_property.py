"""On which galaxies methods fail: by their properties, and by how far the volunteers agreed.

All take the entries of one budget (`Entries.trained_methods`). A galaxy tested under several seeds
counts once where galaxies are counted; intervals allow for the galaxies that seeds share.
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

MEASURES = {"accuracy": "right", "gap": "gap"}  # of `trends`, and where they are in `_judged`
BINNED = ["property", "method", "bin", "low", "high", "accuracy", "accuracy_low", "accuracy_high"]
BINNED += ["confidence", "gap", "gap_low", "gap_high", "n", "tests", "seeds"]
TRENDS = ["property", "method", "measure", "correlation", "p", "p_holm", "resolved", "n", "seeds"]
ASKED = ["method", "part", "agreement", "agreement_low", "agreement_high", "confidence"]
ASKED += ["volunteers", "n", "seeds"]


def by_property(entries: Entries, properties: pd.DataFrame, *, bins: int = 4) -> pd.DataFrame:
    """Tabulate how accurate and how confident each method is, in bins of each property.

    Args:
        properties: a row per galaxy, with ids in the index or in the column id, and a column of
            numbers per property; galaxies without a value (NaN) are left out.
        bins: of about as many different test galaxies each, the same for all methods; there are
            fewer where galaxies have equal values.

    Columns: property, method, bin (from 0), low and high (extreme values in the bin), accuracy with
    its interval, confidence (mean of the largest probability), gap (confidence less accuracy: above
    0 a method is overconfident) with its interval (taking the confidence as known), n (different
    galaxies), tests (galaxies, over all seeds) and seeds. Accuracy and confidence are means over
    seeds.

    Raises `ValueError` for properties that are faulty or lack a tested galaxy."""
    if bins < 1:
        raise ValueError(f"bins={bins}: at least 1")
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
    """Test whether methods fail more, or are more overconfident, the larger a property is.

    Columns: property, method, measure ("accuracy" or "gap"), correlation, p, p_holm, resolved, n
    (different galaxies) and seeds. correlation: Spearman's, over different galaxies, of the
    property with a galaxy's mean over its tests of being right, or of confidence less that. As
    each galaxy counts once, p (two-sided, Student's t of the rank correlation) is that of galaxies
    alone, with the seeds as they are. p_holm: corrected for all rows (Holm 1979); resolved: below
    0.05. Where all galaxies are alike the correlation is NaN and p is 1.

    A trend is no cause: classes differ in size and brightness, and properties go together.
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
    """Put `by_property` and `trends` of the same entries into words: for each property the
    strongest significant trend of accuracy and of overconfidence; last, those without one."""
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
    """Compare clean test galaxies, whose votes fit a class, with ambiguous ones, whose votes fit
    none.

    Only methods that predict votes say anything about the latter; others have no row. What is asked
    is which class the most volunteers arrive at (`galaxy_zoo_tree.class_fractions`), as an
    ambiguous galaxy has no right answer.

    Columns: method, part ("clean" or "ambiguous"), agreement (share of galaxies whose leading class
    is that of the volunteers, mean over seeds) with its interval, confidence (mean of the predicted
    share of that class), volunteers (mean of their own share of their leading class), n (different
    galaxies) and seeds."""
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
    """Put a table of `ambiguous` into words: a sentence for each method."""
    groups = [
        (method, rows.to_dict("records"))
        for method, rows in table.groupby("method", sort=False)
        if set(rows.part) == {"clean", "ambiguous"}
    ]
    return say("ambiguous", methods=groups)


# ---- the parts


def _judged(entries: Entries) -> pd.DataFrame:
    """Return a row for each test of a galaxy: method, seed (its place among those of the method),
    id, right (1 or 0), confidence."""
    found = []
    for method, group in entries.methods().items():
        for seed, table in enumerate(entry.predictions for entry in group if entry.predictions):
            part = table.labelled()
            row = {"method": method, "seed": seed, "id": part.ids}
            row |= {"right": part.right.astype(float), "confidence": part.confidence}
            found.append(pd.DataFrame(row))
    return pd.concat(found, ignore_index=True)


def _values(properties: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the properties of the different galaxies of a table of `_judged`, by id, NaN where one
    is not finite."""
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
    """Return what `by_property` says of the tests of some galaxies by one method."""
    seeds = [each for _, each in tests.groupby("seed")]
    right, ids = ([each[name].to_numpy() for each in seeds] for name in ("right", "id"))
    value, low, high = share_right(right, ids)
    confidence = float(np.mean([each["confidence"].to_numpy().mean() for each in seeds]))
    found = {"accuracy": value, "accuracy_low": low, "accuracy_high": high}
    found |= {"confidence": confidence, "gap": confidence - value}
    found |= {"gap_low": confidence - high, "gap_high": confidence - low}
    return found | {"n": tests["id"].nunique(), "tests": len(tests), "seeds": len(seeds)}

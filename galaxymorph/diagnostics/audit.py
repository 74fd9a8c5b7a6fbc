"""Leaks and misalignments of galaxies, model files and predictions.

Each function makes some of the checks in `findings.CHECKS` and returns a `Finding` for each of
them, passed or not."""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped
from numpy import ndarray
from scipy import sparse, stats

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.load import load
from galaxymorph.diagnostics.audit_predictions import batch_independent, predictions
from galaxymorph.diagnostics.duplicates import duplicates, sums
from galaxymorph.diagnostics.findings import Finding, Severity
from galaxymorph.evaluation.intervals import holm
from galaxymorph.learning import encoders, saved, train
from galaxymorph.text import listing, plain_id

# ---- galaxies, before anything is trained


def galaxies(sample: Galaxies, *, least: int = 5) -> list[Finding]:
    """Check for ids and looks (`duplicates`) that occur twice, and how classes are spread over the
    splits.

    The same galaxy in validation or test and in another split is a leak, unlabelled galaxies
    included, as methods learn from their images; twice in one split, or in train and among the
    unlabelled, it is a warning. Ids are compared without folder, ending and leading zeros. A split
    is skewed where a chi-square test against the others has p < 0.01, corrected for the number of
    splits (`holm`). `least`: galaxies of each class in each split, below which there is a
    warning."""
    found, n = duplicates(sample.images), len(sample)
    pairs = (found["first"], found["second"])
    links = sparse.coo_array((np.ones(len(found)), pairs), shape=(n, n))
    alike = sparse.csgraph.connected_components(links, directed=False)[1]
    return [
        shared_ids(sample),
        _repeated("duplicates", "image, rotated, mirrored, shifted or compressed,", alike, sample),
        *_classes(sample, least),
    ]


def shared_ids(sample: Galaxies) -> Finding:
    """Check for ids that occur twice: the quick part of `galaxies`, which needs no images."""
    return _repeated("ids", "id", np.array([plain_id(each) for each in sample.ids]), sample)


def _repeated(name: str, what: str, group: Shaped[ndarray, " galaxy"], sample: Galaxies) -> Finding:
    """Galaxies of the same group, in one split or in several."""
    n, table = len(sample), pd.DataFrame({"id": sample.ids, "split": sample.split, "group": group})
    table = table[table.duplicated("group", keep=False)]
    sets = [same for _, same in table.groupby("group")]
    across = [same for same in sets if same.split.nunique() > 1]
    judged = [same for same in across if same.split.isin(["val", "test"]).any()]
    shown = judged or sets
    if not shown:
        return Finding(name, "passed", f"no {what} twice among {n:,} galaxies", n=n)
    texts = [" = ".join(same.id + " (" + same.split + ")") for same in shown]
    where = "in different splits" if judged else "twice within a split or what is learned from"
    within = len(sets) - len(shown)
    rest = f"; {within:,} more within a split" if within else ""
    ids = tuple(pd.concat(shown).id)
    groups = f"{len(shown):,} groups of {len(ids):,} galaxies"
    text = f"the same {what} {where}: {groups}: {listing(texts, 3)}{rest}"
    return Finding(name, "leak" if judged else "warning", text, ids, n)


def _classes(sample: Galaxies, least: int) -> list[Finding]:
    """Whether class fractions agree between the splits, and each has enough of each class."""
    counts = sample.counts().drop(index="unlabelled").T.sort_index()
    counts = counts[counts.any(axis=1)]  # splits that have labels
    n = int(counts.to_numpy().sum())

    def judged(name: str, wrong: list[str], text: str, well: str) -> Finding:
        said = f"{text} {listing(wrong, 3)}" if wrong else well
        return Finding(name, "warning" if wrong else "passed", said, n=n)

    p = np.array([_p_value(counts.loc[split], counts.drop(split).sum()) for split in counts.index])
    adjusted, skewed = holm(p), list[str]()
    for row in (row for row in np.argsort(p) if adjusted[row] < 0.01):
        each = ", ".join(f"{name} {k}" for name, k in counts.iloc[row].items())
        skewed.append(f"{counts.index[row]} (p = {adjusted[row]:.2g}: {each})")
    agree = "labels in fewer than two splits: nothing to compare"
    if len(counts) > 1:
        agree = f"class fractions agree between splits (least p = {adjusted.min():.2g})"
    cells: Any = counts.stack()
    few = [f"{k} of {name} in {split}" for (split, name), k in cells.items() if k < least]
    enough = f"at least {least} galaxies of each class in each split with labels"
    differ = "class fractions differ from the other splits' in"
    return [
        judged("class balance", skewed, differ, agree),
        judged("class sizes", few, f"fewer than {least} galaxies:", enough),
    ]


def _p_value(split: pd.Series, others: pd.Series) -> float:
    """Of the chi-square test of counts by class; of one class alone, 1."""
    pair = np.array([split, others])
    pair = pair[:, pair.sum(0) > 0]
    if not pair.sum(1).all():
        return 1.0
    resampled = stats.MonteCarloMethod(n_resamples=4999, rng=np.random.default_rng(0))
    method = resampled if stats.contingency.expected_freq(pair).min() < 5 else None
    tested: Any = stats.chi2_contingency(pair, correction=False, method=method)
    return float(tested.pvalue)


# ---- model files


def model(header: Mapping[str, Any], sample: Galaxies) -> list[Finding]:
    """Check what the header of a model file says against a data set: normalisation, and whether it
    was trained on test galaxies.

    Mean and standard deviation have to be the fixed ones of this package, those published with
    ImageNet weights, or, by `normalisation_ids` in the header, measured on galaxies that are all in
    train here. Of others it is tried whether they are those of training galaxies, or of more."""
    findings = [_normalisation(header, sample)]
    if "seen" not in header or "seen_labels" not in header:
        unknown = "the header does not say which galaxies it was trained on (seen, seen_labels)"
        names = ("galaxies seen", "labels seen")
        return findings + [Finding(name, "warning", unknown) for name in names]
    seen, told = set(header["seen"]), set(header["seen_labels"])
    test, val = (set(sample.ids[sample.split == split].tolist()) for split in ("test", "val"))

    def met(name: str, how: str, known: set[str], severity: Severity, part: set[str]) -> Finding:
        found, n = sorted(known & part), len(part)
        text = f"trained {how} of {len(found):,} of {n:,} "
        text += "test galaxies" if part is test else "validation galaxies, which choose epochs"
        text += f": {listing(found, 3)}" if found else ""
        return Finding(name, severity if found else "passed", text, tuple(found), n)

    by_label = ("warning", val) if told & val and not told & test else ("leak", test)
    return [
        *findings,
        met("galaxies seen", "on the images", seen - told, "warning", test),
        met("labels seen", "with the labels", told, *by_label),
    ]


def _normalisation(header: Mapping[str, Any], sample: Galaxies) -> Finding:
    found = functools.partial(Finding, "normalisation")
    said, options = header.get("normalisation"), header.get("encoder", {})
    if not said:
        return found("warning", "the header does not say how images are normalised")
    fixed = {"mean": encoders.MEAN, "std": encoders.STD}
    given = [_bands(said[key]) for key in fixed]
    used = [_bands(options.get(key, default)) for key, default in fixed.items()]
    words = "mean {}, std {}".format
    if not np.allclose(given, used):
        text = f"the header says {words(*given)}, but its encoder takes {words(*used)}"
        return found("warning", text)
    published = (weights.transforms() for weights in encoders.PUBLISHED.values())
    known = [tuple(fixed.values()), (0.5, 0.5), *((each.mean, each.std) for each in published)]
    if any(np.allclose(given, [_bands(each) for each in pair]) for pair in known):
        return found("passed", "fixed or published, measured on none of these galaxies")
    if "normalisation_ids" in header:
        ids = header["normalisation_ids"]
        beyond = sorted(set(ids) - set(sample.ids[sample.split == "train"].tolist()))
        text = f"measured on {len(ids):,} galaxies, {len(beyond):,} of them not in train"
        text += f": {listing(beyond, 3)}" if beyond else ""
        return found("leak" if beyond else "passed", text, tuple(beyond), len(ids))
    totals, pixels = sums(sample.images), 255 * sample.images[0, 0].numel()
    tried = ("train", "train, unlabelled", "train, val", "train, test", "train, val, test", "test")
    for splits in (*tried, "train, val, test, unlabelled"):
        rows = np.flatnonzero(np.isin(sample.split, splits.split(", ")))
        mean = totals[rows, :3].sum(0) / max(1, pixels * len(rows))
        if len(rows) and np.allclose(_bands(mean), given[0], rtol=1e-4):
            ids = tuple(sample.ids[rows[np.isin(sample.split[rows], ("val", "test"))]].tolist())
            text = f"the mean is that of the {len(rows):,} galaxies in {splits}"
            return found("leak" if ids else "passed", text, ids, len(rows))
    text = f"{words(*given)} are neither fixed, published nor those of a split"
    return found("warning", f"{text}; say normalisation_ids in the header")


def _bands(value: Any) -> list[float]:
    """A value for each band."""
    return [round(float(each), 6) for each in np.broadcast_to(np.asarray(value, float), 3)]


# ---- all that a run has made


def trained(
    results: Iterable[tuple[Any, Path]], *, galaxies: Mapping[str, Any] | None = None
) -> dict[str, list[Finding]]:
    """Check what jobs have made, each against the data set that it was made from: tables by
    `predictions`, model files by `model` and, of classifiers, `batch_independent` on a few test
    galaxies.

    `results`: what `run.results.read` gives of each job, and where its model file would be; jobs
    that are not done are left out. `galaxies`: the options of `data.load` for jobs that were
    executed by hand, which do not say theirs. Returns findings by the name of a job, of its row
    ("cae_frozen/seed=0/dnn"), or "<job>, model"."""
    found: dict[str, list[Finding]] = {}
    samples: dict[str, Galaxies] = {}
    for result, file in results:
        tables = [result.row(name) if name else result for name in result.rows if result.done]
        if not result.done or not (tables or file.is_file()):
            continue
        drawn = {"seed": 0, "n_labels": None} | result.parameters | result.combination
        target = "votes" if result.votes is not None else "classes"
        options = {**(drawn.get("galaxies") or galaxies or {}), "target": target}
        options |= {key: drawn[key] for key in ("seed", "n_labels")}
        key = json.dumps(options, sort_keys=True, default=str)
        sample = samples[key] = samples.get(key) or load(**options)
        for each in tables:
            if each.predictions is not None:
                found[each.name] = predictions(each.predictions, sample)
        if file.is_file():
            learner, header = saved.load(file)
            of_model = found[f"{result.name}, model"] = model(header, sample)
            if "classes" in header:
                predict = functools.partial(train.predict, learner)
                few = sample.part("test").images[:6]
                of_model += batch_independent(predict, few, network=learner)
    return found

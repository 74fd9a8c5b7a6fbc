"""Audit galaxies, model files and predictions for leaks and misalignments.

Each function runs some of the `findings.CHECKS` and returns a `Finding` for each, passed or not."""

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
from galaxymorph.diagnostics.duplicates import SMALLEST, blank, duplicates, sums
from galaxymorph.diagnostics.findings import Finding, Severity
from galaxymorph.evaluation.intervals import holm
from galaxymorph.learning import encoders, model_files, saved, train
from galaxymorph.text import listing, plain_id

# ---- galaxies, before anything is trained


def galaxies(sample: Galaxies, *, least: int = 5) -> list[Finding]:
    """Check for duplicate galaxies, and for classes that are unevenly spread over the splits.

    Galaxies are compared by id (without folder, ending and leading zeros) and by image
    (`duplicates`). A galaxy in validation or test that also occurs in another split is a leak, even
    if it is unlabelled there, because methods learn from its image. A duplicate within one split,
    or between train and unlabelled, is a warning; so are blank frames, if there are any. A split is
    skewed if a chi-square test against the others gives p < 0.01 after Holm's correction for the
    number of splits. There is a warning for fewer than `least` galaxies of a class in a split."""
    found, n = duplicates(sample.images), len(sample)
    pairs = (found["first"], found["second"])
    links = sparse.coo_array((np.ones(len(found)), pairs), shape=(n, n))
    alike = sparse.csgraph.connected_components(links, directed=False)[1]
    what, size = "images (also rotated, mirrored, shifted or compressed)", sample.images.shape[-1]
    if size < SMALLEST:
        small = f"{size} px are too few to recognise shifted or compressed ones"
        what = f"images (also rotated or mirrored; {small})"
    looks = [_repeated("duplicates", what, alike, sample), *_blank(sample)]
    return [shared_ids(sample), *looks, *_classes(sample, least)]


def _blank(sample: Galaxies) -> list[Finding]:
    """Name the galaxies whose image has one colour everywhere, if there are any."""
    ids, n = tuple(sample.ids[blank(sample.images)].tolist()), len(sample)
    text = f"{len(ids):,} of {n:,} images are blank, one colour everywhere: {listing(ids, 3)}"
    return [Finding("blank frames", "warning", text, ids, n)] if ids else []


def shared_ids(sample: Galaxies) -> Finding:
    """Check for duplicate ids: the fast part of `galaxies`, which needs no images."""
    return _repeated("ids", "ids", np.array([plain_id(each) for each in sample.ids]), sample)


def _repeated(name: str, what: str, group: Shaped[ndarray, " galaxy"], sample: Galaxies) -> Finding:
    """Report groups of duplicates, within one split or across several."""
    n, table = len(sample), pd.DataFrame({"id": sample.ids, "split": sample.split, "group": group})
    table = table[table.duplicated("group", keep=False)]
    sets = [same for _, same in table.groupby("group")]
    across = [same for same in sets if same.split.nunique() > 1]
    judged = [same for same in across if same.split.isin(["val", "test"]).any()]
    shown = judged or sets
    if not shown:
        return Finding(name, "passed", f"no duplicate {what} among {n:,} galaxies", n=n)
    texts = [" = ".join(same.id + " (" + same.split + ")") for same in shown]
    where = "in different splits" if judged else "within a split, or in train and unlabelled"
    within = len(sets) - len(shown)
    rest = f"; {within:,} more within a split" if within else ""
    ids = tuple(pd.concat(shown).id)
    groups = f"{len(shown):,} groups of {len(ids):,} galaxies"
    text = f"duplicate {what} {where}: {groups}: {listing(texts, 3)}{rest}"
    return Finding(name, "leak" if judged else "warning", text, ids, n)


def _classes(sample: Galaxies, least: int) -> list[Finding]:
    """Check that class fractions agree between splits, and that every class is large enough."""
    counts = sample.counts().drop(index="unlabelled").T.sort_index()
    counts = counts[counts.any(axis=1)]  # splits that have labels
    n = int(counts.to_numpy().sum())

    def judged(name: str, wrong: list[str], text: str, well: str) -> Finding:
        message = f"{text} {listing(wrong, 3)}" if wrong else well
        return Finding(name, "warning" if wrong else "passed", message, n=n)

    p = np.array([_p_value(counts.loc[split], counts.drop(split).sum()) for split in counts.index])
    adjusted, skewed = holm(p), list[str]()
    for row in (row for row in np.argsort(p) if adjusted[row] < 0.01):
        each = ", ".join(f"{name} {k}" for name, k in counts.iloc[row].items())
        skewed.append(f"{counts.index[row]} (p = {adjusted[row]:.2g}: {each})")
    agree = "fewer than two splits have labels: nothing to compare"
    if len(counts) > 1:
        agree = f"class fractions agree between splits (smallest p = {adjusted.min():.2g})"
    cells: Any = counts.stack()
    few = [f"{k} of {name} in {split}" for (split, name), k in cells.items() if k < least]
    enough = f"at least {least} galaxies of each class in each labelled split"
    differ = "class fractions differ from the other splits in"
    return [
        judged("class balance", skewed, differ, agree),
        judged("class sizes", few, f"fewer than {least} galaxies:", enough),
    ]


def _p_value(split: pd.Series, others: pd.Series) -> float:
    """P-value of a chi-square test of counts by class; 1 for a single class or an empty split."""
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
    """Check a model file's header against a data set: normalisation and use of test galaxies.

    Mean and standard deviation must be the fixed values of this package, those published with
    ImageNet weights, or measured on galaxies (`normalisation_ids` in the header) that are all in
    train here. Other values are compared with those of the training set and of larger sets."""
    findings = [_normalisation(header, sample)]
    if "seen" not in header or "seen_labels" not in header:
        unknown = "the header does not list the training galaxies (seen, seen_labels)"
        names = ("galaxies seen", "labels seen")
        return findings + [Finding(name, "warning", unknown) for name in names]
    seen, labelled = set(header["seen"]), set(header["seen_labels"])
    labelled |= model_files.of_surveys(sample.ids.tolist(), header.get("seen_surveys", ()))
    test, val = (set(sample.ids[sample.split == split].tolist()) for split in ("test", "val"))

    def met(name: str, how: str, known: set[str], severity: Severity, part: set[str]) -> Finding:
        found, n = sorted(known & part), len(part)
        text = f"trained {how} of {len(found):,} of {n:,} "
        text += "test galaxies" if part is test else "validation galaxies, which select epochs"
        text += f": {listing(found, 3)}" if found else ""
        return Finding(name, severity if found else "passed", text, tuple(found), n)

    by_label = ("warning", val) if labelled & val and not labelled & test else ("leak", test)
    return [
        *findings,
        met("galaxies seen", "on the images", seen - labelled, "warning", test),
        met("labels seen", "with the labels", labelled, *by_label),
    ]


def _normalisation(header: Mapping[str, Any], sample: Galaxies) -> Finding:
    found = functools.partial(Finding, "normalisation")
    stated, options = header.get("normalisation"), header.get("encoder", {})
    if not stated:
        return found("warning", "the header does not give the normalisation")
    fixed = {"mean": encoders.MEAN, "std": encoders.STD}
    given = [_bands(stated[key]) for key in fixed]
    used = [_bands(options.get(key, default)) for key, default in fixed.items()]
    words = "mean {}, std {}".format
    if not np.allclose(given, used):
        text = f"the header gives {words(*given)}, but its encoder uses {words(*used)}"
        return found("warning", text)
    published = (encoders.published(name).transforms() for name in encoders.PUBLISHED)
    known = [tuple(fixed.values()), (0.5, 0.5), *((each.mean, each.std) for each in published)]
    if any(np.allclose(given, [_bands(each) for each in pair]) for pair in known):
        return found("passed", "fixed or published values, not measured on these galaxies")
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
    text = f"{words(*given)} are neither fixed or published values nor those of a split"
    return found("warning", f"{text}; add normalisation_ids to the header")


def _bands(value: Any) -> list[float]:
    return [round(float(each), 6) for each in np.broadcast_to(np.asarray(value, float), 3)]


# ---- results of a run


def trained(
    results: Iterable[tuple[Any, Path]], *, galaxies: Mapping[str, Any] | None = None
) -> dict[str, list[Finding]]:
    """Check the results of jobs, each against the data set that it was made from.

    Tables are checked by `predictions`, model files by `model` and, for classifiers, by
    `batch_independent` on a few test galaxies. `results` holds each `run.results.Result` and the
    path of its model file, if any; unfinished jobs are skipped. `galaxies` are the options of
    `data.load` for jobs executed by hand, which do not store theirs. Returns findings by the name
    of a job, of its row ("cae_frozen/seed=0/dnn"), or "<job>, model"."""
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
            if (table := each.predictions) is not None:
                found[each.name] = predictions(table, sample)
        if file.is_file():
            learner, header = saved.load(file)
            of_model = found[f"{result.name}, model"] = model(header, sample)
            if "classes" in header:
                predict = functools.partial(train.predict, learner)
                few = sample.part("test").images[:4]
                of_model += batch_independent(predict, few, network=learner)
    return found

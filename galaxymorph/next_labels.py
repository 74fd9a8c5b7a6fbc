"""Choose the galaxies to label next, from a run or from a table of predictions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from galaxymorph import project
from galaxymorph.escape import csv_text, read_csv
from galaxymorph.evaluation import acquisition, label_loop
from galaxymorph.evaluation.acquisition import Pool
from galaxymorph.evaluation.predictions import in_rows
from galaxymorph.text import IDS, listing, unknown

UNCERTAIN = ("star or artifact", "cannot tell", "")  # what `label` writes instead of a class


class Source(NamedTuple):
    pool: Pool
    labels: Any  # indices of classes, -1: none
    classes: list[str]

    def known_before(self) -> bool:
        return bool((self.labels >= 0).any())


def next_labels(
    *,
    run: str | None,
    step: str | None,
    predictions: Path | None,
    features: Path | None,
    labels: Sequence[Path],
    n: int,
    rule: str | None,
    seed: int,
    out: Path,
) -> str:
    """Write the ids of the `n` galaxies to label next to `out`; return what there is to say.

    `id, chosen_by, score`: see `acquisition.choose`. Galaxies in `labels` are not chosen again.
    With features, predictions are those of a logistic regression on all labels, once there are two
    classes; it also forecasts the gain of more labels."""
    if (run is None) == (predictions is None):
        raise ValueError("give either --run, or --predictions (of galaxymorph predict)")
    if rule is not None and rule not in acquisition.RULES:
        raise ValueError(unknown("rule", rule, acquisition.RULES))
    project.check_writable(out)
    source = _of_run(run, step) if run else _of_table(predictions, features)  # pyright: ignore
    source, said = _learned(_labelled(source, labels), seed, bool(labels))
    rule = rule or ("margin" if source.pool.features is None else "typical-margin")
    chosen = acquisition.choose(source.pool, n, rule=rule, seed=seed)
    project.write(out, csv_text(chosen, number="%.6g"))
    by = chosen["chosen_by"].value_counts(sort=False).items()
    if len(chosen) < n:
        said.append(f"only {len(chosen):,} galaxies are left")
    return "\n".join([*said, f"{', '.join(f'{k} {name}' for name, k in by)}: {out}"])


def _of_run(run: str, step: str | None) -> Source:
    """Return the galaxies of a run, with the models of its best step (or `step`), all its seeds."""
    from galaxymorph.run import results

    jobs = [job for job in results.read(run, [step] if step else None) if job.done]
    jobs = [job for job in jobs if job.has("predictions.csv") and "galaxies" in job.parameters]
    jobs = [job for job in jobs if project.model_file(run, job.name).is_file()]
    if not jobs:
        of = f"step {step}" if step else "none of its finished steps"
        why = f"{of} has a model that predicts classes; run one with 03_supervised"
        raise ValueError(f"{project.run_folder(run)}: {why}")

    def worth(job: Any) -> tuple[bool, int, float]:
        part = job.predictions
        accuracy = float(part.labelled("val").right.mean()) if part.has("val") else -1.0
        budget = (job.parameters | job.combination).get("n_labels")
        return budget is None, len(part.rows("train")), accuracy

    best = max(jobs, key=worth)
    own = best.parameters | best.combination
    # with fewer labels than there are, each seed has learned from other galaxies
    same = [job for job in jobs if job.step == best.step and own.get("n_labels") is None]
    models = [project.model_file(run, j.name) for j in [best, *(j for j in same if j is not best)]]
    from galaxymorph.apply.pool import of_run

    how = {"seed": own.get("seed", 0), "n_labels": own.get("n_labels")}
    table, chances, features, classes = of_run(own["galaxies"], models, **how)
    before = (table["label"] != "").to_numpy()
    several = chances if len(chances) > 1 else None
    points = acquisition.scaled(features)
    ids = table["id"].to_numpy(object)
    pool = Pool(ids, before, chances.mean(0), several, points, before)
    return Source(pool, _indices(table["label"], classes), classes)


def _of_table(predictions: Path, features: Path | None) -> Source:
    """Return the galaxies in a table of predictions, without test galaxies."""
    table = _read(predictions)
    columns = [name for name in table if name.startswith("p_") and name[2:3] != "C"]
    if not columns:
        have = listing(table.columns, 5)
        raise ValueError(f"{predictions}: no column p_<class>; the table has {have}")
    classes = [name.removeprefix("p_") for name in columns]
    before = np.zeros(len(table), bool)
    labels = np.full(len(table), -1)
    if "split" in table and "label" in table:  # of a run, where `label` is the true class
        table = table[table["split"] != "test"].reset_index(drop=True)
        labels = _indices(table["label"].fillna(""), classes)
        before = labels >= 0
    p, points = _numbers(table, columns, predictions), None
    if features is not None:
        points = acquisition.scaled(_features(features, table["id"]))
    try:
        pool = Pool(table["id"].to_numpy(object), before, p, None, points, before)
    except ValueError as error:
        raise ValueError(f"{predictions}: {error}") from None
    return Source(pool, labels, classes)


def _indices(labels: Any, classes: list[str]) -> Any:
    return pd.Index(classes).get_indexer(labels)  # -1: none


def _features(file: Path, ids: Any) -> Any:
    """Read the features of these galaxies, from any table with an id and columns of numbers."""
    table = _read(file)
    columns = [name for name in table if name != "id" and table[name].dtype.kind in "if"]
    if not columns:
        raise ValueError(f"{file}: no columns of numbers; expected those of predict --features")
    if (twice := table["id"].duplicated(keep=False)).any():
        raise ValueError(f"{file}: duplicate id, {in_rows(twice, table['id'])}")
    rows = pd.Index(table["id"]).get_indexer(ids)
    if len(lacking := ids[rows < 0]):
        raise ValueError(f"{file}: no features of {len(lacking):,} galaxies: {listing(lacking, 5)}")
    return _numbers(table.iloc[rows], columns, file)


def _labelled(source: Source, files: Sequence[Path]) -> Source:
    """Add the labels in tables of `galaxymorph label`; what has been looked at is known.

    Labels may be other classes than those predicted, if features are known to learn them from."""
    pool, given = source.pool, dict[str, tuple[str, Path]]()
    for file in files:
        table = _read(file)
        if "label" not in table:
            have = listing(table.columns, 5)
            raise ValueError(f"{file}: no column 'label', the class; the table has {have}")
        for id, label in zip(table["id"], table["label"].fillna(""), strict=True):
            if id in given:
                todo = "combine several annotators first: galaxymorph labels merge"
                raise ValueError(f"{file}: duplicate id {id!r}, also in {given[id][1]}; {todo}")
            given[id] = label, file
    classes, named = source.classes, {label for label, _ in given.values()} - {*UNCERTAIN}
    if pool.features is not None and not source.known_before() and not named <= {*classes}:
        classes = sorted(named)
    for id, (label, file) in given.items():
        if label not in (*classes, *UNCERTAIN):
            raise ValueError(f"{file}, id {id}: {unknown('class', label, classes)}")
    places = pd.Index(pool.ids).get_indexer(pd.Index([*given]))
    if files and (places < 0).all():
        raise ValueError(f"{listing(files)}: none of {len(given):,} ids is a galaxy to choose from")
    labels, known = source.labels.copy(), pool.known.copy()
    there = places >= 0
    known[places[there]] = True
    labels[places[there]] = _indices([label for label, _ in given.values()], classes)[there]
    return Source(replace(pool, known=known), labels, classes)


def _learned(source: Source, seed: int, estimated: bool) -> tuple[Source, list[str]]:
    """Learn from the labels, if features are known; describe what they tell of all galaxies."""
    pool, rows, said = source.pool, np.flatnonzero(source.labels >= 0), list[str]()
    points, held_out = pool.features, pool.p
    if held_out is not None and held_out.shape[1] != len(source.classes):
        held_out = None
    if estimated and points is not None and len(set(source.labels[rows])) > 1:
        own = source.labels[rows]
        learned = label_loop.learn(points[rows], own, n_classes=len(source.classes), seed=seed)
        several = np.array([each(points) for each in learned.ensemble(seed=seed)])
        pool = replace(pool, p=learned.predict(points), several=several)
        held_out = pool.p.copy()  # pyright: ignore
        held_out[rows] = learned.held_out
        counts = [f"{name} {(own == k).sum():,}" for k, name in enumerate(source.classes)]
        said.append(f"{len(rows):,} labels: {', '.join(counts)}")
        said.append(str(label_loop.forecast(learned, points)))
    if estimated and len(sample := acquisition.random_sample(pool, seed=seed)):
        found = acquisition.estimates(sample, source.labels, held_out, source.classes)
        said.append(f"estimates from {len(sample):,} random galaxies, with 95 % intervals:")
        for row in found.to_dict("records"):
            name = f"{row['quantity']} {row['class']}".strip()
            said.append(f"  {name} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})")
    return Source(pool, source.labels, source.classes), said


def _read(file: Path) -> Any:
    """Read a CSV table with the column `id`, unique or not, as text."""
    ids = [spelled(name) for name in IDS for spelled in (str.lower, str.upper, str.title)]
    names: Any = dict.fromkeys([*ids, "GalaxyID", "label", "split", "set"], str)
    try:
        table = read_csv(project.existing(file), dtype=names)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not a valid CSV table: {error}") from None
    column = next((name for name in table if str(name).lower() in IDS), None)
    if column is None or not len(table):
        have = listing(table.columns, 5) or "no columns"
        raise ValueError(f"{file}: expected a column 'id' and a row per galaxy; it has {have}")
    return table.rename(columns={column: "id"})


def _numbers(table: Any, columns: Sequence[Any], file: Path) -> Any:
    for name in columns:
        if table[name].dtype.kind not in "if":
            raise ValueError(f"{file}: column {name!r} is not numeric")
    values = table[list(columns)].to_numpy(float)
    if (odd := ~np.isfinite(values).all(1)).any():
        raise ValueError(f"{file}: numbers are missing, {in_rows(odd, table['id'])}")
    return values

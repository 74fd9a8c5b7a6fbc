"""Make a run from prediction files made elsewhere, for `galaxymorph compare`."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.escape import csv_text
from galaxymorph.evaluation import stacking
from galaxymorph.evaluation.entries import Entry
from galaxymorph.evaluation.foreign import COMPARE, Brought, read
from galaxymorph.evaluation.predictions import PREDICTIONS
from galaxymorph.run import notebooks
from galaxymorph.run.folder import Step
from galaxymorph.run.marks import planned
from galaxymorph.run.plan import Job, Plan

__all__ = ["read", "stacked", "write"]
STACK = "stack"  # name of the step that combines all files


def stacked(brought: Sequence[Brought]) -> list[Brought]:
    """Combine the methods of each seed and number of labels (see `evaluation.stacking`).

    Raises `ValueError` if that is impossible, such as without labelled validation galaxies."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for each in brought:
        if each.step == STACK:
            raise ValueError(f"--stack: {each.path}: the name {STACK!r} is taken; use NAME=FILE")
        if not each.predictions.has("val"):
            why = "no labelled galaxies in split 'val', on which a stack is fitted"
            advice = "add a column split (train, val, test), here or in the file of --labels"
            raise ValueError(f"--stack: {each.path}: {why}; {advice}")
        common = [pair for pair in each.pairs if pair.startswith(("seed=", "n_labels="))]
        settings = [pair for pair in each.pairs if pair not in common]
        method, values = " ".join([each.method, *settings]), each.combination
        entry = Entry(method, values["seed"], values.get("n_labels"), None, each.predictions)
        groups.setdefault(tuple(common), []).append(entry)
    found = []
    try:
        for pairs, group in groups.items():
            members = stacking.members(group, seed=group[0].seed, n_labels=group[0].n_labels)
            tables = {"mean": stacking.mean(members), "logistic": stacking.logistic(members)[0]}
            for row, table in tables.items():
                of = Path(", ".join(entry.method for entry in members))
                about = {"protocol": stacking.protocol(members)}
                one = Brought(of, STACK, row, pairs, about=about)
                one.predictions = table
                found.append(one)
    except ValueError as error:
        raise ValueError(f"--stack: {error}") from None
    return found


def write(run: str, brought: Sequence[Brought]) -> Plan:
    """Make the run `results/<run>` from files; return the plan of its comparison.

    An earlier run of that name is replaced if it was made from files, too. Raises `ValueError` for
    any other run or an invalid name, and `project.Locked` while it is being executed."""
    if why := project.misnamed(run):
        raise ValueError(f"--run: {why}")
    folder = project.run_folder(run)
    earlier = planned(folder)
    made = {name for name, job in earlier.items() if job["outputs"] is None}
    there = folder.is_dir() and any(each.name != ".lock" for each in folder.iterdir())
    if there and (not made or set(earlier) - made - {COMPARE}):
        why = "this run was not made from files, and is kept"
        raise ValueError(f"{folder}: {why}; --run NAME makes a separate one")
    nothing = {"parameters": {}, "outputs": None}
    jobs = {each.name: {"combination": each.combination, **nothing} for each in brought}
    with project.locked(folder):
        for name in made:
            shutil.rmtree(folder / name.split("/")[0], ignore_errors=True)
        project.write_json(folder / "plan.json", {"jobs": jobs})
        for each in brought:
            step = Step(run, each.name)
            place = step.row(each.row) if each.row else step
            # unlike `Step.predictions` with all digits: the seventh may decide the class
            project.write(place.file(PREDICTIONS), csv_text(each.predictions.table()))
            metrics: dict[str, Any] = {"file": str(each.path), **each.about}
            if each.hard:
                metrics["protocol"] = "classes alone"
            if each.notes:
                metrics["findings"] = [f"{each.path}: {note}" for note in each.notes]
            place.metrics(metrics)
    notebook = notebooks.read(project.root() / "notebooks" / "12_compare.ipynb")
    parameters = notebook.parameters | {"run": run, "step": COMPARE, "steps": list(jobs)}
    compare = Job(COMPARE, COMPARE, {}, notebook, parameters, reads=tuple(jobs), needs=())
    return Plan(run, (compare,), {})

"""Make a run from prediction files made elsewhere, for `galaxymorph compare`."""

import shutil
from collections.abc import Sequence
from typing import Any

from galaxymorph import project
from galaxymorph.escape import csv_text
from galaxymorph.evaluation.foreign import COMPARE, Brought, read
from galaxymorph.evaluation.predictions import PREDICTIONS
from galaxymorph.run import notebooks
from galaxymorph.run.folder import Step
from galaxymorph.run.marks import planned
from galaxymorph.run.plan import Job, Plan

__all__ = ["read", "write"]


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
            metrics: dict[str, Any] = {"file": str(each.path)}
            if each.hard:
                metrics["protocol"] = "classes alone"
            if each.notes:
                metrics["findings"] = [f"{each.path}: {note}" for note in each.notes]
            place.metrics(metrics)
    notebook = notebooks.read(project.root() / "notebooks" / "12_compare.ipynb")
    parameters = notebook.parameters | {"run": run, "step": COMPARE, "steps": list(jobs)}
    compare = Job(COMPARE, COMPARE, {}, notebook, parameters, reads=tuple(jobs), needs=())
    return Plan(run, (compare,), {})

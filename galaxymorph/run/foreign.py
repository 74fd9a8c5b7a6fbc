"""galaxymorph.run.foreign"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

from galaxymorph import project
from galaxymorph.evaluation.foreign import COMPARE, Brought
from galaxymorph.evaluation.predictions import PREDICTIONS
from galaxymorph.run import notebooks
from galaxymorph.run.folder import Step
from galaxymorph.run.locks import locked
from galaxymorph.run.plan import Piece, Plan


def write(run: str, brought: Sequence[Brought]) -> Plan:
    """Makes a run of files, `results/<run>`; returns the plan of its comparison, for `runner.run`.

    An earlier run of that name is replaced if it was made so, too. Raises `ValueError` for any
    other, or where `run` is no name, and `locks.RunError` while it is executed."""
    if not project.NAME.fullmatch(run):
        raise ValueError(f"--run {run}: expected a name of letters, digits, '.', '_' and '-'")
    folder = project.root() / "results" / run
    plan = folder / "plan.json"
    earlier = json.loads(plan.read_text(encoding="utf-8"))["pieces"] if plan.is_file() else {}
    made = {name for name, piece in earlier.items() if piece["outputs"] is None}
    there = folder.is_dir() and any(path.name != ".lock" for path in folder.iterdir())
    if there and (not made or set(earlier) - made - {COMPARE}):
        raise ValueError(
            f"{folder}: this run is no comparison of files, and is left as it is; --run NAME makes another one"
        )
    notebook = notebooks.read(project.root() / "notebooks" / "11_compare.ipynb")
    pieces = {
        each.name: {"combination": each.combination, "parameters": {}, "outputs": None}
        for each in brought
    }
    with locked(folder):
        for name in made:
            shutil.rmtree(folder / name.split("/")[0], ignore_errors=True)
        project.write(plan, json.dumps({"pieces": pieces}, indent=2, default=str) + "\n")
        for each in brought:
            step = Step(run, each.name)
            place = step.row(each.row) if each.row else step
            # with all digits, where `Step.predictions` rounds: the class that is taken may hang on
            # the seventh
            project.write(
                place.file(PREDICTIONS),
                each.predictions.table().to_csv(index=False, lineterminator="\n"),
            )
            place.metrics(
                {"file": str(each.path)}
                | ({"protocol": "classes alone"} if each.hard else {})
                | (
                    {"findings": [f"{each.path}: {note}" for note in each.notes]}
                    if each.notes
                    else {}
                )
            )
    parameters = notebook.parameters | {"run": run, "step": COMPARE, "steps": list(pieces)}
    compare = Piece(COMPARE, COMPARE, {}, notebook, parameters, reads=tuple(pieces), needs=())
    return Plan(run, (compare,), {})

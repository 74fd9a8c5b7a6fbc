"""Executes the pieces of work of a plan: those whose inputs have changed, side by side if wanted,
each in a process of its own.

A piece is done when its `done.json` holds the fingerprints of its inputs and its declared outputs
exist. Inputs are

* parameters, as resolved (`params.yaml` in its folder);
* code: the notebook's code cells and the modules of this package that they import, directly or not;
  comments, docstrings and layout do not count, nor does the notebook's prose;
* files: contents of files, and names, sizes and times of everything in folders, that a parameter
  names;
* upstream: the done-marks of the pieces that it reads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from galaxymorph import project
from galaxymorph.evaluation.predictions import NOT_RUN
from galaxymorph.run.done import changed, folder
from galaxymorph.run.executors import Job, _environments, _leave_out
from galaxymorph.run.folder import Step
from galaxymorph.run.locks import deaf, locked
from galaxymorph.run.plan import Piece, Plan
from galaxymorph.run.screen import Screen
from galaxymorph.text import duration

# ---- fingerprints


# ---- one piece in execution


# ---- all pieces


@dataclass
class Outcome:
    """What has become of the pieces of a run, by name."""

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(
    plan: Plan,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    jobs: int = 1,
    out: TextIO | TextIOBase,
    every: float = 30.0,
) -> Outcome:
    """Executes what has to be executed of a plan, `jobs` pieces at a time; `only` are names of
    steps or pieces, to which gates are added that stand before them.

    A failed piece does not stop the others, except those that need it. Raises `RunError` where the
    same run is executed by another process already, and `KeyboardInterrupt` after everything that
    runs has been stopped."""
    chosen = [piece for piece in plan.pieces if not only or {piece.name, piece.step} & set(only)]
    needed = {name for piece in chosen for name in piece.needs}
    chosen = [
        piece
        for piece in plan.pieces
        if piece in chosen or (piece.notebook.gate and piece.name in needed)
    ]
    place = project.root() / "results" / plan.run
    outcome, screen, active = Outcome(), Screen(out, every=every), list[Job]()
    waiting = list(chosen)
    environments = _environments(jobs)
    with locked(place):
        _write_plan(plan, place)
        screen.say(
            f"run {plan.run}: {len(chosen)} piece{'s' * (len(chosen) != 1)} of work in {place}"
        )
        try:
            while waiting or active:
                for job in [job for job in active if job.process.poll() is not None]:
                    active.remove(job)
                    _settle(job, outcome, screen)
                for piece in list(waiting):
                    pending = {other.name for other in waiting} | {job.piece.name for job in active}
                    if pending & {*piece.reads, *piece.needs}:
                        continue
                    free = sorted(set(range(jobs)) - {job.slot for job in active})
                    if not free:
                        break
                    waiting.remove(piece)
                    if _is_due(plan, piece, force=force, outcome=outcome, screen=screen):
                        active.append(Job(plan, piece, free[0], environments[free[0]]))
                screen.live({job.piece.name: (job.progress(), job.seconds) for job in active})
                time.sleep(0.2)
        finally:
            with deaf():  # a second Ctrl-C or SIGTERM would leave something behind
                for job in active:
                    job.stop()
    return outcome


def _write_plan(plan: Plan, place: Path) -> None:
    """For readers of the run: what there should be, so that what is missing can be seen. Files that
    were brought (`bring`) and that no notebook declares stay in it."""
    path = place / "plan.json"
    there = json.loads(path.read_text(encoding="utf-8"))["pieces"] if path.is_file() else {}
    pieces = {name: piece for name, piece in there.items() if piece["outputs"] is None} | {
        piece.name: {
            "combination": piece.combination,
            "parameters": piece.parameters,
            "outputs": list(piece.notebook.outputs),
        }
        for piece in plan.pieces
    }
    project.write(path, json.dumps({"pieces": pieces}, indent=2, default=str) + "\n")


def _is_due(plan: Plan, piece: Piece, *, force: bool, outcome: Outcome, screen: Screen) -> bool:
    """Whether a piece has to be executed now; where not, says why."""
    absent = [name for name in piece.needs if not (folder(plan, name) / "done.json").is_file()]
    gone = [name for name in absent if (folder(plan, name) / NOT_RUN).is_file()]
    absent = [
        name
        for name in absent
        if name not in gone or name not in (piece.parameters.get("steps") or ())
    ]  # it lists them
    if absent and not set(absent) - set(gone):
        outcome.left_out.append(piece.name)
        _leave_out(Step(plan.run, piece.name), f"it needs {', '.join(absent)}")
        screen.say(f"– {piece.name}: not run, it needs {', '.join(absent)}")
        return False
    if absent:
        outcome.failed.append(piece.name)
        screen.say(f"✗ {piece.name}: not executed, it needs {', '.join(absent)}")
        return False
    why = "forced" if force else changed(plan, piece)
    if not why:
        outcome.unchanged.append(piece.name)
        screen.say(f"= {piece.name}: unchanged")
        return False
    if not screen.tty:
        screen.say(f"{piece.name}: started ({why})")
    return True


def _settle(job: Job, outcome: Outcome, screen: Screen) -> None:
    why = job.finish()
    name, took = job.piece.name, duration(job.seconds)
    if job.left_out:
        outcome.left_out.append(name)
        screen.say(f"– {name}: not run: {job.left_out}")
        return
    if not why:
        outcome.done.append(name)
        screen.say("\n  ".join([f"✓ {name}: {took}", *job.findings()]))
        return
    outcome.failed.append(name)
    notebook = job.step.path / "notebook.ipynb"
    kept = f"\nThe notebook as far as it came: {notebook}" if notebook.is_file() else ""
    screen.say(f"✗ {name}: failed after {took} {why}{kept}\n")

"""Execute the jobs of a plan whose inputs have changed (`done`), several at a time if wanted."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from galaxymorph import project
from galaxymorph.evaluation.predictions import NOT_RUN
from galaxymorph.run import done
from galaxymorph.run.executors import Executor, Handle, Local
from galaxymorph.run.folder import Step
from galaxymorph.run.locks import ignoring_signals
from galaxymorph.run.plan import Job, Plan
from galaxymorph.run.results import planned
from galaxymorph.run.screen import Screen
from galaxymorph.text import duration


@dataclass
class Outcome:
    """What became of the jobs of a run, by name."""

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(
    plan: Plan,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    executor: Executor | None = None,
    out: TextIO | TextIOBase,
) -> Outcome:
    """Execute the jobs of a plan that are due; a failed job only stops those that need it.

    Args:
        plan: the jobs, in order.
        only: names of steps or jobs; gates before them are added.
        force: also execute unchanged jobs.
        executor: by default one job at a time on this machine.
        out: where progress is written.

    Raises:
        params.ParamsError: `only` has a name that is not in the plan.
        project.Locked: another process is executing this run.
        KeyboardInterrupt: after all running jobs were stopped."""
    chosen = plan.select(only)
    needed = {name for job in chosen for name in job.needs}
    chosen = [
        job for job in plan.jobs if job in chosen or (job.notebook.gate and job.name in needed)
    ]
    place = project.root() / "results" / plan.run
    outcome, screen = Outcome(), Screen(out)
    executor = executor or Local()
    waiting, active = list(chosen), dict[Handle, dict[str, str]]()
    with project.locked(place):
        _write_plan(plan, place)
        screen.say(f"run {plan.run}: {len(chosen)} job{'s' * (len(chosen) != 1)} in {place}")
        try:
            while waiting or active:
                for handle in [each for each in active if each.poll() is not None]:
                    _settle(handle, active.pop(handle), plan.run, outcome, screen)
                for job in list(waiting):
                    pending = {each.name for each in waiting} | {each.job.name for each in active}
                    if pending & {*job.reads, *job.needs}:
                        continue
                    if not executor.free:
                        break
                    waiting.remove(job)
                    if _is_due(plan, job, force=force, outcome=outcome, screen=screen):
                        step = Step(plan.run, job.name)
                        done.clear(step, job)
                        prints = done.fingerprints(plan, job)  # now: inputs may change meanwhile
                        active[executor.submit(job, step.path)] = prints
                screen.live({each.job.name: (each.progress(), each.seconds) for each in active})
                time.sleep(0.2)
        finally:
            with ignoring_signals():
                for handle in active:
                    handle.stop()
    return outcome


def _write_plan(plan: Plan, place: Path) -> None:
    """Write the expected jobs for readers of the run, so that they can see which are missing.

    Jobs made of foreign files, which no notebook declares, are kept."""
    jobs = {name: job for name, job in planned(place).items() if job["outputs"] is None}
    for job in plan.jobs:
        jobs[job.name] = {"combination": job.combination, "parameters": job.parameters}
        jobs[job.name] |= {"outputs": job.notebook.outputs, "title": job.title}
    project.write_json(place / "plan.json", {"jobs": jobs})


def _is_due(plan: Plan, job: Job, *, force: bool, outcome: Outcome, screen: Screen) -> bool:
    """Return whether a job must be executed now; if not, print why."""
    absent = [name for name in job.needs if not Step(plan.run, name).mark.is_file()]
    gone = {name for name in absent if (Step(plan.run, name).path / NOT_RUN).is_file()}
    listed = job.parameters.get("steps") or ()  # which it can show as not run
    absent = [name for name in absent if name not in gone or name not in listed]
    if absent:
        why = f"needs {', '.join(absent)}"
        if gone.issuperset(absent):
            project.write_json(Step(plan.run, job.name).path / NOT_RUN, {"why": why})
            outcome.left_out.append(job.name)
            screen.say(f"– {job.name}: not run, {why}")
        else:
            outcome.failed.append(job.name)
            screen.say(f"✗ {job.name}: not executed, {why}")
        return False
    why = "forced" if force else done.changed(plan, job)
    if not why:
        outcome.unchanged.append(job.name)
        screen.say(f"= {job.name}: unchanged")
    elif not screen.tty:
        screen.say(f"{job.name}: started ({why})")
    return bool(why)


def _settle(
    handle: Handle, prints: dict[str, str], run: str, outcome: Outcome, screen: Screen
) -> None:
    """Handle the end of a job: done, skipped (to be retried by the next run), or failed."""
    job, seconds = handle.job, handle.seconds
    step, name, notebook = Step(run, job.name), job.name, handle.folder / "notebook.ipynb"
    if handle.partial.is_file():
        handle.partial.replace(notebook)
    unavailable = handle.unavailable()
    why = handle.failure() if handle.poll() else done.unfulfilled(step, job)
    handle.stop()
    if unavailable:
        project.write_json(step.path / NOT_RUN, {"why": unavailable.split(": ")[0]})
        outcome.left_out.append(name)
        screen.say(f"– {name}: not run: {unavailable}")
    elif why:
        outcome.failed.append(name)
        kept = f"\nPartial notebook: {notebook}" if notebook.is_file() else ""
        screen.say(f"✗ {name}: failed after {duration(seconds)} {why}{kept}\n")
    else:
        done.mark(step, job, prints, seconds=seconds)
        outcome.done.append(name)
        findings = map(str, project.read_json(step.path / "metrics.json").get("findings", []))
        screen.say("\n  ".join([f"✓ {name}: {duration(seconds)}", *findings]))

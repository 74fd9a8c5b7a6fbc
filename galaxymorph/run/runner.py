"""Execute the jobs of a plan whose inputs have changed (`done`), several at a time if wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from galaxymorph import project
from galaxymorph.evaluation.predictions import NOT_RUN
from galaxymorph.run import done, marks
from galaxymorph.run.executors import Executor, Handle, Local
from galaxymorph.run.folder import JOB_NAME, Step
from galaxymorph.run.forecast import Forecast
from galaxymorph.run.locks import ignoring_signals
from galaxymorph.run.marks import planned
from galaxymorph.run.plan import Job, Plan
from galaxymorph.run.screen import Screen
from galaxymorph.text import duration, listing


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
    chosen, place = select(plan, only), project.run_folder(plan.run)
    outcome, screen = Outcome(), Screen(out)
    executor = executor or Local()
    with project.locked(place):
        _write_plan(plan, place, chosen)
        screen.say(f"run {plan.run}: {len(chosen)} job{'s' * (len(chosen) != 1)} in {place}")
        _announce(plan, place, chosen, screen)
        forecast = Forecast(chosen, place)
        running = _Running(plan, force, executor, outcome, screen, forecast, list(chosen))
        try:
            while running.waiting or running.active:
                running.settle()
                running.start()
                running.show()
                executor.wait(0.2)
        finally:
            with ignoring_signals():
                for handle in running.active:
                    handle.stop()
    return outcome


@dataclass
class _Running:
    """The jobs of a run that wait, and those that are executed with the hashes of their inputs."""

    plan: Plan
    force: bool
    executor: Executor
    outcome: Outcome
    screen: Screen
    forecast: Forecast
    waiting: list[Job]
    active: dict[Handle, dict[str, str]] = field(default_factory=dict)

    def settle(self) -> None:
        """Handle the end of jobs that have ended."""
        for handle in [each for each in self.active if each.poll() is not None]:
            _settle(handle, self.active.pop(handle), self.plan.run, self.outcome, self.screen)
            whole = handle.job.name in self.outcome.done
            self.forecast.count(handle.job, handle.seconds if whole else None)

    def start(self) -> None:
        """Submit the jobs that are due and wait for no other, as long as the executor is free."""
        for job in list(self.waiting):
            pending = {each.name for each in self.waiting} | {each.job.name for each in self.active}
            if pending & {*job.reads, *job.needs}:
                continue
            if not self.executor.free:
                break
            self.waiting.remove(job)
            due = _is_due(
                self.plan, job, force=self.force, outcome=self.outcome, screen=self.screen
            )
            if not due:
                self.forecast.count(job)
                continue
            step = Step(self.plan.run, job.name)
            done.prepare(step)
            prints = done.fingerprints(self.plan, job)  # now: inputs may change meanwhile
            name = {JOB_NAME: f"{self.plan.run}/{job.name}"}
            self.active[self.executor.submit(job, step.unfinished.path, name)] = prints

    def show(self) -> None:
        """Show the progress of running jobs, and how long the rest will take."""
        now = [(each.job, each.seconds) for each in self.active]
        self.screen.live(
            {each.job.name: (each.progress(), each.seconds) for each in self.active},
            self.forecast.line(self.waiting, now, at_once=self.executor.jobs),
        )


def select(plan: Plan, only: Sequence[str]) -> list[Job]:
    """Return the jobs that a run with `--only` executes: those named, and the gates before them.

    Raises `ParamsError` for an unknown name."""
    chosen = plan.select(only)
    needed = {name for job in chosen for name in job.needs}
    return [job for job in plan.jobs if job in chosen or (job.notebook.gate and job.name in needed)]


def _write_plan(plan: Plan, place: Path, chosen: Sequence[Job]) -> None:
    """Write the expected jobs for readers of the run, so that they can see which are missing.

    Jobs made of foreign files, which no notebook declares, are kept. Jobs that no call has chosen
    (`--only`) are not expected."""
    before, names = planned(place), {job.name for job in chosen}
    jobs = {name: job for name, job in before.items() if job["outputs"] is None}
    for name, job in plan.described.items():
        wanted = name in names or before.get(name, {"chosen": False}).get("chosen", True)
        jobs[name] = {**job, "chosen": wanted}
    project.write_json(place / "plan.json", {"jobs": jobs})


def _announce(plan: Plan, place: Path, chosen: Sequence[Job], screen: Screen) -> None:
    """Say which results of other parameters are there, as under a run name that was used before."""
    names = {job.name for job in chosen}
    states = marks.outdated(place, plan.described, list(plan.described))
    changed = [name for name, why in states.items() if "parameters" in why]
    for will, kept in ((True, "stay until the new ones are whole"), (False, "are left out")):
        if listed := [name for name in changed if (name in names) == will]:
            where = "" if will else "; --only chose other steps"
            screen.say(f"results of other parameters {kept}: {listing(listed)}{where}")


def _is_due(plan: Plan, job: Job, *, force: bool, outcome: Outcome, screen: Screen) -> bool:
    """Return whether a job must be executed now; if not, print why."""
    place, step = project.run_folder(plan.run), Step(plan.run, job.name)
    if done.is_whole(step):
        done.install(step, job)
    states = marks.outdated(place, plan.described, job.needs)
    there = {name: Step(plan.run, name) for name in job.needs}
    absent = [name for name, each in there.items() if states[name] or not each.mark.is_file()]
    gone = {name for name in absent if (there[name].path / NOT_RUN).is_file()}
    listed = job.parameters.get("steps") or ()  # which it can show as not run
    absent = [name for name in absent if name not in gone or name not in listed]
    if absent:
        old = [f"{name} ({states[name]})" if states[name] else name for name in absent]
        why = f"needs {', '.join(old)}"
        if gone.issuperset(absent):
            project.write_json(step.path / NOT_RUN, {"why": why})
            outcome.left_out.append(job.name)
            screen.say(f"– {job.name}: not run, {why}")
        else:
            outcome.failed.append(job.name)
            screen.say(f"✗ {job.name}: not executed, {why}")
        return False
    why = "forced" if force else done.changed(plan, job)
    if not why:
        done.discard(step)  # what another, interrupted state of the parameters has left
        (step.path / NOT_RUN).unlink(missing_ok=True)
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
    why = handle.failure() if handle.poll() else done.unfulfilled(step.unfinished, job)
    handle.stop()
    if unavailable:
        project.write_json(step.path / NOT_RUN, {"why": unavailable.split(": ")[0]})
        outcome.left_out.append(name)
        screen.say(f"– {name}: not run: {unavailable}")
    elif why:
        outcome.failed.append(name)
        kept = f"\nPartial notebook: {notebook}" if notebook.is_file() else ""
        kept += f"\nEarlier results are kept: {step.path}" if step.mark.is_file() else ""
        screen.say(f"✗ {name}: failed after {duration(seconds)} {why}{kept}\n")
    else:
        done.mark(step.unfinished, job, prints, seconds=seconds)
        done.install(step, job)
        outcome.done.append(name)
        findings = map(str, marks.read(step.path / "metrics.json").get("findings", []))
        screen.say("\n  ".join([f"✓ {name}: {duration(seconds)}", *findings]))

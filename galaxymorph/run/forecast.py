"""Forecast how long a run still takes, from what its jobs took, now and in earlier runs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from galaxymorph.run import marks
from galaxymorph.run.plan import Job


class Forecast:
    """How many jobs have ended, and how long the others will take."""

    def __init__(self, jobs: Sequence[Job], place: Path):
        """Read what the jobs took when they were last executed; `place` is the run's folder."""
        self.total, self.ended = len(jobs), 0
        self.took: dict[str, list[float]] = defaultdict(list)
        for job in jobs:
            self._learn(job, marks.read(place / job.name / "done.json").get("seconds"))

    def count(self, job: Job, seconds: float | None = None) -> None:
        """Count a job that has ended; `seconds` is what it took, if it was executed to its end."""
        self.ended += 1
        if seconds is not None:
            self.took.pop(f"job {job.name}", None)
        self._learn(job, seconds)

    def _learn(self, job: Job, seconds: float | None) -> None:
        if seconds is not None:
            for kind in _kinds(job):
                self.took[kind].append(seconds)

    def expected(self, job: Job) -> float | None:
        """Return the seconds of a job: its own, or the mean over the most similar jobs known."""
        known = (self.took[kind] for kind in _kinds(job) if kind in self.took)
        return next(map(fmean, known), None)

    def line(
        self, waiting: Iterable[Job], active: Iterable[tuple[Job, float]], *, at_once: int
    ) -> str:
        """Describe how far the run is: `12 of 51 jobs, about 6 min left`.

        `active` are the running jobs with their seconds so far, at most `at_once`."""
        far = f"{self.ended} of {self.total} jobs"
        left = [self.expected(job) for job in waiting]
        for job, so_far in active:
            whole = self.expected(job)
            left.append(None if whole is None else max(0.0, whole - so_far))
        known = [seconds for seconds in left if seconds is not None]
        if not known or len(known) < len(left):
            return far
        minutes = max(sum(known) / at_once, *known, 0) / 60
        return f"{far}, {_about(minutes)} left"


def _kinds(job: Job) -> list[str]:
    """Return what is known to take as long as a job, the most similar first."""
    return [f"job {job.name}", f"step {job.step}", f"notebook {job.notebook.path.name}", "any"]


def _about(minutes: float) -> str:
    if minutes < 0.75:
        return "less than a minute"
    if minutes < 90:
        return f"about {round(minutes)} min"
    return f"about {minutes / 60:.0f} h" if minutes > 600 else f"about {minutes / 60:.1f} h"

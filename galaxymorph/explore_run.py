"""Gather the results of a run, and write its page to explore (`apply.explore_run`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.run import results
from galaxymorph.run.results import Result


def explore_run(run: str, model: Path | None, out: Path) -> None:
    """Write the page of a run, finished or not, to `out`.

    `model` is by default the best one of the run on validation galaxies, among those with the most
    labels and the run's first seed; the one in the package if the run has none. Raises `ValueError`
    for a run that has no galaxies of its own, such as one made by `compare`."""
    jobs = [job for job in results.read(run) if job.done]
    seeded = [job for job in jobs if "galaxies" in job.parameters and "seed" in job.parameters]
    if not seeded:
        why = "no finished job of it loads galaxies"
        raise ValueError(f"{project.run_folder(run)}: nothing to explore, because {why}")
    seed = min(job.parameters["seed"] for job in seeded)
    name, model = ("the model", model) if model else best_model(run, jobs, seed)
    from galaxymorph.apply.explore_run import of_run
    from galaxymorph.data.load import load
    from galaxymorph.escape import read_csv

    tables = [job.path / "properties.csv" for job in jobs if job.has("properties.csv")]
    page = of_run(
        load(**seeded[0].parameters["galaxies"], seed=seed),
        results.trained(run),
        {name: model},
        seed=seed,
        title=f"Galaxies of the run {run}",
        measured=read_csv(tables[-1], dtype={"id": str}) if tables else None,
    )
    project.write(out, page)


def best_model(run: str, jobs: Sequence[Result], seed: Any) -> tuple[str, Path]:
    """Return the name and file of the model whose job is the most accurate on validation galaxies.

    Models without predicted classes come last; without any, it is the model in the package."""
    found = [(-2.0, "the model in the package", project.BUNDLED)]
    for job in jobs:
        path = project.model_file(run, job.name)
        own = job.parameters | job.combination
        if not path.is_file() or own.get("seed") != seed or own.get("n_labels") is not None:
            continue
        predictions = job.predictions
        part = predictions.labelled("val") if predictions and predictions.has("val") else None
        accuracy = float(part.right.mean()) if part else -1.0
        found.append((accuracy, job.title or job.step, path))
    return max(found, key=lambda each: each[0])[1:]

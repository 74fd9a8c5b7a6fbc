"""Show what the jobs of a run spend beside training and prediction, from the files that they wrote.

    python benchmarks/overhead.py results/mock
    python benchmarks/overhead.py results/mock --top 40

All times are in seconds of wall clock. The time of a job is that of `done.json`: from its start
until its files are moved. The time of a cell is that in the executed notebook. The training time is
that of the cells that call a `fit`, or a linear probe: it includes validation, health checks and
the model file, which `seconds` in `history.csv` omits. The prediction time is that of the cells
that apply a model, or measure galaxies for one, and draw nothing. The start is what no cell
accounts for: process, kernel, and moving the files. The rest is the ceremony: figures, tables,
statistics, costs, checks. Three numbers stand at the end."""

import argparse
import json
import re
from pathlib import Path

import pandas as pd

TRAINING = re.compile(r"\b(fit|linear_probe)\(")
PREDICTION = re.compile(
    r"\b(predict|predict_proba|embed|maps|several|turned|oddity|importances|measure_sets\.measure"
    r"|map_scores\.(compare|randomisation))\("
)
DRAWING = re.compile(r"\bfolder\.figure\(")
PARTS = ["training", "prediction", "start", "rest"]


def kind(source: str) -> str:
    """Say which part of a job a cell belongs to."""
    if TRAINING.search(source):
        return "training"
    applied = PREDICTION.search(source) and not DRAWING.search(source)
    return "prediction" if applied else "rest"


def three(jobs: pd.DataFrame) -> list[str]:
    """Say what is watched, from a row for each job with the seconds of `PARTS`."""
    total = jobs[["seconds", *PARTS]].sum()
    trained = total.training / total.seconds
    applied = (total.training + total.prediction) / total.seconds
    beside = (total.seconds - total.training - total.prediction) / len(jobs)
    return [
        f"beside training and prediction, start included: {beside:.2f} s in the mean of all jobs",
        f"share of training: {trained:.0%}",
        f"share of training and prediction: {applied:.0%}",
    ]


def cells(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each job with its seconds, and a row for each of its code cells."""
    jobs, found = [], []
    for mark in sorted(run.rglob("done.json")):
        job, notebook = mark.parent.relative_to(run), mark.parent / "notebook.ipynb"
        if not notebook.is_file():
            continue
        done = json.loads(mark.read_text(encoding="utf-8"))
        jobs.append((str(job), done["seconds"]))
        code = [
            cell
            for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
            if cell["cell_type"] == "code"
        ]
        for cell in code:
            source = "".join(cell["source"]).strip()
            spent = cell["metadata"].get("papermill", {}).get("duration") or 0.0
            found.append((str(job), job.parts[0], source, kind(source), spent))
    return (
        pd.DataFrame(jobs, columns=["job", "seconds"]).set_index("job"),
        pd.DataFrame(found, columns=["job", "step", "source", "part", "seconds"]),
    )


def said(source: str, letters: int = 72) -> str:
    """Return what a cell is for: its first call that draws, otherwise its last line."""
    whole = re.sub(r"\(\s+", "(", " ".join(source.split()))
    drawn = whole.partition("folder.figure")
    lines = [line.strip() for line in source.splitlines() if line.strip(" )}]")]
    return ("".join(drawn[1:]) if drawn[1] else (lines or ["(empty)"])[-1])[:letters]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a run, such as results/mock")
    parser.add_argument("--top", type=int, default=25, help="how many cells to list")
    options = parser.parse_args()
    jobs, code = cells(options.run)
    if jobs.empty:
        parser.error(f"{options.run}: no finished job with a notebook; expected results/<run>")
    spent = code.pivot_table(index="job", columns="part", values="seconds", aggfunc="sum")
    jobs = jobs.join(spent.reindex(columns=PARTS)).fillna(0.0)
    jobs["start"] = jobs.seconds - jobs[PARTS].sum(axis=1)
    pd.options.display.width = 100
    print(jobs.round(1).to_string())
    total = jobs.sum()
    print(f"\n{len(jobs)} jobs, {total.seconds:,.0f} s")
    for part in PARTS:
        share, mean = total[part] / total.seconds, total[part] / len(jobs)
        print(f"{part:>12}{total[part]:8.0f} s{share:8.0%}{mean:8.2f} s in the mean of all jobs")
    rest = code[code.part == "rest"].assign(
        cell=[said(s) for s in code.source[code.part == "rest"]]
    )
    by_cell = rest.groupby(["step", "cell"]).seconds.agg(["sum", "count", "mean"])
    print(f"\nthe rest by step and cell, the {options.top} largest of {len(by_cell)}")
    print(by_cell.sort_values("sum", ascending=False).head(options.top).round(2).to_string())
    print("", *three(jobs), sep="\n")


if __name__ == "__main__":
    main()

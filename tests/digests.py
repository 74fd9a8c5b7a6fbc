"""Print a digest of every table that the notebooks write at toy size: `python tests/digests.py
[FOLDER] > digests.txt`.

Every notebook is executed on the mock survey, with two seeds, in a folder of its own (a temporary
one where none is given). After a change that should change no number, the digests are the same as
before it, on the same machine. Predictions and votes come first: they are what every other table is
made from."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
TOY = (
    {
        "galaxies.n_galaxies": 240,
        "galaxies.image_size": 32,
        "audit.seeds": [0, 1],
        "audit_results.seeds": [0, 1],
        "classical.over": {"n_labels": [None, 60], "seed": [0, 1]},
        "cnn.over": {"n_labels": [None, 60], "seed": [0, 1]},
        "cnn.training.epochs": 1,
        "resnet18.training.epochs": 1,
        "resnet50.training.epochs": 1,
        "cae.training.epochs": 1,
        "moco.training.epochs": 1,
        "moco.contrast.queue": 64,
        "cae_frozen.training.epochs": 2,
        "moco_frozen.training.epochs": 2,
        "moco_finetuned.training.epochs": 1,
        "votes_plain.training.epochs": 1,
        "votes_tree.training.epochs": 1,
        "gradcam.n_scored": 2,
        "gradcam.methods": ["gradcam", "layercam"],
    }
    | {f"{step}.over.seed": [0, 1] for step in ("resnet18", "resnet50", "cae", "moco")}
    | {
        f"{step}_{use}.over.seed": [0, 1]
        for step in ("cae", "moco")
        for use in ("features", "frozen")
    }
)
TOY |= {
    "moco_finetuned.over.seed": [0, 1],
    "stack.over.seed": [0, 1],
    "stack_votes.over": {"seed": [0, 1]},
    "votes_plain.over": {"seed": [0, 1]},
    "votes_tree.over": {"seed": [0, 1]},
}
TOY |= {"gradcam.model": {"step": "votes_tree", "seed": 0}}
FORENSICS = {
    "run": "forensics",
    "galaxies": {"name": "simulated", "n_galaxies": 240, "image_size": 32},
    "forensics": {
        "notebook": "17_published_mistakes",
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 3.0e-3},
        "resumed": {"legs": 2, "epochs": 1},
        "contrast": {
            "queue": 64,
            "temperature": 0.1,
            "momentum": 0.99,
            "momentum_schedule": "cosine",
        },
        "pretraining": {"epochs": 1, "batch_size": 64, "learning_rate": 5.0e-4},
    },
}
FIRST = ("predictions.csv", "votes.csv")
MEASURED = ("seconds", "images_per_second", "peak_memory")  # no two executions agree on these


def run(folder: Path, *arguments: str) -> None:
    """Run the command line in a folder, one thread for each of two jobs."""
    command = [sys.executable, "-m", "galaxymorph", "run", "--jobs", "2", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)


def digest(path: Path) -> str:
    """Hash a table without the columns that are measured."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    kept = [name for name in table.columns if not any(word in name for word in MEASURED)]
    return hashlib.sha256(table[kept].to_csv(index=False).encode()).hexdigest()[:16]


def main(folder: Path) -> None:
    shutil.copytree(
        PROJECT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    shutil.copy(PROJECT / "params.yaml", folder)
    run(
        folder,
        *[word for key, value in TOY.items() for word in ("-s", f"{key}={json.dumps(value)}")],
    )
    (folder / "forensics.yaml").write_text(json.dumps(FORENSICS))
    run(folder, "--params", "forensics.yaml")
    tables = sorted(
        (folder / "results").rglob("*.csv"), key=lambda path: (path.name not in FIRST, str(path))
    )
    for path in tables:
        print(digest(path), path.relative_to(folder / "results"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))

"""Every notebook executed by hand, with its default parameters. (By the runner:
`test_notebooks.py`.)"""

import shutil
import time
from pathlib import Path

import nbclient
import nbformat
import pytest

from galaxymorph import project
from galaxymorph.run import notebooks
from galaxymorph.run.executors import Local
from galaxymorph.run.folder import Step
from galaxymorph.run.plan import Job

PROJECT = Path(__file__).parents[1]
TOY = {"n_galaxies=2000": "n_galaxies=240, image_size=32", "queue=1024": "queue=64"}
TOY |= {"epochs=8": "epochs=1", "epochs=30": "epochs=1"}
TOY |= {"seeds = [0, 1, 2, 3, 4]": "seeds = [0]", "n=25, most=400": "n=25, most=75"}


def by_jupyter(path: Path, folder: Path) -> None:
    """Execute a notebook in a folder as Jupyter does, in a new kernel."""
    content = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(content, kernel_name="python3", resources=resources).execute()


def by_fork(path: Path, folder: Path, out: Path, monkeypatch) -> None:
    """Execute a notebook in a folder in a forked kernel, which has imported everything."""
    out.mkdir()
    job = Job(path.stem, path.stem, {}, notebooks.read(path), {}, reads=(), needs=())
    with monkeypatch.context() as patch:
        patch.setattr(project, "root", lambda: folder)  # where jobs are executed
        handle = Local().submit(job, out)
    while handle.poll() is None:
        time.sleep(0.05)
    assert handle.poll() == 0, f"{path.name} {handle.failure()}"


@pytest.mark.parametrize("cold", ["03_supervised", pytest.param("", marks=pytest.mark.slow)])
def test_notebooks_work_by_hand_one_after_the_other_from_any_folder(tmp_path, monkeypatch, cold):
    shutil.copytree(
        PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    elsewhere = tmp_path / "notebooks" / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for path in sorted((tmp_path / "notebooks").glob("*.ipynb")):
        content = nbformat.read(path, as_version=4)
        for cell in content.cells:  # toy size: everything else stays as its default
            if "parameters" in cell.metadata.get("tags", []):
                for default, small in TOY.items():
                    cell.source = cell.source.replace(default, small)
        nbformat.write(content, path)
        if cold in path.stem:
            by_jupyter(path, elsewhere)
        else:
            by_fork(path, elsewhere, tmp_path / path.stem, monkeypatch)
        declared = notebooks.read(path)
        step = Step(declared.parameters["run"], declared.parameters["step"])
        files = [
            step.model_file if name == "model.safetensors" else step.path / name
            for name in declared.outputs
        ]
        assert step.run == "by_hand" and [file for file in files if not file.is_file()] == []

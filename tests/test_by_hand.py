"""Every notebook executed by hand, with its default parameters. (By the runner:
`test_notebooks.py`.)"""

import shutil
from pathlib import Path

import nbclient
import nbformat

from galaxymorph.run import notebooks
from galaxymorph.run.folder import Step

PROJECT = Path(__file__).parents[1]


def test_notebooks_work_by_hand_one_after_the_other_from_any_folder(tmp_path, monkeypatch):
    shutil.copytree(
        PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    elsewhere = tmp_path / "notebooks" / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # toy networks: see conftest.py
    for path in sorted((tmp_path / "notebooks").glob("*.ipynb")):
        content = nbformat.read(path, as_version=4)
        for cell in content.cells:  # toy size: everything else stays as its default
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = cell.source.replace(
                    "n_galaxies=2000", "n_galaxies=240, image_size=32"
                )
                cell.source = cell.source.replace("epochs=8", "epochs=1").replace(
                    "epochs=30", "epochs=1"
                )
                cell.source = cell.source.replace("queue=1024", "queue=64")
        resources = {"metadata": {"path": str(elsewhere)}}
        nbclient.NotebookClient(content, kernel_name="python3", resources=resources).execute()
        declared = notebooks.read(path)
        step = Step(declared.parameters["run"], declared.parameters["step"])
        files = [
            step.model_file if name == "model.safetensors" else step.path / name
            for name in declared.outputs
        ]
        assert step.run == "by_hand" and [file for file in files if not file.is_file()] == []

"""Real limits of the machine, in a process of their own: a small disk, a limit of file sizes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEAD = """
import json, resource, sys
from pathlib import Path
import numpy as np
from galaxymorph import cache, project

folder, said = Path(sys.argv[1]), []

def attempt(function, *given, **options):
    try:
        function(*given, **options)
        said.append("")
    except (OSError, ValueError) as error:
        said.append(f"{type(error).__name__}: {error}")

def stream(path):
    with project.replacing(path) as partial, partial.open("wb") as file:
        for _ in range(100):
            file.write(bytes(10_000))

path = folder / "x.csv"
project.write(path, "before")
"""
TAIL = """
before = path.read_text(), [each.name for each in sorted(folder.iterdir())]
attempt(project.write, path, "after")
print(json.dumps([said, before, path.read_text()]))
"""


def python(script: str, folder: Path, *before: str) -> list:
    command = [*before, sys.executable, "-c", HEAD + script + TAIL, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def on_small_disk(tmp_path):
    """Runs a script with a folder on a disk of 300 kB, which is there for this process alone."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=300k tmpfs {disk} && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if not shutil.which("unshare"):
        pytest.skip("needs unshare(1), to mount a disk of its own")
    tried = subprocess.run([*alone, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine does not let users mount a disk: {tried.stderr.strip()}")
    return lambda script: python(script, disk, *alone)


def test_a_full_disk_is_noticed_before_if_the_size_is_known_and_nothing_is_lost(on_small_disk):
    said, before, after = on_small_disk(
        """
attempt(project.write, path, bytes(400_000))
attempt(stream, path)
attempt(stream, folder / "new" / "y.csv")
made = []
attempt(cache.entry, folder, 1, made.append, needed=500_000)
attempt(cache.entry, folder, 2, lambda part: np.save(part / "x.npy", np.zeros(100_000)))
said.append(str(made))
import shutil; shutil.rmtree(folder / "new")
"""
    )
    known, full, new, entry, numpy, made, last = said
    assert "x.csv: the disk is full (0.4 MB needed, 0.3 MB free). Free some space" in known
    assert entry.startswith("NotWritten: ") and "(0.5 MB needed, 0.3 MB free)" in entry
    assert made == "[]"  # nothing was computed in vain
    for each in (full, new, numpy):
        assert each.startswith("NotWritten: ") and "the disk is full (" in each
        assert "Nothing is lost: what was there before is unchanged" in each
    assert before == ["before", ["x.csv"]] and (last, after) == ("", "after")


def test_a_limit_of_file_sizes_is_named_with_what_is_needed(tmp_path):
    said, before, after = python(
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
attempt(project.write, path, bytes(400_000))
attempt(stream, path)
""",
        tmp_path,
    )
    known, stream, last = said
    assert "x.csv: the file would be larger than allowed (0.4 MB needed). Raise the limit" in known
    assert "x.csv: the file would be larger than allowed. Raise the limit" in stream
    assert before == ["before", ["x.csv"]] and (last, after) == ("", "after")


@pytest.mark.slow
def test_galaxies_that_do_not_fit_into_the_cache_are_refused_before_they_are_decoded(
    tmp_path, on_small_disk
):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "sky" / name).mkdir(parents=True)
        for n in range(5):
            pixels = Image.fromarray(rng.integers(0, 99, (8, 8, 3), np.uint8)).resize((128, 128))
            pixels.save(tmp_path / "sky" / name / f"{name}{n}.png")
    said, before, _ = on_small_disk(
        f"""
from galaxymorph.data.load import load
options = dict(root={str(tmp_path / "sky")!r}, cache=folder, image_size=128)
attempt(load, "folder", **options)
attempt(load, "folder", **options | dict(image_size=64))
"""
    )
    assert "the disk is full (0.5 MB needed, 0.3 MB free)" in said[0] and said[1] == ""
    assert before[1] == ["folder", "x.csv"]

"""Download published data sets: checksums are verified, broken downloads resumed."""

import hashlib
import http.client
import importlib.util
import shutil
import tarfile
import textwrap
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

import galaxymorph
from galaxymorph import project
from galaxymorph.text import unknown


class Dataset(NamedTuple):
    """A published data set, whose files have checksums stated by the publishers."""

    about: str
    files: dict[str, str]  # checksum by address: "sha256:..." or "md5:..."
    use: str  # how to load or obtain them


_DROPBOX = "https://dl.dropboxusercontent.com/s"
_KAGGLE = """Kaggle requires an account and its own client:
  pip install kaggle
  accept the rules at https://www.kaggle.com/c/galaxy-zoo-the-galaxy-challenge/rules
  create a token (see https://github.com/Kaggle/kaggle-api), then, for each FILE of
  images_training_rev1.zip, training_solutions_rev1.zip, images_test_rev1.zip (optional, unlabelled)
  kaggle competitions download -c galaxy-zoo-the-galaxy-challenge -p data/galaxy_zoo -f FILE
The zips can stay packed.
galaxies: {name: galaxy_zoo, root: data/galaxy_zoo, crop: 212}"""
# Addresses and checksums as in the authors' packages astroNN and galaxy-datasets.
DATASETS: dict[str, Dataset] = {
    "galaxy10": Dataset(
        "Galaxy10 DECaLS: 17,736 galaxies from the DESI Legacy Surveys in ten classes, 256 px, 2.5 "
        "GB (Leung & Bovy; Galaxy Zoo)",
        {
            "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5": "sha256:"
            "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571"
        },
        "galaxies: {name: galaxy10, root: data/galaxy10/Galaxy10_DECals.h5}",
    ),
    "galaxy_mnist": Dataset(
        "GalaxyMNIST: 10,000 galaxies from DECaLS in four classes, confidently labelled "
        "(Walmsley et al. 2022; Galaxy Zoo)",
        {
            f"{_DROPBOX}/6xlym0ney5q9aec14vvy1/galaxy_mnist_train_catalog.parquet"
            "?rlkey=fc5knqscwk2h6r4z5d3156vzr&dl=0": "md5:cd22b21d165802f4bc1adf997424aec2",
            f"{_DROPBOX}/9assxy247i1nq8wjy7o0a/galaxy_mnist_test_catalog.parquet"
            "?rlkey=y1ns24xw0tcyntodi61rv14fu&dl=0": "md5:c5cca8d8afb6fb0d59baeb310a35d594",
            f"{_DROPBOX}/lj89307kjx5plme9f66js/galaxy_mnist_images.tar.gz"
            "?rlkey=gvlwx2rl3hqpo3gplb9zlqrz0": "md5:1c6cb0447f2f7ed676c3363ee194ced9",
        },
        "galaxies: {name: folder, root: data/galaxy_mnist/classes}",
    ),
    "galaxy_zoo": Dataset(
        "Kaggle's Galaxy Zoo challenge: 61,578 galaxies with the volunteers' 37 vote fractions, "
        "79,975 without, 424 px, 2 GB",
        {},
        _KAGGLE,
    ),
}
# Labels 0 to 3, as named by the authors.
GALAXY_MNIST = ("smooth_round", "smooth_cigar", "edge_on_disk", "unbarred_spiral")
_BAR: dict[str, Any] = {"mininterval": 1, "delay": 1}  # progress bar


def info() -> str:
    """List the data sets and how to use each."""
    parts = {name: f"{each.about}\n{each.use}" for name, each in DATASETS.items()}
    return "\n\n".join(f"{name}\n{textwrap.indent(part, '  ')}" for name, part in parts.items())


def download(name: str, *, folder: Path | None = None) -> str:
    """Download a data set into `folder` (default: data/NAME in the project); return how to load it.

    Raises:
        ValueError: unknown data set, missing package or wrong checksum.
        OSError: network or server error; the message says how to resume."""
    if name not in DATASETS:
        raise ValueError(unknown("data set", name, DATASETS))
    folder = folder or project.root() / "data" / name
    if name == "galaxy_mnist" and importlib.util.find_spec("pyarrow") is None:
        remedy = "pip install 'galaxymorph[parquet]'"
        raise ValueError(f"GalaxyMNIST's Parquet labels need pyarrow: {remedy}")
    files = [fetch(url, checksum, folder) for url, checksum in DATASETS[name].files.items()]
    if name == "galaxy_mnist":
        _arrange_galaxy_mnist(folder, *files)
    return DATASETS[name].use


def fetch(url: str, checksum: str, folder: Path) -> Path:
    """Download a file, unless it exists, and verify its checksum.

    A broken download is resumed. Raises the same errors as `download`."""
    target = folder / PurePosixPath(urllib.parse.urlsplit(url).path).name
    part = folder / f"{target.name}.part"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part.touch()
        _complete(url, part)
    path = target if target.exists() else part
    algorithm, expected = checksum.split(":")
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, algorithm).hexdigest()
    if found != expected:
        part.unlink(missing_ok=True)
        what = f"its {algorithm} checksum is {found}, but its publishers state {expected}"
        raise ValueError(f"{path.name} is not valid: {what}. Delete {path} if it exists; try again")
    return path.replace(target)


def _complete(url: str, part: Path) -> None:
    """Transfer the missing part of a file, retrying as long as some data arrive."""
    while True:
        before = part.stat().st_size
        try:
            _transfer(url, part)
            return
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "code", None) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # already complete; the checksum is verified later
            have = part.stat().st_size
            if have <= before:  # no progress, so retrying is pointless
                kept = f"{have:,} bytes are kept: run the same command again to resume"
                by_hand = f"Or download it with a browser and save it as {part.with_suffix('')}"
                message = f"cannot download {url} ({error}). {kept}. {by_hand}"
                raise ConnectionError(message) from error
            time.sleep(1)


def _transfer(url: str, part: Path) -> None:
    """Append the missing bytes to `part`; start again if the server does not support ranges."""
    have = part.stat().st_size
    with connect(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        have = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        total = have + int(response.headers.get("Content-Length", 0))
        bar = {"desc": part.stem, "initial": have, "total": total or None, **_BAR}
        with (
            part.open("ab" if have else "wb") as opened,
            tqdm.wrapattr(response, "read", **bar) as shown,
        ):
            shutil.copyfileobj(shown, opened, 1 << 20)
    if (came := part.stat().st_size) < total:
        raise ConnectionError(f"the connection ended after {came:,} of {total:,} bytes")


def connect(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Open an address; the server learns the name and version of this package."""
    agent = {"User-Agent": f"galaxymorph/{galaxymorph.__version__}"}
    request = urllib.request.Request(url, headers={**agent, **headers})
    return urllib.request.urlopen(request, timeout=30)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar file of plain files and folders.

    Raises `ValueError`, and unpacks nothing, if a member is a link, a device or lands elsewhere."""
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        for member in members:
            path = PurePosixPath(member.name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                what = f"member {member.name!r} may write outside the folder; nothing unpacked"
                raise ValueError(f"{archive} is not a safe archive: {what}")
        shown = tqdm(members, "unpacking", unit=" files", leave=False, **_BAR)
        opened.extractall(folder, shown, filter="data")


def _arrange_galaxy_mnist(folder: Path, train: Path, test: Path, archive: Path) -> None:
    """Sort the images into one folder per class; `classes` appears only when complete."""
    classes, part = folder / "classes", folder / "classes.part"
    if classes.exists():
        return
    shutil.rmtree(part, ignore_errors=True)
    images = part / "all"
    extract(archive, images)
    found = {path.name: path for path in images.rglob("*.jpg")}
    for name in GALAXY_MNIST:
        (part / name).mkdir()
    catalogue = pd.concat([pd.read_parquet(train), pd.read_parquet(test)])
    for file, label in catalogue[["filename", "label"]].itertuples(index=False):
        name = PurePosixPath(file).name
        found[name].rename(part / GALAXY_MNIST[label] / name)
    shutil.rmtree(images)
    part.rename(classes)

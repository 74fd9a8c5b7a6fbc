"""Fetch published data sets, checked and resumable."""

import hashlib
import http.client
import importlib.util
import shutil
import tarfile
import textwrap
import time
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

import galaxymorph
from galaxymorph import project
from galaxymorph.text import unknown


class Dataset(NamedTuple):
    """Nothing is downloaded without a checksum that its publishers state."""

    about: str
    files: dict[str, str]  # checksum by address: "sha256:..." or "md5:..."
    use: str  # what to do with them


_DROPBOX = "https://dl.dropboxusercontent.com/s"
_KAGGLE = """Kaggle wants an account and its own client:
  pip install kaggle
  accept the rules at https://www.kaggle.com/c/galaxy-zoo-the-galaxy-challenge/rules
  create a token as https://github.com/Kaggle/kaggle-api says, then for each FILE of
  images_training_rev1.zip, training_solutions_rev1.zip, images_test_rev1.zip (optional, unlabelled)
  kaggle competitions download -c galaxy-zoo-the-galaxy-challenge -p data/galaxy_zoo -f FILE
There is no need to unpack these zips.
galaxies: {name: galaxy_zoo, root: data/galaxy_zoo, crop: 212}"""
# Addresses and checksums as in the authors' packages astroNN and galaxy-datasets.
DATASETS: dict[str, Dataset] = {
    "galaxy10": Dataset(
        "Galaxy10 DECaLS: 17,736 galaxies of the DESI Legacy Surveys in ten classes, 256 px, 2.5 GB"
        " (Leung & Bovy; Galaxy Zoo)",
        {
            "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5": "sha256:"
            "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571"
        },
        "galaxies: {name: galaxy10, root: data/galaxy10/Galaxy10_DECals.h5}",
    ),
    "galaxy_mnist": Dataset(
        "GalaxyMNIST: 10,000 galaxies of DECaLS in four classes, labelled with confidence (Walmsley"
        " et al. 2022; Galaxy Zoo)",
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
# As its authors name the labels 0 to 3.
GALAXY_MNIST = ("smooth_round", "smooth_cigar", "edge_on_disk", "unbarred_spiral")
_BAR: dict[str, Any] = {"mininterval": 1, "delay": 1}  # of a progress bar


def info() -> str:
    """Say which data sets there are, and how each is used."""
    parts = {name: f"{each.about}\n{each.use}" for name, each in DATASETS.items()}
    return "\n\n".join(f"{name}\n{textwrap.indent(part, '  ')}" for name, part in parts.items())


def download(name: str, *, folder: Path | None = None) -> str:
    """Get a data set into `folder` (default: data/NAME in the project); return what to do next.

    Raises:
        ValueError: an unknown data set, or a wrong checksum.
        OSError: network or server failed; the message says how to go on.
    """
    if name not in DATASETS:
        raise ValueError(unknown("data set", name, DATASETS))
    folder = folder or project.root() / "data" / name
    if name == "galaxy_mnist" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError("GalaxyMNIST's labels are Parquet files; first: pip install pyarrow")
    files = [fetch(url, checksum, folder) for url, checksum in DATASETS[name].files.items()]
    if name == "galaxy_mnist":
        _arrange_galaxy_mnist(folder, *files)
    return DATASETS[name].use


def fetch(url: str, checksum: str, folder: Path) -> Path:
    """Download one file and check it, unless it is there and right; a download that broke off goes
    on where it stopped. Raises as `download` does."""
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
        what = f"the {algorithm} checksum {found}, but its publishers state {expected}"
        raise ValueError(f"{path.name} has {what}. Remove {path} if it is there, download it again")
    return path.replace(target)


def _complete(url: str, part: Path) -> None:
    """Transfer what is missing in `part`, again and again as long as anything comes."""
    while True:
        before = part.stat().st_size
        try:
            _transfer(url, part)
            return
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "code", None) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing; whether it is right, the checksum says
            have = part.stat().st_size
            if have <= before:  # else the line is shaky, but not dead
                kept = f"{have:,} bytes are kept: the same command goes on from there"
                by_hand = f"Or fetch it with a browser and save it as {part.with_suffix('')}"
                message = f"cannot download {url} ({error}). {kept}. {by_hand}"
                raise ConnectionError(message) from error
            time.sleep(1)


def _transfer(url: str, part: Path) -> None:
    """Append to `part` what is missing, or write it anew where the server sends no parts."""
    have = part.stat().st_size
    headers = {"User-Agent": f"galaxymorph/{galaxymorph.__version__}"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
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


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar file that holds nothing but files and folders, all of them inside of `folder`.
    Raises `ValueError`, and unpacks nothing, where a member may land elsewhere, or is a link or a
    device."""
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        for member in members:
            path = PurePosixPath(member.name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                what = f"its member {member.name!r} may write elsewhere. Nothing unpacked"
                raise ValueError(f"{archive} is not to be trusted: {what}")
        shown = tqdm(members, "unpacking", unit=" files", leave=False, **_BAR)
        opened.extractall(folder, shown, filter="data")


def _arrange_galaxy_mnist(folder: Path, train: Path, test: Path, archive: Path) -> None:
    """From catalogues and an archive to one folder per class, in one step at the end."""
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

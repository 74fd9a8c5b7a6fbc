"""Locate the project, name its folders, and write files atomically."""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*")  # a run or a step
JOB = re.compile(rf"{NAME.pattern}(/[^/\\]+)?")  # a step, or one combination of a repeated step
HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
PART = re.compile(r"\..*\.(\w{8})-(\d+)-\w{8}\.part")  # a file not yet complete: host and process
REMEDIES = {
    errno.ENOSPC: "Free some space there, then repeat the command",
    errno.EDQUOT: "Free some of your quota, then repeat the command",
    errno.EFBIG: "Choose a disk that takes files of this size, or raise `ulimit -f`",
    errno.EROFS: "Choose a folder on a disk that can be written to",
    errno.EACCES: "Make the folder writable for you, or choose another one",
    errno.EPERM: "Make the folder writable for you, or choose another one",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOTDIR: "A file has the name of this folder: rename it, or choose another folder",
    errno.EEXIST: "A file has the name of this folder: rename it, or choose another folder",
    errno.EISDIR: "A folder has this name: choose another name",
    errno.ELOOP: "Its links lead nowhere: remove them, or choose another name",
    errno.EMFILE: "Too many files are open: raise the limit with `ulimit -n 4096`",
}
_swept = set[Path]()  # folders without leftovers


def root() -> Path:
    """Return the project's folder: the nearest one upwards with `params.yaml` and `notebooks/`,
    else the checkout that this package is imported from, else the current folder."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "params.yaml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def model_file(run: str, step: str) -> Path:
    """Return `models/<run>/<step>.safetensors`."""
    return root() / "models" / run / f"{step}.safetensors"


class NotWritten(OSError):
    """A file or folder cannot be written; what was there before is unchanged."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the file system into `NotWritten`, which names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        why, number = error.strerror or str(error), error.errno
        if number is None and re.search(r"\d requested and \d+ written", why):  # NumPy's words
            number = errno.ENOSPC
        file = str(error.filename or path)
        elsewhere = not file.startswith(str(path.parent)) and not str(path).startswith(file)
        if elsewhere or number not in REMEDIES or isinstance(error, NotWritten):
            raise
        if number == errno.ENOSPC:
            there = next(parent for parent in path.parents if parent.exists())
            why = f"the disk is full ({shutil.disk_usage(there).free / 1e6:,.0f} MB free)"
        text = f"{path.parent}: cannot write {path.name}: {why}. {REMEDIES[number]}"
        raise NotWritten(f"{text}. Nothing is lost: what was there before is unchanged") from error


def temporary(path: Path) -> Path:
    """Return an unused hidden path beside `path`, and remove what killed processes left there."""
    if path.parent not in _swept:  # once per process: a folder may have many files
        _swept.add(path.parent)
        for left in path.parent.glob(".*.part"):
            made = PART.fullmatch(left.name)
            if made and made[1] == HOST and not _alive(int(made[2])):
                shutil.rmtree(left, ignore_errors=True)
                left.unlink(missing_ok=True)
    mark = f"{HOST}-{os.getpid()}-{secrets.token_hex(4)}"  # the name alone may be too long
    return path.with_name(f".{path.name[:40]}.{mark}.part")


def check_writable(path: Path) -> None:
    """Raise `NotWritten` if `path` cannot be written, before anything is computed for it."""
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = temporary(Path(os.path.realpath(path)))
        partial.touch()
        partial.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's
        pass
    return True


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` as a whole.

    Readers see the old or the new version, never a part, even after a power failure: files and
    their folder are flushed to the disk. After an error the old version stays. A folder made at
    the temporary path becomes the folder `path`; a link at `path` stays a link."""
    path = Path(os.path.realpath(path))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = temporary(path)
        try:
            yield partial
            for each in (*partial.rglob("*"), partial):
                _flush(each)
            partial.replace(path)
            with contextlib.suppress(OSError):  # some file systems cannot flush folders
                _flush(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file as a whole (`replacing`), text in UTF-8."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


class Locked(BlockingIOError):
    """Another process is writing to the same place."""


@contextlib.contextmanager
def locked(
    folder: Path,
    name: str = ".lock",
    *,
    why: str = "another process is executing this run; --run NAME starts a separate one",
    wait: bool = False,
) -> Iterator[None]:
    """Create a folder and lock the file `name` in it, which is removed at the end.

    If another process, or thread, holds the lock, `wait` for it or raise `Locked`, saying `why`.
    The lock is released when the process ends, however it ends."""
    path, done = folder / name, False
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    while not done:
        with contextlib.ExitStack() as stack:
            with writing(path):
                lock = stack.enter_context(path.open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Locked(f"{folder}: {why}") from None
            with contextlib.suppress(FileNotFoundError):  # its last holder has just removed it
                done = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            if done:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file or folder to `<name>.damaged`, and warn."""
    aside = path.with_name(f"{path.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    path.replace(aside)
    warnings.warn(f"{path}: {why}; renamed to {aside.name}", stacklevel=2)


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file, or an empty dict if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, with arrays as lists and other unknown types as text."""
    write(path, json.dumps(value, indent=2, default=plain) + "\n")


def plain(value: Any) -> Any:
    """Convert NumPy and torch scalars and arrays to Python values, anything else to text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def existing_model(path: Path | str) -> Path:
    """Return the path of a model file. Raises `FileNotFoundError` that says how to make it."""
    if not Path(path).is_file():
        todo = "if a step trains it, run that step first"
        raise FileNotFoundError(f"{path}: no such model file; {todo}")
    return Path(path)


def existing(path: Path) -> Path:
    """Return the path. Raises `FileNotFoundError` that names the closest existing parent."""
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        raise FileNotFoundError(f"{path} does not exist; its closest existing parent is {parent}")
    return path

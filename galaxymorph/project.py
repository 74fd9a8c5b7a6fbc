"""Locate the project, name its folders, and write files atomically."""

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import secrets
import shutil
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
PART = re.compile(r"\..*\.(\w{8})-(\d+)-\w{8}\.part")  # a file not yet complete: host and process
OTHER = "Make the folder writable for you, or choose another one"
RENAME = "Rename it, or choose another folder"
LIMITS = {  # of a machine: what happened, and what to do
    errno.ENOSPC: ("the disk is full", "Free some space there, then repeat the command"),
    errno.EDQUOT: ("the quota of this disk is used up", "Free some of it, then repeat the command"),
    errno.EFBIG: ("the file would be larger than allowed", "Raise the limit with `ulimit -f`"),
    errno.EROFS: ("this disk is read-only", "Choose a folder on a disk that can be written to"),
    errno.EACCES: ("permission denied", OTHER),
    errno.EPERM: ("not permitted", OTHER),
    errno.ENAMETOOLONG: ("the name or the path is too long", "Choose a shorter name"),
    errno.ENOTDIR: ("a file has the name of this folder", RENAME),
    errno.EEXIST: ("a file has the name of this folder", RENAME),
    errno.EISDIR: ("it is a folder", "Choose another name"),
    errno.ELOOP: ("a loop of symbolic links", "Remove it, or choose another name"),
    errno.EMFILE: (
        "too many open files",
        "Use fewer --jobs, or `ulimit -n 4096`",
    ),
    errno.ENFILE: ("too many open files on this machine", "Close other programs"),
    errno.EIO: ("the disk reports an error", "Check it"),
    errno.ENOMEM: ("not enough memory", "Close other programs, or use fewer --jobs"),
}
# the model in the package, made by `galaxymorph build-model`
BUNDLED = Path(__file__).parent / "learning" / "assets" / "mock_cnn.safetensors"
_swept = set[Path]()  # folders without leftovers

BOUNDS = {  # of what is read, against files that fill the memory
    "megapixels": 50,  # of one image
    "image_mb": 500,  # of an image file, unpacked
    "image_size": 4096,  # side of a model's images, in px
    "table_mb": 1000,  # of a table, unpacked
    "archive_mb": 1000,  # of a zip, unpacked, unless it shrank less than a hundred times
}
RAISED = "GALAXYMORPH_LIMITS"  # environment variable with other bounds

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # a run or a step
# a step, or one combination of a repeated step
JOB = re.compile(rf"{NAME.pattern}(/[^/\\\s.][^/\\\x00-\x1f]*)?")
LETTERS = "letters, digits, '.', '_' and '-' (at most 100, the first a letter or digit, no '..')"
RESERVED = {"reference", "report", "tune", "unfinished", "plan.json", "index.html", "readme.md"}
RESERVED |= {"explorer.html"}
RESERVED |= {"con", "nul", "prn", "aux"}  # by Windows


def misnamed(name: object) -> str:
    """Return why this cannot be the name of a run or a step; empty if it can."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"expected a name of {LETTERS}, found {name!r}"
    return f"the name {name!r} is reserved; choose another" if name.lower() in RESERVED else ""


def bounds() -> dict[str, int | float]:
    """Return the bounds of what is read: `BOUNDS`, and others in the environment variable
    GALAXYMORPH_LIMITS, such as "megapixels=200 table_mb=5000".

    Raises `ValueError` for anything else in it."""
    return BOUNDS | _given(os.environ.get(RAISED, ""))


def _given(text: str) -> dict[str, int | float]:
    found = dict[str, int | float]()
    for pair in re.split(r"[\s,]+", text.strip(" ,")) if text.strip(" ,") else ():
        name, _, number = pair.partition("=")
        if name not in BOUNDS or not re.fullmatch(r"\d+(\.\d*)?([eE]\+?\d)?", number):
            wanted = f"expected NAME=NUMBER, with {', '.join(BOUNDS)}"
            raise ValueError(f"{RAISED}: {pair!r}: {wanted}, such as megapixels=200")
        found[name] = float(number)
    return found


def bounded(name: str, size: int | float) -> str:
    """Return how to raise a bound if `size` is above it; empty if it is not."""
    if size <= bounds()[name]:
        return ""
    new = _given(os.environ.get(RAISED, "")) | {name: math.ceil(size)}
    setting = " ".join(f"{key}={number:g}" for key, number in new.items())
    return f"the limit is {name}={bounds()[name]:g}; to raise it, set {RAISED}='{setting}'"


def run_folder(run: str) -> Path:
    """Return `results/<run>`. Raises `ValueError` if this is not the name of a run."""
    if why := misnamed(run):
        raise ValueError(f"not a valid name of a run: {why}")
    return root() / "results" / run


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
def writing(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn errors of the file system into `NotWritten`, which names `path` and says what to do.

    If the bytes that are `needed` are known, a full disk is noticed before anything is written."""
    try:
        if needed and 0 < free(path) < needed:  # some file systems say 0 for unknown
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        yield
    except OSError as error:
        number = error.errno
        # NumPy does not give the number.
        if number is None and re.search(r"\d requested and \d+ written", str(error)):
            number = errno.ENOSPC
        file = str(error.filename or path)
        elsewhere = not file.startswith(str(path.parent)) and not str(path).startswith(file)
        if elsewhere or number not in LIMITS or isinstance(error, NotWritten):
            raise
        why, todo = _said(number, path, needed)
        text = f"{path.parent}: cannot write {path.name}: {why}. {todo}"
        raise NotWritten(f"{text}. Nothing is lost: what was there before is unchanged") from error


def trouble(error: OSError) -> str:
    """Say in words what stopped a command: a full disk, a read-only folder, too many open files."""
    file = f"{error.filename}: " if error.filename else ""
    if error.errno is None:
        return str(error)  # ours
    if error.errno not in LIMITS:
        return f"{file}{error.strerror or error}"
    why, todo = _said(error.errno, Path(error.filename) if error.filename else None)
    return f"{file}{why}. {todo}. Nothing is lost: finished results are kept"


def _said(number: int, path: Path | None, needed: int = 0) -> tuple[str, str]:
    why, todo = LIMITS[number]
    wanted = f"{needed / 1e6:,.1f} MB needed" if needed else ""
    if number in (errno.ENOSPC, errno.EDQUOT) and path:
        wanted = ", ".join(filter(None, [wanted, f"{free(path) / 1e6:,.1f} MB free"]))
    elif number != errno.EFBIG:
        wanted = ""
    return f"{why} ({wanted})" if wanted else why, todo


def free(path: Path) -> int:
    """Return the free bytes on the disk of a path, which need not exist yet."""
    return shutil.disk_usage(next(p for p in (path, *path.absolute().parents) if p.exists())).free


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
def replacing(path: Path, *, needed: int = 0, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` as a whole.

    Readers see the old or the new version, never a part, even after a power failure: files and
    their folder are flushed to the disk. After an error the old version stays. A folder made at
    the temporary path becomes the folder `path`; a link at `path` stays a link.

    Args:
        needed: bytes that will be written, if known.
        flush: whether it must survive a power failure, as all results must."""
    path = Path(os.path.realpath(path))
    with writing(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = temporary(path)
        try:
            yield partial
            for each in (*partial.rglob("*"), partial) if flush else ():
                _flush(each)
            partial.replace(path)
            with contextlib.suppress(OSError):  # some file systems cannot flush folders
                if flush:
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


def write(path: Path, content: str | bytes | memoryview, *, flush: bool = True) -> None:
    """Write a file as a whole (`replacing`), text in UTF-8."""
    content = content.encode() if isinstance(content, str) else content
    with replacing(path, needed=memoryview(content).nbytes, flush=flush) as partial:
        partial.write_bytes(content)


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


def write_json(path: Path, value: Any, *, flush: bool = True) -> None:
    """Write a JSON file atomically, with arrays as lists and other unknown types as text."""
    write(path, json.dumps(value, indent=2, default=plain) + "\n", flush=flush)


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

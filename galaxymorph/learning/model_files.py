"""Model files, safetensors with a header for their use, and weights published without a header."""

import hashlib
import json
import textwrap
import urllib.error
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import galaxymorph
from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.learning.architectures import SMALLEST

SIDES = f"{SMALLEST} to {project.BOUNDS['image_size']:,} px, or image_size in {project.RAISED}"


def _encoder(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(name := value.get("name"), str):
        return False
    new = not name.endswith(".safetensors") and not name.startswith("pretrained/")
    return new and not {"weights", "freeze"} & set(value) and _side(value.get("size") or SMALLEST)


def _side(value: Any) -> bool:
    return type(value) is int and SMALLEST <= value <= project.bounds()["image_size"]


def _cutout(value: Any) -> bool:
    crop = value.get("crop") if isinstance(value, dict) else 0
    return crop in (None, "auto") or (type(crop) is int and crop > 0)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


# entries of a header: their check, and what is expected
ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "encoder": (_encoder, "the name and options of an encoder"),
    "image_size": (_side, SIDES),
    "cutout": (_cutout, "a mapping with a crop: positive px, auto or null"),
    "classes": (lambda v: _texts(v) and 0 < len(v) == len(set(v)), "names, each once"),
    "answers": (lambda v: v == [*galaxy_zoo_tree.COLUMNS], "the 37 answers of the Galaxy Zoo tree"),
    "head": (lambda v: isinstance(v, dict), "the options of a head"),
    "seen": (_texts, "a list of ids"),
    "seen_labels": (_texts, "a list of ids"),
    "seen_surveys": (
        lambda v: isinstance(v, list) and all(type(each) is int for each in v),
        "a list of seeds",
    ),
}


Model = TypeVar("Model", bound=nn.Module)
DRAWN = {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_}
DRAWN |= {nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.trunc_normal_}


class Unavailable(OSError):
    """Published weights that cannot be downloaded."""


def save(
    path: Path | str,
    model: nn.Module,
    *,
    sample: Any,
    learned_from: Iterable[str],
    labels: bool,
    part: str | None = None,
    **more: Any,
) -> None:
    """Write a trained model to `path`, with the header that every use of the file relies on.

    Args:
        sample: galaxies of the training data set, with `images` and `cutout`.
        learned_from: ids of the training galaxies, added to the encoder's `seen`.
        labels: whether labels or votes were used; the ids are then added to `seen_labels`, too.
        part: name of the submodule to keep; None for the whole model.
        more: further header entries, such as `classes`, `answers`, `head` and `decoder`.

    Raises `TypeError` for a model without an `encoder` (`encoders.Encoder`)."""
    network: Any = getattr(model, "encoder", None)
    if network is None:
        advice = "build it on encoders.encoder, or leave the model file out"
        raise TypeError(f"{type(model).__name__} has no attribute 'encoder': {advice}")
    ids = {str(name) for name in learned_from}
    header = {"encoder": network.options, "normalisation": network.normalisation}
    header |= {"image_size": sample.images.shape[-1], "cutout": sample.cutout}
    header |= {"seen": sorted(network.seen | ids)}
    header |= {"seen_labels": sorted(network.seen_labels | (ids if labels else set()))}
    header |= {"seen_surveys": sorted(network.seen_surveys)}
    module = nn.ModuleDict({part: getattr(model, part)}) if part else model
    write(path, module, **header, **more)


def of_surveys(ids: Iterable[str], seeds: Iterable[int]) -> set[str]:
    """Return the ids of galaxies in the mock surveys with these seeds."""
    starts = tuple(f"mock-{seed}-" for seed in seeds)
    return {id for id in ids if id.startswith(starts)}


def write(path: Path | str, module: nn.Module, **header: Any) -> None:
    """Write weights and a header of plain values, with version and checksum, as a whole."""
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    header = {"galaxymorph": galaxymorph.__version__, **header}
    header["checksum"] = _checksum(header, state)
    about = {"header": json.dumps(header)}
    project.write(Path(path), safetensors.torch.save(state, metadata=about))


def _checksum(header: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Hash the weights and all entries of the header but the checksum."""
    rest = {key: value for key, value in header.items() if key != "checksum"}
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the state dict and header as `read` does; the header's entries are checked.

    Raises `ValueError` without a header, or for entries that no training writes."""
    state, header = read(path)
    if header is None:
        wanted = "expected a file written by galaxymorph.learning.model_files.save"
        raise ValueError(f"{path}: weights without a header; {wanted}")
    for key, (fits, wanted) in ENTRIES.items():
        if key in header and not fits(header[key]):
            value = textwrap.shorten(repr(header[key]), 100, placeholder=" ...")
            raise ValueError(f"{path}: not a valid header: {key} is {value}, expected {wanted}")
    return state, header


def read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read the state dict of a file and its header (None for weights published elsewhere).

    Accepts safetensors, and tensors written by `torch.save` (`.pth`), without running code in the
    file. Raises `FileNotFoundError`, or `ValueError` for any other file, for one that has changed
    since `write` (files of version 0.2 and before have no checksum), and for weights that are not
    finite."""
    path, header = project.existing_model(path), None
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
            state = safetensors.torch.load_file(path)
            header = json.loads(about["header"]) if "header" in about else None
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{path}: not a valid model file: {error}") from error
        if not isinstance(header, dict | None):
            raise ValueError(f"{path}: not a valid header: expected a mapping")
        if header and header.get("checksum", "") not in ("", _checksum(header, state)):
            why = "it has changed since it was written; train the model again, or copy it again"
            raise ValueError(f"{path}: not a valid model file: {why}")
    else:
        state = unpickled(path, "model file")
        state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        wanted = "expected a mapping from parameter names to tensors"
        raise ValueError(f"{path}: not a valid model file: {wanted}")
    for name, value in state.items():
        if not value.is_floating_point() or value.itemsize == 1 or value.sum().isfinite():
            continue  # a sum is quick, and finite only if all values are
        if not value.isfinite().all():
            raise ValueError(f"{path}: not valid weights: {name} has values that are not finite")
    return state, header


def unpickled(path: Path, thing: str) -> Any:
    """Return the tensors and plain values that `torch.save` wrote, on the CPU.

    No code in the file is run. Checksums of its parts are compared. Raises `ValueError`."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"its part {damaged} is damaged")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions of pickle
            return torch.load(path, map_location="cpu", weights_only=True)
    except (PermissionError, zipfile.BadZipFile) as error:
        why = str(error)
    except Exception:  # of many types; torch's message would advise to run the code in the file
        wanted = "expected only tensors and plain values, as written by torch.save"
        why = (
            f"{wanted}; it is damaged or of another kind" if path.stat().st_size else "it is empty"
        )
        if path.suffix == ".ckpt":
            why += ". If other objects are in it and you trust it, save its state_dict alone"
    raise ValueError(f"{path}: not a valid {thing}: {why}")


class Undrawn(TorchFunctionMode):
    """Within this context, modules are made without drawing their random initial weights.

    They hold whatever was in memory: for weights that are read from a file afterwards."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DRAWN:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def filled(
    make: Callable[[], Model], state: Mapping[str, Tensor], path: Path | str, header: dict[str, Any]
) -> Model:
    """Make the model that a header describes, with the weights of its file.

    With options of size, a header may describe a model of any size: it is first made on the device
    "meta", which needs no memory. Raises `ValueError` that names the file if it cannot be made."""
    try:
        sized = not {"channels", "latent", "image_size"}.isdisjoint(header["encoder"])
        with torch.device("meta" if sized else "cpu"):
            model = make()
        wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        for name in wanted | found:
            if found.get(name) != wanted.get(name):
                shapes = f"{name} has the shape {found.get(name)}, expected {wanted.get(name)}"
                raise ValueError(f"the weights do not match the model in the header: {shapes}")
        model = make() if sized else model
        model.load_state_dict(state)
    except Exception as error:  # of many types, for options of any type
        raise ValueError(f"{path}: not a valid model file: {error}") from error
    return model


def fetch(url: str) -> dict[str, Tensor]:
    """Download a state dict, or read it from torch's cache.

    The file's name contains its checksum (`resnet18-f37072fd.pth`); a cached file with another one
    is set aside. Raises `Unavailable` if it is neither cached nor downloadable, `ValueError` for a
    wrong checksum."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if cached.is_file():
        with cached.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(cached.stem.rpartition("-")[2]):
            project.set_aside(cached, "the downloaded file is damaged")
    how = {"map_location": "cpu", "check_hash": True, "weights_only": True}
    try:
        return torch.hub.load_state_dict_from_url(url, **how)
    except urllib.error.HTTPError as error:
        raise Unavailable(f"weights not available: {url} ({error})") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"weights not available offline: {url} ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"{url}: the downloaded file is not the expected one ({error})") from error

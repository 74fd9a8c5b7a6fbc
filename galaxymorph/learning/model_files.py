"""Model files: weights with a header that says everything needed to use them alone. Safetensors,
never a pickle. And weights of others, which have no header."""

from __future__ import annotations

import json
import pickle
import urllib.error
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import safetensors
import safetensors.torch
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

import galaxymorph


class Unavailable(OSError):
    """Published weights that would have to be downloaded, and cannot be."""


@runtime_checkable
class Sample(Protocol):
    """Galaxies as `save` needs them, without knowing where they come from."""

    images: UInt8[Tensor, "galaxy 3 size size"]
    cutout: dict[str, Any]


def save(
    path: Path | str,
    model: nn.Module,
    *,
    sample: Sample,
    learned_from: Iterable[str],
    labels: bool,
    part: str | None = None,
    **more: Any,
) -> None:
    """Write a trained model to `path`, with the header that every use of the file relies on.

    Args:
        path: of the file, which is replaced in one go.
        model: its `encoder` says how to build it, how it normalises images, and which galaxies it
            was trained on before.
        sample: the galaxies that it was trained on, or others of the same data set.
        learned_from: ids of the galaxies that it was trained on; they are added to `seen`.
        labels: whether it was told their labels or votes; they are then in `seen_labels`, too.
        part: the name of the submodule to keep; None: the whole model.
        more: what else is needed to build or use it: `classes`, `answers`, `head`, `decoder`.
    """
    network: Any = model.encoder
    ids = {str(name) for name in learned_from}
    write(
        path,
        nn.ModuleDict({part: getattr(model, part)}) if part else model,
        encoder=network.options,
        image_size=sample.images.shape[-1],
        cutout=sample.cutout,
        normalisation=network.normalisation,
        seen=sorted(network.seen | ids),
        seen_labels=sorted(network.seen_labels | (ids if labels else set())),
        **more,
    )


def write(path: Path | str, module: nn.Module, **header: Any) -> None:
    """Write the parameters and buffers of a module and a header of plain values to `path`,
    replacing it in one go. The package's version is added to the header."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    text = json.dumps({"galaxymorph": galaxymorph.__version__, **header})
    partial = path.with_name(f".{path.name}.partial")
    safetensors.torch.save_file(state, partial, metadata={"header": text})
    partial.replace(path)


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict and the header of a model file. Raises `FileNotFoundError`, or `ValueError`
    naming a file that is none of ours."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: there is no such model file; the step that trains it has to be run first"
        )
    wanted = "expected a model file as galaxymorph.learning.model_files.save writes it"
    try:
        header = _header(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a model file ({error}); {wanted}") from error
    if header is None:
        raise ValueError(f"{path}: weights without a header; {wanted}")
    return safetensors.torch.load_file(path), json.loads(header)


def is_model(path: Path | str) -> bool:
    """Whether a file is one of this package's, with a header."""
    try:
        return _header(path) is not None
    except (safetensors.SafetensorError, OSError):
        return False


def _header(path: Path | str) -> str | None:
    with safetensors.safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("header")


def read(path: Path | str) -> dict[str, Tensor]:
    """The state dict in a file of others: safetensors, or what `torch.save` writes of tensors
    (`.pth`; no code in it is run). Raises `FileNotFoundError`, or `ValueError` naming the file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file of weights")
    unreadable = (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError)
    try:
        if Path(path).suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (*unreadable, OSError) as error:
        raise ValueError(f"{path}: not a file of weights ({str(error).splitlines()[0]})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise ValueError(
            f"{path}: not a file of weights; expected tensors by the names of a network's "
            "parameters"
        )
    return state


def fetch(url: str) -> dict[str, Tensor]:
    """The state dict at an address whose file name holds its checksum (`resnet18-f37072fd.pth`),
    kept in torch's own cache.

    Raises `Unavailable` where there is no network and nothing in the cache, `ValueError` for a file
    with another checksum."""
    how = {"map_location": "cpu", "check_hash": True, "weights_only": True}
    try:
        return torch.hub.load_state_dict_from_url(url, **how)
    except urllib.error.HTTPError as error:
        raise Unavailable(f"weights not available: {url} ({error})") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"weights not available offline: {url} ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"{url}: the downloaded file is not the expected one ({error})") from error

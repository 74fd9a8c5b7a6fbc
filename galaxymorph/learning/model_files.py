"""Model files: weights with a header that says everything needed to use them alone. Safetensors,
never a pickle. And weights of others, which have no header."""

from __future__ import annotations

import json
import pickle
import urllib.error
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import galaxymorph


class Unavailable(OSError):
    """Published weights that would have to be downloaded, and cannot be."""


def save(path: Path | str, module: nn.Module, **header: Any) -> None:
    """Writes the module's parameters and buffers and a `header` of plain values to `path`,
    replacing it in one go.

    What belongs into the header: how to build the module (`encoder`, its options), the classes or
    answers, the image size in pixels, the normalisation, and the ids of the galaxies that it was
    trained on (`seen`) and told the labels of (`seen_labels`). The package's version is added."""
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

"""Model files, safetensors with a header for their use, and weights published without a header."""

import json
import pickle
import urllib.error
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import galaxymorph
from galaxymorph import project

# raised by the libraries for files that they cannot read
UNREADABLE = (safetensors.SafetensorError, OSError, pickle.UnpicklingError, EOFError, RuntimeError)


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
    module = nn.ModuleDict({part: getattr(model, part)}) if part else model
    write(path, module, **header, **more)


def write(path: Path | str, module: nn.Module, **header: Any) -> None:
    """Write weights and a header of plain values, with the package's version, atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    text = json.dumps({"galaxymorph": galaxymorph.__version__, **header})
    partial = path.with_name(f".{path.name}.partial")
    safetensors.torch.save_file(state, partial, metadata={"header": text})
    partial.replace(path)


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the state dict and header as `read` does, or raise `ValueError` without a header."""
    state, header = read(path)
    if header is None:
        wanted = "expected a file written by galaxymorph.learning.model_files.save"
        raise ValueError(f"{path}: weights without a header; {wanted}")
    return state, header


def read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read the state dict of a file and its header (None for weights published elsewhere).

    Accepts safetensors, and tensors written by `torch.save` (`.pth`), without running code in the
    file. Raises `FileNotFoundError`, or `ValueError` for any other file."""
    project.existing_model(path)
    try:
        if Path(path).suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get("header")
            return safetensors.torch.load_file(path), header and json.loads(header)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).partition(". ")[0]  # torch then advises to run its code
        raise ValueError(f"{path}: not a valid model file: {reason}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        wanted = "expected a mapping from parameter names to tensors"
        raise ValueError(f"{path}: not a valid model file: {wanted}")
    return state, None


def fetch(url: str) -> dict[str, Tensor]:
    """Download a state dict, or read it from torch's cache.

    The file's name contains its checksum (`resnet18-f37072fd.pth`). Raises `Unavailable` if it is
    neither cached nor downloadable, `ValueError` for a wrong checksum."""
    how = {"map_location": "cpu", "check_hash": True, "weights_only": True}
    try:
        return torch.hub.load_state_dict_from_url(url, **how)
    except urllib.error.HTTPError as error:
        raise Unavailable(f"weights not available: {url} ({error})") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"weights not available offline: {url} ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"{url}: the downloaded file is not the expected one ({error})") from error

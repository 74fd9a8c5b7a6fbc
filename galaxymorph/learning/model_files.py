"""Model files: weights with a header that says all that is needed to use them, as safetensors; and
weights of others, which have no header."""

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

# what the libraries raise of a file that they cannot read
UNREADABLE = (safetensors.SafetensorError, OSError, pickle.UnpicklingError, EOFError, RuntimeError)


class Unavailable(OSError):
    """Published weights that would have to be downloaded, and cannot be."""


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
        sample: the galaxies that it was trained on, or others of the same data set, with `images`
            and `cutout`.
        learned_from: ids of the galaxies that it was trained on; they join the encoder's `seen`.
        labels: whether it was told their labels or votes; they then join `seen_labels`, too.
        part: the name of the submodule to keep; None: the whole model.
        more: what else is needed to build or use it: `classes`, `answers`, `head`, `decoder`."""
    network: Any = model.encoder
    ids = {str(name) for name in learned_from}
    header = {"encoder": network.options, "normalisation": network.normalisation}
    header |= {"image_size": sample.images.shape[-1], "cutout": sample.cutout}
    header |= {"seen": sorted(network.seen | ids)}
    header |= {"seen_labels": sorted(network.seen_labels | (ids if labels else set()))}
    module = nn.ModuleDict({part: getattr(model, part)}) if part else model
    write(path, module, **header, **more)


def write(path: Path | str, module: nn.Module, **header: Any) -> None:
    """Write a module's weights and a header of plain values, with the package's version, to `path`,
    replacing it in one go."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    text = json.dumps({"galaxymorph": galaxymorph.__version__, **header})
    partial = path.with_name(f".{path.name}.partial")
    safetensors.torch.save_file(state, partial, metadata={"header": text})
    partial.replace(path)


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the state dict and the header of a model file. Raises as `read` does, and `ValueError`
    for weights of others."""
    state, header = read(path)
    if header is None:
        wanted = "expected a model file as galaxymorph.learning.model_files.save writes it"
        raise ValueError(f"{path}: weights without a header; {wanted}")
    return state, header


def read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read the state dict of a model file and its header, or of a file of others, which has none:
    safetensors, or what `torch.save` writes of tensors (`.pth`; no code in it is run). Raises
    `FileNotFoundError`, or `ValueError` for a file that is neither."""
    if not Path(path).is_file():
        todo = "if a step trains it, that has to be run first"
        raise FileNotFoundError(f"{path}: there is no such model file; {todo}")
    try:
        if Path(path).suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get("header")
            return safetensors.torch.load_file(path), header and json.loads(header)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).partition(". ")[0]  # torch goes on with advice to run its code
        raise ValueError(f"{path}: not a model file ({reason})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        wanted = "expected tensors by the names of a network's parameters"
        raise ValueError(f"{path}: not a model file; {wanted}")
    return state, None


def fetch(url: str) -> dict[str, Tensor]:
    """Download the state dict of a file whose name holds its checksum (`resnet18-f37072fd.pth`), or
    take it from torch's own cache.

    Raises `Unavailable` where neither is possible, `ValueError` for another checksum."""
    how = {"map_location": "cpu", "check_hash": True, "weights_only": True}
    try:
        return torch.hub.load_state_dict_from_url(url, **how)
    except urllib.error.HTTPError as error:
        raise Unavailable(f"weights not available: {url} ({error})") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"weights not available offline: {url} ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"{url}: the downloaded file is not the expected one ({error})") from error

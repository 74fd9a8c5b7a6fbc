"""Model files: weights with a header that says everything needed to use them alone. Safetensors, never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

import galaxymorph


def save(path: Path | str, module: nn.Module, **header: Any) -> None:
    """Writes the module's parameters and buffers and a `header` of plain values to `path`, replacing it in one go.

    What belongs into the header: how to build the module (`encoder`, its options), the classes or answers, the image size in
    pixels, the normalisation, and the ids of the galaxies that it was trained on (`seen`) and told the labels of
    (`seen_labels`). The package's version is added.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    text = json.dumps({"galaxymorph": galaxymorph.__version__, **header})
    partial = path.with_name(f".{path.name}.partial")
    safetensors.torch.save_file(state, partial, metadata={"header": text})
    partial.replace(path)


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict and the header of a model file. Raises `ValueError` naming the file if it is none of ours."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such model file; the step that trains it has to be run first")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a model file ({error}); expected one as galaxymorph.weights.save writes it") from error
    if "header" not in metadata:
        raise ValueError(f"{path}: weights without a header; expected a model file as galaxymorph.weights.save writes it")
    return safetensors.torch.load_file(path), json.loads(metadata["header"])

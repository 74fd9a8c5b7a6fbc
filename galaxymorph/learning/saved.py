"""Load a trained model, ready for use."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from galaxymorph.learning import encoders, model_files
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.device import device
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.learning.votes_and_classes import VotesAndClasses


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load the learner of a model file, in eval mode and on the GPU if available, and the header.

    A model trained without labels becomes a module with only an `encoder`. Raises
    `FileNotFoundError`, or `ValueError` if header and weights do not match."""
    state, header = model_files.load(path)
    missing = [key for key in ("encoder", "image_size") if key not in header]
    if missing:
        lacks = f"its header lacks {' and '.join(missing)}"
        raise ValueError(f"{path}: {lacks}; expected a file written by a training step")
    if "classes" not in header and "answers" not in header:
        state = {key: value for key, value in state.items() if key.startswith("encoder.")}

    def make() -> nn.Module:
        encoder = encoders.encoder(**header["encoder"])
        if "answers" in header:
            if "classes" in header:
                return VotesAndClasses(encoder, classes=header["classes"], **header["head"])
            return VoteRegressor(encoder, **header["head"])
        if "classes" in header:
            return Classifier(encoder, classes=len(header["classes"]))
        return nn.ModuleDict({"encoder": encoder})

    with model_files.Undrawn():
        learner = model_files.filled(make, state, path, header)
    return learner.eval().to(device()).to(memory_format=torch.channels_last), header

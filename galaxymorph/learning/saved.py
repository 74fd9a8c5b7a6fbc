"""Load a trained model, ready for use."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from galaxymorph.learning import encoders, model_files
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.device import device
from galaxymorph.learning.votes import VoteRegressor


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load the learner of a model file, in eval mode and on the GPU if available, and the header.

    A model trained without labels becomes a module with only an `encoder`. Raises
    `FileNotFoundError`, or `ValueError` if header and weights do not match."""
    state, header = model_files.load(path)
    missing = [key for key in ("encoder", "image_size") if key not in header]
    if missing:
        lacks = f"its header lacks {' and '.join(missing)}"
        raise ValueError(f"{path}: {lacks}; expected a file written by a training step")
    encoder = encoders.encoder(**header["encoder"])
    if "classes" in header:
        learner = Classifier(encoder, classes=len(header["classes"]))
    elif "answers" in header:
        learner = VoteRegressor(encoder, **header["head"])
    else:
        learner = nn.ModuleDict({"encoder": encoder})
        state = {key: value for key, value in state.items() if key.startswith("encoder.")}
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        wrong = "the weights do not match the model described in the header"
        raise ValueError(f"{path}: {wrong}: {error}") from error
    return learner.eval().to(device()).to(memory_format=torch.channels_last), header

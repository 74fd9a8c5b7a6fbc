"""The learner of a model file, ready for use."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from galaxymorph.learning import encoders, model_files
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.device import device
from galaxymorph.learning.votes import VoteRegressor


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load the learner of a model file, in eval mode and on the GPU where there is one, and the
    header: a `Classifier` or a `VoteRegressor`; of a model that learned without labels, a module
    that has an `encoder` only.

    Raises `FileNotFoundError`, or `ValueError` where file, header and weights do not fit."""
    state, header = model_files.load(path)
    missing = [key for key in ("encoder", "image_size") if key not in header]
    if missing:
        lacks = f"its header lacks {' and '.join(missing)}"
        raise ValueError(f"{path}: {lacks}; expected a file of a training step of this package")
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
        wrong = "the weights are not those of the model in its header"
        raise ValueError(f"{path}: {wrong}: {error}") from error
    return learner.eval().to(device(), memory_format=torch.channels_last), header  # pyright: ignore[reportCallIssue]

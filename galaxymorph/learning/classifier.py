"""Classifiers: an encoder, or fully connected layers on features, and a head."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import Features, Mean
from galaxymorph.learning.protocols import EncoderLike

Inputs = Float[Tensor, "galaxy ..."]  # images in [0, 1]; features if the encoder is a DNN
Outputs = Float[Tensor, "galaxy output"]
Classes = Int[Tensor, " galaxy"]


class Headed(nn.Module):
    """An encoder with a head; subclasses define `measures`."""

    encoder: EncoderLike
    head: nn.Module

    def forward(self, images: Inputs) -> Outputs:
        """Compute the head's raw outputs, such as logits."""
        return self.head(self.encoder(images))

    def stages(self) -> list[list[nn.Module]]:
        """Return the encoder's stages and the head, for `layer_decay` of `train.fit`."""
        return [*self.encoder.stages(), [self.head]]  # pyright: ignore[reportAttributeAccessIssue]

    def measures(self, images: Inputs, targets: Tensor) -> dict[str, Mean]:
        raise NotImplementedError

    def loss(self, images: Inputs, targets: Tensor) -> Mean:
        return self.measures(images, targets)["loss"]


class Classifier(Headed):
    """An encoder with dropout and a linear head for a number of `classes`.

    Trained with cross-entropy, with `class_weights` (for example `balanced_weights`) and
    `label_smoothing` (Szegedy et al. 2016, arXiv 1512.00567, section 7)."""

    class_weights: Tensor | None

    def __init__(
        self,
        encoder: EncoderLike,
        *,
        classes: int,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: Float[Tensor, " class"] | None = None,
    ):
        super().__init__()
        self.encoder, self.label_smoothing = encoder, label_smoothing
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.num_features, classes))
        self.register_buffer("class_weights", class_weights, persistent=False)  # for training only

    def start_from(
        self, state: Mapping[str, Tensor], header: Mapping[str, Any], classes: Sequence[str]
    ) -> None:
        """Load the head of a trained model (`model_files.load`) for the same `classes`; raise
        `ValueError` for others. If it has been calibrated, so are the logits."""
        if (theirs := header.get("classes")) != list(classes):
            found = f"those of its head are {theirs}" if theirs else "it has no head for classes"
            raise ValueError(f"cannot start from the model file: {found}, not {list(classes)}")
        start = "class_head" if "class_head.weight" in state else "head.1"
        weight, bias = state[f"{start}.weight"].float(), state[f"{start}.bias"].float()
        scale, offset = state.get("temperature", 1), state.get("offset", 0)
        linear = {"1.weight": weight / scale, "1.bias": bias / scale + offset}
        self.head.load_state_dict(linear)

    def predict(self, images: Inputs) -> Outputs:
        """Compute class probabilities."""
        return self(images).float().softmax(1)

    def measures(self, images: Inputs, targets: Classes) -> dict[str, Mean]:
        return self.judge(self(images).float(), targets)

    def judge(self, logits: Outputs, targets: Classes) -> dict[str, Mean]:
        """Compute cross-entropy (weighted and smoothed only in training mode) and accuracy."""
        shaped = {}
        if self.training:
            shaped = {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
        accuracy = (logits.argmax(1) == targets).float().mean()
        return {"loss": functional.cross_entropy(logits, targets, **shaped), "accuracy": accuracy}


def balanced_weights(labels: Classes, n_classes: int) -> Float[Tensor, " class"]:
    """Return weights n / (n_classes * n_in_class); raise `ValueError` for an empty class."""
    counts = torch.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(f"class {counts.argmin()} has no labelled galaxy; it cannot be balanced")
    return len(labels) / (n_classes * counts.float())


class DNN(nn.Module):
    """Fully connected layers that replace a `Classifier`'s encoder and take features, not images.

    Features are standardised with `train_features`; `dropout` follows each layer but the last. The
    published projects used `hidden=(128, 128, 64, 32)` and PReLU."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, train_features: Features, *, hidden: Sequence[int] = (128, 64), dropout: float = 0.3
    ):
        super().__init__()
        self.register_buffer("mean", train_features.mean(0))
        self.register_buffer("std", train_features.std(0).clamp_min(1e-6))  # may be constant
        sizes, layers = [train_features.shape[1], *hidden], list[nn.Module]()
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers[:-1])  # the head has its own dropout
        self.num_features = sizes[-1]

    def forward(self, features: Features) -> Outputs:
        return self.layers((features - self.mean) / self.std)

    def stages(self) -> list[list[nn.Module]]:
        """Return the layers from first to last."""
        return [[layer] for layer in self.layers if isinstance(layer, nn.Linear)]

"""A head on an encoder that tells the class of a galaxy: trained with it, or on its features
alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import Features

Inputs = Float[Tensor, "galaxy ..."]  # images in [0, 1], or features where a DNN is the encoder
Outputs = Float[Tensor, "galaxy output"]
Classes = Int[Tensor, " galaxy"]


class Headed(nn.Module):
    """A head on an encoder, and what every learner of this kind has; `measures` is its own."""

    encoder: nn.Module
    head: nn.Module

    def forward(self, images: Inputs) -> Outputs:
        """Raw outputs: logits, or what `predict` makes its outputs of."""
        return self.head(self.encoder(images))

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's stages and the head, for learning rates that differ (`train.fit`)."""
        return [*self.encoder.stages(), [self.head]]  # pyright: ignore[reportCallIssue]

    def measures(self, images: Inputs, targets: Tensor) -> dict[str, Float[Tensor, ""]]:
        raise NotImplementedError

    def loss(self, images: Inputs, targets: Tensor) -> Float[Tensor, ""]:
        """The mean loss of a batch (`measures`)."""
        return self.measures(images, targets)["loss"]


class Classifier(Headed):
    """A linear head, with dropout before it, on an encoder; trained end to end with cross-entropy.

    Arguments: the `encoder` (with `num_features`); `classes`, the number of classes;
    `class_weights`, a weight per class in the loss, for example `balanced_weights(labels, n)`;
    `label_smoothing` (Szegedy et al. 2016, arXiv 1512.00567, section 7)."""

    class_weights: Tensor | None

    def __init__(
        self,
        encoder: nn.Module,
        *,
        classes: int,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: Float[Tensor, " class"] | None = None,
    ):
        super().__init__()
        self.encoder, self.label_smoothing = encoder, label_smoothing
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.num_features, classes))  # pyright: ignore
        # of the training, not of the model
        self.register_buffer("class_weights", class_weights, persistent=False)

    def predict(self, images: Inputs) -> Outputs:
        """Class probabilities."""
        return self(images).float().softmax(1)

    def measures(self, images: Inputs, targets: Classes) -> dict[str, Float[Tensor, ""]]:
        """Mean cross-entropy of a batch, weighted and smoothed in training mode, plain in eval
        mode; and its accuracy."""
        logits, shaped = self(images).float(), {}
        if self.training:
            shaped = {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
        accuracy = (logits.argmax(1) == targets).float().mean()
        return {"loss": functional.cross_entropy(logits, targets, **shaped), "accuracy": accuracy}


def balanced_weights(labels: Classes, n_classes: int) -> Float[Tensor, " class"]:
    """Weights by which every class counts the same in the loss: n / (n_classes * n_in_class).

    Raises `ValueError` for a class without galaxies."""
    counts = torch.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(f"class {counts.argmin()} has no labelled galaxy: no weight balances that")
    return len(labels) / (n_classes * counts.float())


class DNN(nn.Module):
    """The hidden layers of a small fully connected network on features; takes the place of a
    `Classifier`'s encoder, whose images then are features, float `(galaxy, feature)`. (The
    published projects had `hidden=(128, 128, 64, 32)`, with PReLU.)

    Arguments: `train_features`, those of the training galaxies, by whose mean and standard
    deviation all are standardised; `hidden`, the sizes of the layers; `dropout` after each but the
    last."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, train_features: Features, *, hidden: Sequence[int] = (128, 64), dropout: float = 0.3
    ):
        super().__init__()
        spread = train_features.std(0).clamp_min(1e-6)  # a feature may be constant
        self.register_buffer("mean", train_features.mean(0))
        self.register_buffer("std", spread)
        sizes = [train_features.shape[1], *hidden]
        layers = [
            layer
            for before, after in itertools.pairwise(sizes)
            for layer in (nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
        ]
        self.layers = nn.Sequential(*layers[:-1])  # the head has a dropout of its own
        self.num_features = sizes[-1]

    def forward(self, features: Features) -> Float[Tensor, "galaxy hidden"]:
        return self.layers((features - self.mean) / self.std)

    def stages(self) -> list[list[nn.Module]]:
        """Its layers from the first to the last."""
        return [[layer] for layer in self.layers if isinstance(layer, nn.Linear)]


Labelled = tuple[Float[Tensor, "_ feature"], Int[Tensor, " _"]]  # features and their labels


def linear_probe(
    train: Labelled, val: Labelled, *, strengths: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
) -> Pipeline:
    """Logistic regression on standardised features (Alain & Bengio 2016, arXiv 1610.01644); the
    inverse strength of its L2 penalty is the one of `strengths` with the smallest validation
    loss."""
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(
            *_arrays(train)
        )
        for strength in strengths
    ]
    return min(fitted, key=lambda probe: _log_loss(probe, val))


def nearest_neighbours(
    train: Labelled, val: Labelled, *, numbers: Sequence[int] = (3, 5, 10, 20, 40)
) -> KNeighborsClassifier:
    """The votes of the nearest training galaxies by cosine, weighted by nearness; as many of them
    as of `numbers` classify the most validation galaxies right."""
    fitted = [
        KNeighborsClassifier(number, metric="cosine", weights="distance").fit(*_arrays(train))
        for number in dict.fromkeys(min(number, len(train[0])) for number in numbers)
    ]
    return max(fitted, key=lambda voted: voted.score(*_arrays(val)))


def _arrays(part: Labelled) -> tuple[ndarray, ndarray]:
    return part[0].numpy(), part[1].numpy()


def _log_loss(estimator: Pipeline, part: Labelled) -> float:
    features, labels = _arrays(part)
    return log_loss(labels, estimator.predict_proba(features), labels=estimator.classes_)

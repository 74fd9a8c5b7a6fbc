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


class Classifier(nn.Module):
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
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.num_features, classes))  # pyright: ignore
        self.label_smoothing = label_smoothing
        self.register_buffer(
            "class_weights", class_weights, persistent=False
        )  # of the training, not of the model

    def forward(self, images: Float[Tensor, "galaxy ..."]) -> Float[Tensor, "galaxy class"]:
        """Logits of images in [0, 1], `(galaxy, 3, size, size)`."""
        return self.head(self.encoder(images))

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's stages and the head, for learning rates that differ (`train.fit`)."""
        return [*self.encoder.stages(), [self.head]]  # pyright: ignore[reportCallIssue]

    def loss(
        self, images: Float[Tensor, "galaxy ..."], labels: Int[Tensor, " galaxy"]
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of a batch: weighted and smoothed in training mode, plain in eval
        mode."""
        return self.measures(images, labels)["loss"]

    def predict(self, images: Float[Tensor, "galaxy ..."]) -> Float[Tensor, "galaxy class"]:
        """Class probabilities."""
        return self(images).float().softmax(1)

    def measures(
        self, images: Float[Tensor, "galaxy ..."], labels: Int[Tensor, " galaxy"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of a batch and its accuracy."""
        logits = self(images).float()
        shaped = (
            {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
            if self.training
            else {}
        )
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": functional.cross_entropy(logits, labels, **shaped), "accuracy": accuracy}


def balanced_weights(labels: Int[Tensor, " galaxy"], n_classes: int) -> Float[Tensor, " class"]:
    """Weights by which every class counts the same in the loss: n / (n_classes *
    n_of_the_class)."""
    counts = torch.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(
            f"no labelled galaxy in class {counts.argmin().item()}: no weight can balance it"
        )
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
        self,
        train_features: Float[Tensor, "galaxy feature"],
        *,
        hidden: Sequence[int] = (128, 64),
        dropout: float = 0.3,
    ):
        super().__init__()
        self.register_buffer("mean", train_features.mean(0))
        self.register_buffer(
            "std", train_features.std(0).clamp_min(1e-6)
        )  # a feature may be constant
        sizes = [train_features.shape[1], *hidden]
        layers = [
            [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)] for a, b in itertools.pairwise(sizes)
        ]
        self.layers = nn.Sequential(
            *[layer for group in layers for layer in group][:-1]
        )  # the head has a dropout of its own
        self.num_features = sizes[-1]

    def forward(self, features: Float[Tensor, "galaxy feature"]) -> Float[Tensor, "galaxy hidden"]:
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

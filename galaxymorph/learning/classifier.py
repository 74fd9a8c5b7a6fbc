"""Heads that tell the class of a galaxy: trained with the encoder, or on its features alone."""

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

from galaxymorph.learning.architectures import Features, Mean

Inputs = Float[Tensor, "galaxy ..."]  # images in [0, 1], or features where a DNN is the encoder
Outputs = Float[Tensor, "galaxy output"]
Classes = Int[Tensor, " galaxy"]


class Headed(nn.Module):
    """A head on an encoder; `measures` is each learner's own."""

    encoder: nn.Module
    head: nn.Module

    def forward(self, images: Inputs) -> Outputs:
        """Compute logits, or what else `predict` starts from."""
        return self.head(self.encoder(images))

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's stages and the head, for learning rates that differ (`train.fit`)."""
        return [*self.encoder.stages(), [self.head]]  # pyright: ignore[reportCallIssue]

    def measures(self, images: Inputs, targets: Tensor) -> dict[str, Mean]:
        raise NotImplementedError

    def loss(self, images: Inputs, targets: Tensor) -> Mean:
        return self.measures(images, targets)["loss"]


class Classifier(Headed):
    """A linear head for so many `classes`, with dropout before it, on an encoder (with
    `num_features`).

    Trained with cross-entropy, with `class_weights` (for example `balanced_weights`) and
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

    def measures(self, images: Inputs, targets: Classes) -> dict[str, Mean]:
        """Compute the mean cross-entropy of a batch, weighted and smoothed in training mode only,
        and the accuracy."""
        logits, shaped = self(images).float(), {}
        if self.training:
            shaped = {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
        accuracy = (logits.argmax(1) == targets).float().mean()
        return {"loss": functional.cross_entropy(logits, targets, **shaped), "accuracy": accuracy}


def balanced_weights(labels: Classes, n_classes: int) -> Float[Tensor, " class"]:
    """Weigh every class the same in the loss: n / (n_classes * n_in_class). Raises `ValueError` for
    a class without galaxies."""
    counts = torch.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(f"class {counts.argmin()} has no labelled galaxy: no weight balances that")
    return len(labels) / (n_classes * counts.float())


class DNN(nn.Module):
    """The `hidden` layers of a small fully connected network, in place of a `Classifier`'s encoder,
    whose images then are features. (The published projects had `hidden=(128, 128, 64, 32)`, PReLU.)

    Features are standardised by mean and standard deviation of `train_features`; `dropout` comes
    after each layer but the last."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, train_features: Features, *, hidden: Sequence[int] = (128, 64), dropout: float = 0.3
    ):
        super().__init__()
        self.register_buffer("mean", train_features.mean(0))
        # a feature may be constant
        self.register_buffer("std", train_features.std(0).clamp_min(1e-6))
        sizes, layers = [train_features.shape[1], *hidden], list[nn.Module]()
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers[:-1])  # the head has a dropout of its own
        self.num_features = sizes[-1]

    def forward(self, features: Features) -> Outputs:
        return self.layers((features - self.mean) / self.std)

    def stages(self) -> list[list[nn.Module]]:
        """Its layers from the first to the last."""
        return [[layer] for layer in self.layers if isinstance(layer, nn.Linear)]


Labelled = tuple[Float[Tensor, "_ feature"], Int[Tensor, " _"]]  # features and their labels


def linear_probe(
    train: Labelled, val: Labelled, *, strengths: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
) -> Pipeline:
    """Fit a logistic regression on standardised features (Alain & Bengio 2016, arXiv 1610.01644),
    with that inverse strength of its L2 penalty which has the smallest validation loss."""
    features, labels = _arrays(val)

    def loss(probe: Pipeline) -> float:
        return log_loss(labels, probe.predict_proba(features), labels=probe.classes_)

    fits = (LogisticRegression(C=strength, max_iter=2000) for strength in strengths)
    probes = [make_pipeline(StandardScaler(), fit).fit(*_arrays(train)) for fit in fits]
    return min(probes, key=loss)


def nearest_neighbours(
    train: Labelled, val: Labelled, *, numbers: Sequence[int] = (3, 5, 10, 20, 40)
) -> KNeighborsClassifier:
    """Fit a vote of the nearest training galaxies by cosine, weighted by nearness; as many of them
    as of `numbers` classify the most validation galaxies right."""
    fitted = [
        KNeighborsClassifier(number, metric="cosine", weights="distance").fit(*_arrays(train))
        for number in dict.fromkeys(min(number, len(train[0])) for number in numbers)
    ]
    return max(fitted, key=lambda voted: voted.score(*_arrays(val)))


def _arrays(part: Labelled) -> tuple[ndarray, ndarray]:
    return part[0].numpy(), part[1].numpy()

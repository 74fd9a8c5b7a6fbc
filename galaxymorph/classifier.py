"""A head on an encoder that tells the class of a galaxy."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

# Of galaxies as 8-bit cutouts the mean is near 0.1 and the spread near 0.15; fixed numbers, because statistics that are
# measured on a data set have to be carried with the weights and may leak from the test galaxies.
MEAN, STD = 0.1, 0.15


def normalise(images: Float[Tensor, "galaxy 3 height width"]) -> Float[Tensor, "galaxy 3 height width"]:
    """Images in [0, 1] to about zero mean and unit variance: what every network of this package sees."""
    return (images - MEAN) / STD


class Classifier(nn.Module):
    """A linear head, with dropout before it, on an encoder; trained end to end with cross-entropy.

    Arguments: the `encoder` (with `num_features`); `classes`, the number of classes; `class_weights`, a weight per class in the
    loss, for example `balanced_weights(labels, n)`; `label_smoothing` (Szegedy et al. 2016, arXiv 1512.00567, section 7).
    """

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
        self.register_buffer("class_weights", class_weights, persistent=False)  # of the training, not of the model

    def forward(self, images: Float[Tensor, "galaxy 3 height width"]) -> Float[Tensor, "galaxy class"]:
        """Logits of images in [0, 1]."""
        return self.head(self.encoder(normalise(images)))

    def loss(self, images: Float[Tensor, "galaxy 3 height width"], labels: Int[Tensor, " galaxy"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of a batch: weighted and smoothed in training mode, plain in eval mode."""
        return self.measures(images, labels)["loss"]

    def predict(self, images: Float[Tensor, "galaxy 3 height width"]) -> Float[Tensor, "galaxy class"]:
        """Class probabilities."""
        return self(images).float().softmax(1)

    def measures(
        self, images: Float[Tensor, "galaxy 3 height width"], labels: Int[Tensor, " galaxy"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of a batch and its accuracy."""
        logits = self(images).float()
        shaped = {"weight": self.class_weights, "label_smoothing": self.label_smoothing} if self.training else {}
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": functional.cross_entropy(logits, labels, **shaped), "accuracy": accuracy}


def balanced_weights(labels: Int[Tensor, " galaxy"], n_classes: int) -> Float[Tensor, " class"]:
    """Weights by which every class counts the same in the loss: n / (n_classes * n_of_the_class)."""
    counts = torch.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(f"no labelled galaxy in class {counts.argmin().item()}: no weight can balance it")
    return len(labels) / (n_classes * counts.float())

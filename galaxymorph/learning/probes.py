"""Simple classifiers on features alone. Only this module of the wing loads scikit-learn."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

Labelled = tuple[Float[Tensor, "_ feature"], Int[Tensor, " _"]]  # features and their labels


def linear_probe(
    train: Labelled, val: Labelled, *, strengths: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
) -> Pipeline:
    """Fit a logistic regression to standardised features (Alain & Bengio 2016, arXiv 1610.01644).

    The inverse L2 penalty is the one of `strengths` with the smallest validation loss."""
    features, labels = _arrays(val)

    def loss(probe: Pipeline) -> float:
        return log_loss(labels, probe.predict_proba(features), labels=probe.classes_)

    fits = (LogisticRegression(C=strength, max_iter=2000) for strength in strengths)
    probes = [make_pipeline(StandardScaler(), fit).fit(*_arrays(train)) for fit in fits]
    return min(probes, key=loss)


def nearest_neighbours(
    train: Labelled, val: Labelled, *, numbers: Sequence[int] = (3, 5, 10, 20, 40)
) -> KNeighborsClassifier:
    """Fit distance-weighted k nearest neighbours (cosine), with k chosen by validation accuracy."""
    fitted = [
        KNeighborsClassifier(number, metric="cosine", weights="distance").fit(*_arrays(train))
        for number in dict.fromkeys(min(number, len(train[0])) for number in numbers)
    ]
    return max(fitted, key=lambda model: model.score(*_arrays(val)))


def _arrays(part: Labelled) -> tuple[ndarray, ndarray]:
    return part[0].numpy(), part[1].numpy()

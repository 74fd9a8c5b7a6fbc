"""Health of a representation during training, projections, and nearest galaxies (on the CPU)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.utils import check_array
from torch import Tensor

from galaxymorph.text import unknown

Features = Float[ndarray | Tensor, "galaxy feature"]
TrainFeatures = Float[ndarray | Tensor, "train feature"]
Labels = Int[ndarray | Tensor, " galaxy"]
TrainLabels = Int[ndarray | Tensor, " train"]


class Collapse(UserWarning):
    """The encoder's features are nearly constant, or vary along only a few directions."""


# ---- health


def alignment(first: Features, second: Features) -> float:
    """Return the mean squared distance between unit features of two views of a galaxy.

    From 0 (equal) to 4; smaller is better. Wang & Isola 2020 (arXiv 2005.10242), section 4.1.1."""
    return float(np.square(_unit(first) - _unit(second)).sum(1).mean())


def uniformity(features: Features) -> float:
    """Return how evenly the unit features fill the sphere: log of the mean of exp(-2 d^2).

    The mean is over all pairs of galaxies, at distances d. 0 if all coincide, about -4 (in many
    dimensions) if they are spread out; smaller is better. Wang & Isola 2020 (arXiv 2005.10242),
    section 4.1.2, t = 2. Raises `ValueError` for a single galaxy."""
    unit, n = _unit(features), len(features)
    if n < 2:
        raise ValueError(f"{n} galaxy: uniformity is defined on pairs and needs 2 or more")
    parts = (unit[start : start + 1024] for start in range(0, n, 1024))  # to save memory
    total = sum(rbf_kernel(part, unit, gamma=2).sum() for part in parts)
    return float(np.log((total - n) / (n * (n - 1))))  # minus self-pairs, 1 each


def spread(features: Features) -> float:
    """Return the mean standard deviation of unit features over galaxies, times sqrt(dimensions).

    1: in all directions, 0: all coincide. Chen & He 2021 (SimSiam, arXiv 2011.10566), section
    4.1."""
    unit = _unit(features)
    return float(unit.std(0).mean() * np.sqrt(unit.shape[1]))


def effective_rank(features: Features) -> float:
    """Return the number of directions in which the features vary.

    This is exp of the entropy of the singular values, divided by their sum, of the centred
    features: from 1 to min(galaxies - 1, dimensions), or 0 if nothing varies. Roy & Vetterli 2007
    (15th European Signal Processing Conference, 606), definition 1."""
    values = check_array(features, dtype="float64", input_name="features")
    singular = np.linalg.svd(values - values.mean(0), compute_uv=False)
    rounding = max(values.shape) * np.finfo(np.float32).eps * np.abs(values).max()
    singular = singular[singular > rounding]  # none remain for constant features
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0


def knn_accuracy(
    train: TrainFeatures, train_labels: TrainLabels, val: Features, val_labels: Labels, k: int = 15
) -> float:
    """Return the validation accuracy of a vote of the `k` nearest training galaxies (cosine).

    Galaxies with label -1 are ignored. Raises `ValueError` if none remain."""
    train_labels, val_labels = np.asarray(train_labels), np.asarray(val_labels)
    known, asked = train_labels >= 0, val_labels >= 0
    if not known.any() or not asked.any():
        n = f"{known.sum()} labelled training and {asked.sum()} labelled validation galaxies"
        raise ValueError(f"{n}: expected at least 1 of each")
    classifier = KNeighborsClassifier(min(k, int(known.sum())), metric="cosine", algorithm="brute")
    classifier.fit(np.asarray(train, float)[known], train_labels[known])
    return float(classifier.score(np.asarray(val, float)[asked], val_labels[asked]))


def health(
    first: Features,
    second: Features,
    *,
    train: TrainFeatures | None = None,
    train_labels: TrainLabels | None = None,
    val_labels: Labels | None = None,
) -> dict[str, float]:
    """Measure `alignment`, `uniformity`, `spread`, `effective_rank`, with `train` `knn_accuracy`.

    `first` and `second` are features of each validation galaxy and of a random view of it; all but
    the alignment use `first` only. A few thousand galaxies are enough."""
    measured = {"alignment": alignment(first, second)}
    measured |= {each.__name__: each(first) for each in (uniformity, spread, effective_rank)}
    if train is not None:
        if train_labels is None or val_labels is None:
            raise ValueError("knn_accuracy needs labels: give train_labels and val_labels")
        measured["knn_accuracy"] = knn_accuracy(train, train_labels, first, val_labels)
    return measured


def collapse(health: Mapping[str, float]) -> str:
    """Describe the collapse that `health` shows, in plain words; empty for a healthy encoder."""
    spread, rank = health["spread"], health["effective_rank"]
    if spread < 0.02:  # a mean cosine similarity of 0.9996 between two galaxies
        what = f"spread {spread:.2g}; 0 is a single point, 1 is isotropic"
        return f"complete collapse: all galaxies have nearly the same features ({what})"
    few = f"the features vary along only a few directions (effective rank {rank:.1f})"
    return f"dimensional collapse: {few}" if rank < 3 else ""


def watch(
    measure: Callable[[], Mapping[str, float]], *, every: int = 5
) -> Callable[[int, int], dict[str, float | None]]:
    """Return a callback for `train.fit` that measures the health of the encoder.

    It is called after each epoch with its number and the total. It returns the values of
    `measure()` as `health_<name>` in the first, every `every`-th and the last epoch, otherwise
    None. Warns once of a `Collapse`. Random numbers drawn in `measure` do not affect the
    training."""
    if every < 1:
        raise ValueError(f"every={every}: expected 1 epoch or more")
    last: dict[str, float] = {}
    warned = False

    def look(epoch: int, epochs: int) -> dict[str, float | None]:
        nonlocal warned
        due = epoch in (1, epochs) or epoch % every == 0
        if due or not last:  # a resumed training needs the names
            with torch.random.fork_rng(range(torch.cuda.is_available())):
                last.update(measure())
            problem = "" if warned else collapse(last)
            if problem:
                warned = True
                warnings.warn(f"in epoch {epoch}, {problem}", Collapse, stacklevel=2)
        return {f"health_{name}": value if due else None for name, value in last.items()}

    return look


# ---- projections and neighbours


def project(
    features: Features,
    method: Literal["pca", "tsne"] = "pca",
    *,
    dimensions: int = 2,
    seed: int = 0,
    iterations: int = 1000,
) -> pd.DataFrame:
    """Project features, each scaled to mean 0 and variance 1, to two or three dimensions.

    Principal components or t-SNE: a row per galaxy, with columns named like axes, `component 1 (23
    % of the variance)` or `t-SNE 1`.

    t-SNE (van der Maaten & Hinton 2008) starts from the first principal components, at most 50,
    with a perplexity of 30 or an eighth of the galaxies, whichever is smaller; it preserves
    neighbours, but distances between groups mean nothing. 1,000 galaxies take 4 s in two dimensions
    and 10 s in three, in proportion to `iterations`. (UMAP requires numba, a compiler: too heavy a
    dependency.)

    Raises `ValueError` for an unknown method and for fewer galaxies or features than dimensions."""
    values = check_array(features, dtype="float64", input_name="features")
    if method not in ("pca", "tsne"):
        raise ValueError(unknown("method", method, ("pca", "tsne")))
    if min(len(values) - 1, values.shape[1]) < dimensions:
        need = f"{dimensions} dimensions need {dimensions + 1} galaxies and {dimensions} features"
        raise ValueError(f"{len(values)} galaxies with {values.shape[1]} features: {need}")
    names = [f"{'t-SNE' if method == 'tsne' else 'component'} {i + 1}" for i in range(dimensions)]
    scaled = StandardScaler().fit_transform(values)
    if not scaled.any():  # a collapsed encoder
        return pd.DataFrame(np.zeros((len(values), dimensions)), columns=names)
    pca = PCA(dimensions if method == "pca" else min(50, *scaled.shape), random_state=seed)
    points = pca.fit_transform(scaled)
    if method == "pca":
        shares = [f"{100 * share:.0f} %" for share in pca.explained_variance_ratio_]
        names = [f"{names[i]} ({share} of the variance)" for i, share in enumerate(shares)]
    else:
        perplexity = min(30.0, max(2.0, len(values) / 8))
        how = {"init": "pca", "random_state": seed, "max_iter": iterations}
        tsne = TSNE(dimensions, perplexity=perplexity, **how)
        points = tsne.fit_transform(points).astype(float)
    return pd.DataFrame(points, columns=names)


def neighbours(
    features: Features, rows: Int[ndarray | Tensor, " query"] | Sequence[int], k: int = 6
) -> Int[ndarray, "query k"]:
    """Find the `k` other galaxies nearest to those in `rows` (cosine); raise if there are fewer."""
    unit = _unit(features)
    if not 1 <= k < len(unit):
        raise ValueError(
            f"k={k} neighbours of {len(unit)} galaxies: k must be from 1 to {len(unit) - 1}"
        )
    rows = np.asarray(rows, dtype=int)
    similarity = unit[rows] @ unit.T  # (query, galaxy)
    similarity[np.arange(len(rows)), rows] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def _unit(features: Features) -> Float[ndarray, "galaxy feature"]:
    """Normalise to unit length, in double precision; zero vectors stay zero."""
    unit: Any = normalize(check_array(features, dtype="float64", input_name="features"))
    return unit

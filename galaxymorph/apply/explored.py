"""Columns, maps and sliders of the explorer: from probabilities, votes and features."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from torch import nn
from torch.nn import functional

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply.explorer import Explored, Points
from galaxymorph.diagnostics import features as of_features
from galaxymorph.diagnostics import gradcam, targets

Features = Float[ndarray, "galaxy feature"]
Chances = Float[ndarray, "galaxy class"]
SIDE = 8  # cells of a class-activation map
T_SNE = 4000  # galaxies that t-SNE places itself
NEAR = 5  # of these, those that place another galaxy
CONCEPTS = {
    "featured": ("smooth", "features"),
    "round": ("roundness", "round"),
    "edge-on": ("edge_on", "yes"),
    "spiral": ("spiral", "yes"),
    "bar": ("bar", "yes"),
    "odd": ("odd", "yes"),
    "ring": ("odd_feature", "ring"),
    "merger": ("odd_feature", "merger"),
}


# ---- predictions and votes


def with_predictions(
    explored: Explored, table: pd.DataFrame, *, method: str, truth: pd.Series | None = None
) -> None:
    """Add the columns of a table of predictions, a row per galaxy, to what is shown.

    Without `truth` it is the table's label, unless that is the prediction (`explore`)."""
    chances = [name for name in table if str(name).startswith("p_")]
    voted = [name for name in galaxy_zoo_tree.COLUMNS if name in table]
    classes = [str(name).removeprefix("p_") for name in chances]
    p = table[chances].to_numpy(float)
    label: Any = table.get("label")
    if truth is None and label is not None and chances:
        own = label.fillna("").to_numpy(str)
        best = np.array(classes)[np.nan_to_num(p).argmax(1)]
        given = own != ""
        if "split" in table or (own != best)[given].any():
            truth = label
    known = {*chances, *voted, "label", "split"}
    main = judged(p, classes, truth) if chances else pd.DataFrame(index=table.index)
    if "split" in table:
        main["split"] = table["split"].fillna("").to_numpy(str)
    rest: Any = table[[name for name in table if name not in known]]
    columns: dict[str, pd.DataFrame] = {**explored.columns, "galaxy": main}
    if chances:
        explored.classes, explored.probabilities = classes, {method: p}
        columns["probabilities"] = pd.DataFrame(p, columns=pd.Index([f"p({c})" for c in classes]))
        explored.concepts = {name: f"p({name})" for name in classes}
    if rest.shape[1]:
        names = [str(name).replace("_", " ") for name in rest]
        names = [f"{name} (table)" if name in {*main, "unusual"} else name for name in names]
        columns["table"] = rest.set_axis(names, axis=1)
    explored.columns = columns
    if len(voted) == len(galaxy_zoo_tree.COLUMNS):
        with_votes(explored, None, table[voted].to_numpy(float))


def judged(p: Chances, classes: Sequence[str], truth: pd.Series | None) -> pd.DataFrame:
    """Return the class, the prediction, whether it is right, its confidence and its margin.

    A row of NaN, a galaxy that is not predicted, has empty ones. The margin is the difference of
    the two largest probabilities."""
    there = np.isfinite(p).all(1)
    best = np.where(there, np.array([*classes], object)[np.nan_to_num(p).argmax(1)], "")
    table = pd.DataFrame(
        {"class": "" if truth is None else truth.fillna("").to_numpy(str)}, range(len(p))
    )
    table["predicted"] = best
    sure = (table["class"] != "") & there
    table["right"] = np.where(sure, np.where(table["class"] == best, "yes", "no"), "")
    ranked = np.sort(p, axis=1)
    table["confidence"] = np.where(there, ranked[:, -1], np.nan)
    if len(classes) > 1:
        table["margin"] = np.where(there, ranked[:, -1] - ranked[:, -2], np.nan)
    return table if truth is not None else table.drop(columns=["class", "right"])


def with_votes(
    explored: Explored,
    votes: Float[ndarray, "galaxy 37"] | None,
    predicted: Float[ndarray, "galaxy 37"] | None,
) -> None:
    """Add vote fractions of volunteers and of a model, and sliders for them."""
    columns = dict(explored.columns)
    of = {}
    for name, who, values in (
        ("votes", "volunteers", votes),
        ("predicted votes", "predicted", predicted),
    ):
        if values is not None:
            of[who] = names = [f"{label} ({name})" for label in galaxy_zoo_tree.LABELS]
            columns[name] = pd.DataFrame(values.clip(0, 1), columns=pd.Index(names))
    kind = "predicted votes" if predicted is not None else "votes"
    concepts = {
        name: f"{galaxy_zoo_tree.LABELS[galaxy_zoo_tree.column(*at)]} ({kind})"
        for name, at in CONCEPTS.items()
    }
    explored.columns, explored.concepts = columns, {**explored.concepts, **concepts}
    explored.votes = of


# ---- features


def projections(features: Features, name: str = "", *, most: int = T_SNE) -> dict[str, Points]:
    """Project features to maps: t-SNE, principal components, and UMAP where it is installed.

    Of more than `most` galaxies, t-SNE places `most` at random and each other at the mean of its 5
    nearest ones, weighted by the cosine. Fewer than 4 galaxies are put on a line."""
    of = f"{name}: " if name else ""
    if len(features) < 4 or features.shape[1] < 2:
        line = np.stack([np.arange(len(features)), np.zeros(len(features))], 1).astype(float)
        return {f"{of}line": line}
    sample = drawn(len(features), most)
    placed = of_features.project(features[sample], "tsne", iterations=500).to_numpy(float)
    maps = {f"{of}t-SNE": _between(features, sample, placed)}
    maps[f"{of}PCA"] = of_features.project(features, "pca").to_numpy(float)
    if find_spec("umap"):
        from umap import UMAP  # pyright: ignore[reportMissingImports]

        maps[f"{of}UMAP"] = np.asarray(UMAP(random_state=0).fit_transform(features), float)
    return maps


def _between(
    features: Features, sample: Int[ndarray, " row"], placed: Float[ndarray, "row 2"]
) -> Points:
    """Place all galaxies between those of a sample that are nearest to them."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    points = np.empty((len(features), 2))
    for start in range(0, len(features), 2000):
        rows = np.arange(start, min(start + 2000, len(features)))
        cosines = unit[rows] @ unit[sample].T
        near = np.argpartition(-cosines, min(NEAR, len(sample) - 1), axis=1)[:, :NEAR]
        weights = np.maximum(np.take_along_axis(cosines, near, 1), 1e-6) ** 8
        weights /= weights.sum(1, keepdims=True)
        points[rows] = (placed[near] * weights[..., None]).sum(1)
    points[sample] = placed
    return points


def drawn(n: int, most: int) -> Int[ndarray, " row"]:
    """Draw `most` of `n` rows at random, always the same; in order."""
    return np.sort(np.random.default_rng(0).permutation(n)[:most])


def unusual(features: Features) -> pd.DataFrame:
    """Return how far each galaxy is from the mean, in units of the median: Mahalanobis distance
    (Lee et al. 2018, arXiv 1807.03888), with eigenvalues of at least 1e-4 of the largest."""
    away = features - features.mean(0)
    values, axes = np.linalg.eigh(away.T @ away)
    values = np.maximum(values, 1e-4 * max(values.max(), 1e-12))
    distance = np.linalg.norm(away @ axes / np.sqrt(values), axis=1)
    return pd.DataFrame({"unusual": distance / max(float(np.median(distance)), 1e-12)})


def activation_maps(
    learner: nn.Module, header: dict[str, Any], images: Any
) -> dict[str, Float[ndarray, "galaxy cell cell"]]:
    """Map where a network sees each class or, without classes, some answers, by Grad-CAM."""
    usual = ("smooth: features", "edge on: yes", "spiral: yes", "bar: yes", "odd: yes")
    known = targets.answers(learner, header)
    found = {}
    for name in header.get("classes") or usual:
        heat = gradcam.maps(learner, images, known[name].target)
        pooled = functional.adaptive_avg_pool2d(heat[:, None], SIDE)[:, 0].numpy()
        top = pooled.max((1, 2), keepdims=True)
        found[name] = pooled / np.where(top > 0, top, 1)
    return found

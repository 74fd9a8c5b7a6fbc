"""Classical classifiers from scikit-learn, on measures of galaxies or on their pixels.

Each is fitted to the training galaxies with a few settings, and the fit with the highest validation
accuracy is kept (the first, simplest one if tied). Validation galaxies are never used for fitting,
so all methods of a comparison learn from the same labels. Missing measures (NaN) are replaced by
the median of the training galaxies, and flagged in an additional feature."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Real
from numpy import ndarray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Ints = Sequence[int]
Labelled = tuple[Real[ndarray, "_ feature"], Int[ndarray, " _"]]  # features and their labels


def forest(
    train: Labelled, val: Labelled, *, leaves: Ints = (5, 3, 1), trees: int = 300, seed: int = 0
) -> Pipeline:
    """Fit a random forest (Breiman 2001); `leaves`: minimum number of galaxies per leaf."""
    forests = (RandomForestClassifier(trees, min_samples_leaf=n, random_state=seed) for n in leaves)
    return _best((_on_measures(each) for each in forests), train, val)


def svm(
    train: Labelled,
    val: Labelled,
    *,
    strengths: Sequence[float] = (1.0, 3.0, 10.0, 30.0),
    widths: Sequence[float] = (0.1, 0.3, 1.0),
    seed: int = 0,
) -> Pipeline:
    """Fit a Gaussian support vector machine (Cortes & Vapnik 1995) to standardised measures.

    `strengths` are values of C; `widths` are values of gamma times the number of measures.
    Probabilities are sigmoids of margins from cross-validation within the training galaxies (Platt
    1999). Raises `ValueError` if a class has only one of these."""
    fewest, features = int(np.unique(train[1], return_counts=True)[1].min()), train[0].shape[1]
    if fewest < 2:
        raise ValueError("an SVM needs two training galaxies of each class; increase n_labels")
    machines = (SVC(C=cost, gamma=width / features) for cost in strengths for width in widths)
    chosen = _best((_on_measures(StandardScaler(), each) for each in machines), train, val)
    folds = StratifiedKFold(min(5, fewest), shuffle=True, random_state=seed)
    return make_pipeline(CalibratedClassifierCV(chosen, cv=folds, ensemble=False)).fit(*train)  # pyright: ignore[reportArgumentType]


def logistic(
    train: Labelled, val: Labelled, *, strengths: Sequence[float] = (0.03, 0.1, 0.3, 1.0, 10.0)
) -> Pipeline:
    """Fit a logistic regression to standardised measures; `strengths`: inverse L2 penalties."""
    models = (LogisticRegression(C=strength, max_iter=3000) for strength in strengths)
    return _best((_on_measures(StandardScaler(), each) for each in models), train, val)


def pca_forest(
    train: Labelled,
    val: Labelled,
    *,
    components: Ints = (10, 20, 40),
    trees: int = 300,
    seed: int = 0,
) -> Pipeline:
    """Fit a control without astronomical knowledge: a forest on principal components of pixels."""
    numbers = dict.fromkeys(min(number, *train[0].shape) for number in components)
    parts = [PCA(number, random_state=seed) for number in numbers]
    last = partial(RandomForestClassifier, trees, random_state=seed)
    return _best((make_pipeline(each, last()) for each in parts), train, val)


def importances(
    model: Any, val: Labelled, groups: Mapping[str, Ints], *, repeats: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Measure permutation importances on the validation galaxies (Breiman 2001, section 10).

    `groups` names columns that are shuffled together. The table has a row for each, most important
    first: `group`, mean `loss` of accuracy, `low` and `high` (16th and 84th percentiles). Redundant
    measures appear unimportant."""
    features, labels = val
    rng = np.random.default_rng(seed)
    whole = model.score(features, labels)
    rows = []
    for name, columns in groups.items():
        shuffled = np.stack([features] * repeats)
        for each in shuffled:
            each[:, columns] = features[rng.permutation(len(features))][:, columns]
        predicted = model.predict(shuffled.reshape(-1, features.shape[1]))  # calls start slowly
        losses = whole - (predicted.reshape(repeats, -1) == labels).mean(1)
        low, high = np.percentile(losses, [16, 84])
        rows.append((name, float(np.mean(losses)), float(low), float(high)))
    table = pd.DataFrame(rows, columns=["group", "loss", "low", "high"])
    return table.sort_values("loss", ascending=False, ignore_index=True)


def _on_measures(*steps: Any) -> Pipeline:
    """Make a pipeline that imputes and flags missing measures."""
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return make_pipeline(imputer, *steps)


def _best(candidates: Iterable[Pipeline], train: Labelled, val: Labelled) -> Pipeline:
    fitted = [candidate.fit(*train) for candidate in candidates]
    return max(fitted, key=lambda model: model.score(*val))

"""Intervals of means over galaxies, by drawing galaxies again."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

PerGalaxy = Float[ndarray, "galaxy measure"]


def bootstrap_means(
    values: PerGalaxy, *, n_bootstrap: int, seed: int
) -> Float[ndarray, "2 measure"]:
    """Return the 95 % interval of each mean over galaxies, drawn with replacement: percentiles 2.5
    and 97.5 of `resampled_means`; NaN without a draw."""
    if not n_bootstrap:
        return np.full((2, values.shape[1]), np.nan)
    means = resampled_means(values, n_bootstrap=n_bootstrap, seed=seed)
    return np.percentile(means, [2.5, 97.5], axis=0)


def resampled_means(
    values: PerGalaxy, *, n_bootstrap: int, seed: int
) -> Float[ndarray, "draw measure"]:
    """Return the means over each draw of galaxies, the same draws for all measures."""
    rng, n = np.random.default_rng(seed), len(values)
    draws = [values[rng.integers(0, n, n)].mean(0) for _ in range(n_bootstrap)]
    return np.array(draws).reshape(n_bootstrap, values.shape[1])

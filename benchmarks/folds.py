"""Compare designs of test sets: the smallest difference of two methods that each resolves.

    python benchmarks/folds.py
    python benchmarks/folds.py --galaxies 2000 --training 0.05

Simulates two methods whose true difference is known. `--apart` is the fraction of galaxies that one
of the two alone gets right; `--training` is the standard deviation of their difference over
trainings, beyond the sampling of galaxies. Prints for each design: coverage of the 95 % interval,
the standard error in the truth, and the smallest resolved difference (median and 90th percentile of
runs) of one pair and, after Holm's correction, of the most different of `--pairs`."""

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy import ndarray

from galaxymorph.evaluation import intervals
from galaxymorph.evaluation.significance import HALF_EACH

DESIGNS = {
    "5 random splits of 20 %": (5, False),
    "5 folds": (5, True),
    "10 random splits of 20 %": (10, False),
    "10 folds, two draws of 5": (10, True),
}


def test_sets(n: int, seeds: int, folds: bool, rng: np.random.Generator) -> Iterator[ndarray]:
    """Yield the rows that each seed tests: a fifth of all, at random or in disjoint folds."""
    for seed in range(seeds):
        if not folds or seed % 5 == 0:
            order = rng.permutation(n)
        yield order[seed % 5 :: 5] if folds else order[: n // 5]


def compared(
    design: str, *, n: int, apart: float, gain: float, training: float, rng: np.random.Generator
) -> intervals.Mean:
    """Simulate one run of a design; return the mean difference over seeds."""
    seeds, folds = DESIGNS[design]
    chances = [(apart - gain) / 2, 1 - apart, (apart + gain) / 2]
    outcome = rng.choice([-1.0, 0.0, 1.0], p=chances, size=n)
    rows = [*test_sets(n, seeds, folds, rng)]
    gains = []
    for each in rows:
        shift = rng.normal(0, training)
        moved = rng.random(len(each)) < abs(shift)  # galaxies that one training turns
        gains.append(np.clip(outcome[each] + np.sign(shift) * moved, -1, 1))
    variances = [intervals.variance_of_mean(each, HALF_EACH) for each in gains]
    common = intervals.share_in_common(rows)
    return intervals.over_seeds([float(each.mean()) for each in gains], variances, common)


def table(*, runs: int, pairs: int, gain: float = 0.02, seed: int = 0, **options) -> pd.DataFrame:
    """Return a row per design."""
    rows = []
    for design in DESIGNS:
        rng = np.random.default_rng(seed)
        means = [compared(design, gain=gain, rng=rng, **options) for _ in range(runs)]
        margins = np.array([[m.margin(), m.margin(intervals.LEVEL / pairs)] for m in means])
        inside = [low <= gain <= high for low, high in (m.interval() for m in means)]
        row = {"design": design, "coverage": np.mean(inside)}
        row |= {"error": np.std([m.value for m in means])}
        for name, of in zip(("one pair", f"of {pairs}"), margins.T, strict=True):
            row |= {name: np.median(of), f"{name}, 90 %": np.quantile(of, 0.9)}
        rows.append(row)
    return pd.DataFrame(rows).set_index("design")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=809)
    parser.add_argument("--apart", type=float, default=0.15)
    parser.add_argument("--training", type=float, default=0.01)
    parser.add_argument("--pairs", type=int, default=171)
    parser.add_argument("--runs", type=int, default=2000)
    given = parser.parse_args()
    options = {"n": given.galaxies, "apart": given.apart, "training": given.training}
    print(table(runs=given.runs, pairs=given.pairs, **options).round(3).to_string())

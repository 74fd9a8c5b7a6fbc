"""Does a method say the same of a galaxy however it is turned? A galaxy has no up, so whatever
changes is the method's error, and no label is needed to see it (Dieleman et al. 2015, arXiv
1503.07077, averaged over such views for that reason).

Galaxies are turned in two ways, each with turn 0 as the galaxy that the others are held against:

* `orientations`: the 8 rotations by 90 degrees and mirror images of `pixels.orientations`. No pixel
  is resampled: turn 0 is the untouched image, and what changes is the method's doing alone.
* `angles`: 16 rotations by multiples of 22.5 degrees (`ANGLES`), turn 0 included. These have to be
  resampled, and must not differ in anything but the angle. So every one of them, 0 too, shows the
  same scene: the disc that the frame encloses, and beyond its edge its mirror image (`rotated`), so
  that no corner comes in, goes out or is left black, and the sky goes on as in the views of the
  training. And every one is smoothed alike: bilinear interpolation smooths noise to 2/3 of its
  standard deviation at any angle but the multiples of 90 degrees, where it would leave pixels as
  they are; all angles therefore sample `OFF_GRID` pixels off the centre along both axes, which
  smooths those four as much.

Averaged over the 8 orientations, a prediction is the same in all of them by construction, which is
no merit. For averaged predictions only angles say something, and of these only the first 4 (0,
22.5, 45, 67.5 degrees) differ: 90 degrees more give the same 8 views again. To count the other 12
would count 3 of 15 agreements that cannot fail.

A method that names one class for every galaxy is perfectly consistent: read these numbers beside
its accuracy.

Tables of turned predictions (`table`, or anybody's) have a row for every galaxy in every turn:
`id`, `turn` (0, 1, ...), `label` (a class's name, empty where unknown; the column may be missing)
and `p_<class>` for each class."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from numpy import ndarray
from scipy.stats import t as student
from torch import Tensor
from torch.nn import functional

from galaxymorph import pixels
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.evaluation.predictions import TOLERANCE
from galaxymorph.text import some

ANGLES = tuple(22.5 * turn for turn in range(16))  # degrees
DIFFERENT = 4  # of these, once averaged over the 8 orientations
OFF_GRID = (
    1 - 1 / math.sqrt(3)
) / 2  # px: where (1 - a)^2 + a^2 is 2/3, its mean over all a, which is what other angles have

SETTINGS = (("orientations", False), ("angles", False), ("angles", True))  # and averaged?
KEYS = ["method", "turns", "averaged", "metric"]  # of a row over seeds
LOWEST = {"gain": -1.0, "cosine": -1.0}  # of metrics that do not begin at 0; all end at 1

Images = UInt8[Tensor, "galaxy 3 size size"]


# ---- turned galaxies


def rotated(images: Images, angle: float | int, *, batch_size: int = 256) -> Images:
    """Galaxies turned by an angle in degrees, counterclockwise as by `torch.rot90`; on the CPU.
    Bilinear and `OFF_GRID`, then rounded to 8 bits, as galaxies are everywhere, so that any method
    can be asked.

    What lies beyond the disc that fits the frame, at a radius r > R, is taken from 2R - r in the
    same direction: the sky goes on, and the scene that is turned is the same for every angle."""
    half = (images.shape[-1] - 1) / 2  # px from the centre to the outermost pixels
    edge, turn = half - OFF_GRID, math.radians(angle)
    x = torch.arange(images.shape[-1]) - half
    across = math.cos(turn) * x - math.sin(turn) * x[:, None]  # (size, size)
    down = math.sin(turn) * x + math.cos(turn) * x[:, None]
    radius = torch.hypot(across, down)
    inwards = torch.where(radius > edge, 2 * edge / radius - 1, 1.0)
    grid = (
        torch.stack([across, down], -1) * inwards[..., None] + OFF_GRID
    ) / half  # (size, size, 2), 1 is the outermost pixel
    batches = [
        functional.grid_sample(
            batch.cpu().float(), grid.expand(len(batch), -1, -1, -1), align_corners=True
        )
        .round()
        .byte()
        for batch in images.split(batch_size)
    ]
    return torch.cat(batches)


def turned(
    predict: Callable[[Images], Float[Tensor, "galaxy output"]],
    images: Images,
    *,
    turns: str,
    average_orientations: bool = False,
) -> Float[Tensor, "turn galaxy output"]:
    """What a method says of galaxies in every turn; `turns` are `orientations` or `angles`.
    `predict`: from images to class probabilities or features, such as `train.predict` or
    `train.embed` of a model.

    With `average_orientations`, the mean of that over the 8 orientations of each turned galaxy
    (test-time averaging), for the angles that then still differ: the first 4.

    Raises `ValueError` for turns that are none.
    """
    if turns == "orientations":
        views = pixels.orientations(images)
    elif turns == "angles":
        views = (
            rotated(images, angle)
            for angle in (ANGLES[:DIFFERENT] if average_orientations else ANGLES)
        )
    else:
        raise ValueError(f"turns={turns!r}: one of orientations, angles")
    said = []
    for view in views:
        seen = pixels.orientations(view) if average_orientations else [view]
        said.append(torch.stack([predict(each) for each in seen]).mean(0))
    return torch.stack(said)


def table(
    probabilities: Float[Tensor, "turn galaxy class"],
    *,
    ids: Shaped[ndarray, " galaxy"],
    labels: Shaped[ndarray, " galaxy"] | None = None,
    classes: Sequence[str],
) -> pd.DataFrame:
    """The table of turned predictions. `labels`: names of classes, empty where unknown."""
    n_turns, n, _ = probabilities.shape
    known = {} if labels is None else {"label": np.tile(labels, n_turns)}
    head = pd.DataFrame(
        {"id": np.tile(ids, n_turns), "turn": np.repeat(np.arange(n_turns), n), **known}
    )
    values = probabilities.flatten(0, 1).double().numpy()
    return pd.concat(
        [head, pd.DataFrame(values, columns=[f"p_{name}" for name in classes])], axis=1
    )


# ---- measures


def of_predictions(table: pd.DataFrame, *, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How consistent turned predictions are. Columns: metric, value, low, high, n (galaxies).

    * agreement: of the turned predictions, turn 0 not counted, the share that name the class of
      turn 0, mean over galaxies.
    * same: the share of galaxies that have one class in all turns.
    * spread: the standard deviation over turns of the probability of the class of turn 0, mean over
      galaxies.

    And of the galaxies with a label, where there are any:

    * accuracy: of turn 0; accuracy_turned: mean over all turns; accuracy_averaged: of the mean
      probabilities over all turns; gain: accuracy_averaged less accuracy.

    low and high, 95 %: of shares of galaxies (same, accuracy, accuracy_averaged) the interval of
    Wilson (1927); else the percentiles of a bootstrap of the galaxies, paired for gain. Where every
    galaxy agrees in all turns the bootstrap has no width; agreement, which is never less than same,
    then has the lower bound of same.

    Raises `ValueError`, naming the rows, for a galaxy that is not there once in every turn, a label
    that is no class, or that differs between turns, or probabilities that are none; for columns
    that are missing, and for less than two turns."""
    true, p = _checked(table)
    taken = p.argmax(2)  # (turn, galaxy)
    agree = taken[1:] == taken[0]
    each = {
        "agreement": agree.mean(0),
        "same": agree.all(0),
        "spread": np.take_along_axis(p, taken[:1, :, None], 2)[..., 0].std(0),
    }
    known = true >= 0
    if known.any():
        right = (taken == true)[:, known]
        averaged = p.mean(0).argmax(1)[known] == true[known]
        each |= {
            "accuracy": right[0],
            "accuracy_turned": right.mean(0),
            "accuracy_averaged": averaged,
        }
        each |= {"gain": averaged.astype(float) - right[0]}
    rows = {}
    for metric, values in each.items():
        low, high = np.nan, np.nan
        if values.dtype == bool:
            low, high = wilson(int(values.sum()), len(values))
        elif n_bootstrap:
            low, high = np.percentile(
                _bootstrap(values[:, None], n_bootstrap=n_bootstrap, seed=seed)[:, 0], [2.5, 97.5]
            )
        rows[metric] = {
            "metric": metric,
            "value": float(values.mean()),
            "low": float(low),
            "high": float(high),
        }
        rows[metric]["n"] = len(values)
    if each["same"].all() and n_bootstrap:
        rows["agreement"]["low"] = rows["same"]["low"]
    return pd.DataFrame(list(rows.values()))


def of_features(
    features: Float[Tensor, "turn galaxy feature"], *, n_bootstrap: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How consistent features of turned galaxies are. Columns: metric, value, low, high, n
    (galaxies).

    * cosine: the cosine of the angle between the features of a turned galaxy and those of turn 0,
      mean over the other turns and galaxies, once the mean over all galaxies and turns is taken
      off: a direction that all galaxies share says nothing of any. 1: features do not change; 0: no
      more alike than those of different galaxies.
    * between_turns: of the variance of the features, summed over them, the share between the turns
      of a galaxy and not between galaxies: the sum of squares about each galaxy's mean over that
      about the mean of all (one-way analysis of variance, Fisher 1925). 0: features do not change;
      1 - 1 / turns, about: nothing in them belongs to the galaxy.

    Features count as they are, those that vary most the most, as for nearest neighbours. low and
    high: 95 %, percentiles of a bootstrap of the galaxies. NaN where all features are equal.

    Raises `ValueError` for less than two turns or galaxies, and for features that are not finite.
    """
    values = features.double().numpy()
    if min(values.shape[:2]) < 2:
        raise ValueError(
            f"features of {values.shape[0]} turns of {values.shape[1]} galaxies: at least two of both"
        )
    if not np.isfinite(values).all():
        turn, galaxy, _ = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"the features of galaxy {galaxy} (from 0) in turn {turn} are not finite")
    values = values - values.mean((0, 1))
    lengths = np.linalg.norm(values, axis=2)
    within = np.square(values - values.mean(0)).sum((0, 2))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        cosine = ((values[1:] * values[0]).sum(2) / (lengths[1:] * lengths[0])).mean(0)
        parts = np.stack([cosine, within, np.square(lengths).sum(0)], 1)  # (galaxy, 3)
        means = np.concatenate(
            [parts.mean(0)[None], _bootstrap(parts, n_bootstrap=n_bootstrap, seed=seed)]
        )
        found = {"cosine": means[:, 0], "between_turns": means[:, 1] / means[:, 2]}
    rows = []
    for metric, (value, *draws) in found.items():
        low, high = np.percentile(draws, [2.5, 97.5]) if draws else (np.nan, np.nan)
        rows.append(
            {
                "metric": metric,
                "value": float(value),
                "low": float(low),
                "high": float(high),
                "n": len(parts),
            }
        )
    return pd.DataFrame(rows)


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a row for each method, turns, averaged (over orientations) and metric, in
    the order of `table`.

    `table`: rows of `of_predictions` and `of_features` with the columns method, seed, turns and
    averaged beside. Columns: these but for seed, and value (mean), low, high, n (galaxies per seed;
    the fewest), seeds, interval (what low and high are).

    low and high with two seeds or more: the 95 % t-interval of the mean, cut off where the metric
    ends; with one, those of `table`. Seeds count as independent although their galaxies overlap, as
    in `comparison.compare`.

    Raises `ValueError` for a seed that a row has twice.
    """
    rows = []
    for _, group in table.groupby(KEYS, sort=False):
        row, values = group[KEYS].iloc[0].to_dict(), group["value"].to_numpy(float)
        if group["seed"].duplicated().any():
            what = f"{row['method']}, {row['turns']}, averaged {row['averaged']}, {row['metric']}"
            raise ValueError(
                f"{what}: seed {group.loc[group['seed'].duplicated(), 'seed'].iloc[0]} is there twice; keep one"
            )
        low, high = float(group["low"].iloc[0]), float(group["high"].iloc[0])
        if len(values) > 1:
            margin = (
                float(student.ppf(0.975, len(values) - 1))
                * values.std(ddof=1)
                / math.sqrt(len(values))
            )
            low, high = (
                max(values.mean() - margin, LOWEST.get(row["metric"], 0.0)),
                min(values.mean() + margin, 1.0),
            )
        row |= {
            "value": float(values.mean()),
            "low": low,
            "high": high,
            "n": group["n"].min(),
            "seeds": len(values),
        }
        rows.append(row | {"interval": "over galaxies" if len(values) == 1 else "t over seeds"})
    return pd.DataFrame(rows, columns=[*KEYS, "value", "low", "high", "n", "seeds", "interval"])


# ---- words


def methods(models: Sequence[str]) -> dict[str, str]:
    """The paths of model files by the method that each belongs to: the step, and what is repeated
    beside seeds, with a space.

    `models/mock/resnet18/seed=0.safetensors` is of `resnet18`,
    `.../resnet18/seed=0,n_labels=50.safetensors` of `resnet18 n_labels=50`, all labels go without
    saying; a file elsewhere is called after itself. Raises `ValueError` for two of one method:
    seeds have test galaxies of their own, so that one piece of work measures one; and for none."""
    if not models:
        raise ValueError(
            "models: none is given; name the model files whose consistency is to be measured"
        )
    found: dict[str, str] = {}
    for path in models:
        below = re.fullmatch(r"(?:.*/)?models/[^/]+/([^/]+)(?:/(.+))?\.safetensors", path)
        step, combination = (
            below.groups()
            if below
            else (path.rsplit("/", 1)[-1].removesuffix(".safetensors"), None)
        )
        pairs = [
            pair for pair in (combination or "").split(",") if pair and pair != "n_labels=null"
        ]  # all labels
        method = " ".join([step, *(pair for pair in pairs if not pair.startswith("seed="))])
        if method in found:
            raise ValueError(
                f"models: {found[method]} and {path} are both of {method}; give one seed of each method"
            )
        found[method] = path
    return found


def sentences(table: pd.DataFrame, val_accuracy: Mapping[str, float]) -> list[str]:
    """What a table of `over_seeds` says of the best method: the one with the highest
    `val_accuracy`, so neither its test galaxies nor its consistency choose it. No sentence where no
    method has classes."""
    if not val_accuracy:
        return []
    best = max(val_accuracy, key=lambda method: val_accuracy[method])
    rows = table.loc[table.method == best].set_index(["turns", "averaged", "metric"])

    def said(turns: str, averaged: bool, metric: str, sign: str = "") -> str:
        row: Any = rows.loc[(turns, averaged, metric)]
        return f"{row.value:{sign}.3f} [{row.low:{sign}.3f}, {row.high:{sign}.3f}]"

    first: Any = rows.loc[("angles", False, "agreement")]
    tested = f"{first.seeds} seeds, {first.n:,} test galaxies each"
    if first.seeds == 1:
        tested = f"one seed, {first.n:,} test galaxies"
    return [
        f"{best}, the best on validation galaxies ({val_accuracy[best]:.3f}), gives a turned galaxy the same class in "
        f"{said('angles', False, 'agreement')} of the 15 other angles, and with test-time averaging over the 8 orientations in "
        f"{said('angles', True, 'agreement')} of the 3 that then differ; in the 7 other orientations, without averaging, in "
        f"{said('orientations', False, 'agreement')} (means over galaxies with 95 % intervals). Averaging over orientations "
        f"changes its accuracy by {said('orientations', False, 'gain', '+')} ({tested})."
    ]


# ---- the parts


def _checked(
    table: pd.DataFrame,
) -> tuple[Int[ndarray, " galaxy"], Float[ndarray, "turn galaxy class"]]:
    """True classes as indices, -1 where unknown, and probabilities, with galaxies in the same order
    in every turn."""
    names = [str(name).removeprefix("p_") for name in table.columns if str(name).startswith("p_")]
    missing = [name for name in ("id", "turn") if name not in table.columns] + (
        [] if names else ["p_<class>"]
    )
    if missing:
        have = ", ".join(map(str, table.columns))
        raise ValueError(
            f"no table of turned predictions: columns {', '.join(missing)} are missing; it has {have}"
        )
    turns = sorted(table["turn"].unique())
    if len(turns) < 2 or turns[0] != 0:
        raise ValueError(
            f"turns are {some(turns) or 'none'}: at least two, the first of them 0, the galaxy as it is"
        )
    counts = pd.crosstab(table["id"], table["turn"])
    odd = counts.melt(ignore_index=False, value_name="n").query("n != 1")
    if len(odd):
        wrong = [
            f"{id} ({n} times in turn {turn})"
            for id, turn, n in zip(odd.index, odd["turn"], odd["n"], strict=True)
        ]
        raise ValueError(f"every galaxy has to be there once in every turn; not so {some(wrong)}")
    rows = table.sort_values(by=["turn", "id"], kind="stable")
    p = rows[[f"p_{name}" for name in names]].to_numpy(float)
    bad = ~((p >= 0).all(1) & (abs(p.sum(1) - 1) <= TOLERANCE))  # NaN is neither
    if bad.any():
        places = zip(rows["id"][bad], rows["turn"][bad], p[bad].sum(1), strict=True)
        where = [f"{id} in turn {turn} (sum {total:.4g})" for id, turn, total in places]
        raise ValueError(
            f"p_<class> are no probabilities that sum to 1 in {len(where)} rows: {some(where)}"
        )
    p = (p / p.sum(1, keepdims=True)).reshape(len(turns), len(counts), len(names))
    return _labels(rows, names, len(turns)), p


def _labels(rows: pd.DataFrame, names: Sequence[str], n_turns: int) -> Int[ndarray, " galaxy"]:
    """Indices of the labels, from rows sorted by turn."""
    if "label" not in rows.columns:
        return np.full(len(rows) // n_turns, -1)
    label = rows["label"]
    if pd.api.types.is_float_dtype(
        label
    ):  # class names that are numbers, read from a file with empty labels
        label = label.astype("Int64")
    text = np.where(label.isna(), "", label.astype(str))
    codes = np.array([names.index(name) if name in names else -1 for name in text])
    unknown = [
        f"{id} ({name})"
        for id, name in zip(rows["id"], text, strict=True)
        if name and name not in names
    ]
    if unknown:
        raise ValueError(f"labels that are no class: {some(unknown)}; classes: {', '.join(names)}")
    codes = codes.reshape(n_turns, -1)
    differ = rows["id"].to_numpy()[: codes.shape[1]][(codes != codes[0]).any(0)]
    if len(differ):
        raise ValueError(f"galaxies whose label differs between turns: {some(list(differ))}")
    return codes[0]


def _bootstrap(
    values: Float[ndarray, "galaxy measure"], *, n_bootstrap: int, seed: int
) -> Float[ndarray, "draw measure"]:
    """Means over galaxies, drawn with replacement."""
    rng, n = np.random.default_rng(seed), len(values)
    return np.array([values[rng.integers(0, n, n)].mean(0) for _ in range(n_bootstrap)]).reshape(
        n_bootstrap, values.shape[1]
    )

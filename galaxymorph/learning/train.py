"""The training loop of all methods, and inference with trained networks.

A learner is any `nn.Module` with `loss(images, targets)`, a scalar, or `measures(images, targets)`,
a dict of batch means that includes "loss"; `predict(images)` and `stages()` are optional. Images
are uint8 outside a learner and float in [0, 1] inside; features, for learners that take them, are
float in both. Targets are a tensor, or a tuple of tensors with the labels first."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from galaxymorph.learning.architectures import Features
from galaxymorph.learning.classifier import Outputs
from galaxymorph.learning.device import autocast, device, to_float
from galaxymorph.learning.protocols import Learner, Predictor
from galaxymorph.learning.state import State, digest, fingerprint, optimiser, warmup_and_cosine
from galaxymorph.pixels import Images, Pixels, orientations

Targets = Tensor | tuple[Tensor, ...]
# images, or features, and their targets
Part = tuple[UInt8[Tensor, "_ 3 size size"] | Float[Tensor, "_ feature"], Targets]
Precision = Literal["auto", "bf16", "fp32"]
Views = Callable[..., Images]


class Diverged(FloatingPointError):
    """A loss is not finite; the learner holds the best weights so far."""


def n_batches(n: int, batch_size: int) -> int:
    """Count the batches of an epoch (BatchNorm needs 2 galaxies in each)."""
    return max(1, min(math.ceil(n / batch_size), n // 2))


def epochs_and_passes(
    n: int, *, epochs: int, batch_size: int, least_steps: int = 0
) -> tuple[int, int]:
    """Return the number of epochs, and of passes through `n` galaxies per epoch, for `fit`."""
    per_pass = n_batches(n, batch_size)
    passes = max(1, math.ceil(least_steps / (epochs * per_pass)))
    return (epochs if passes == 1 else math.ceil(least_steps / (passes * per_pass))), passes


def n_steps(n: int, **length: int) -> int:
    """Count all steps of `fit`; the arguments are those of `epochs_and_passes`."""
    return math.prod(epochs_and_passes(n, **length)) * n_batches(n, length["batch_size"])


def batches(
    targets: Targets, *, batch_size: int, balanced: bool, generator: torch.Generator
) -> Iterator[Int[Tensor, " batch"]]:
    """Shuffle the indices of an epoch into `n_batches` batches whose sizes differ by at most one.

    With `balanced`, galaxies are drawn with replacement, all classes with equal probability."""
    labels = _tuple(targets)[0]
    n = len(labels)
    if balanced:
        weights = 1.0 / torch.bincount(labels).clamp_min(1)[labels].float()
        order = torch.multinomial(weights, n, replacement=True, generator=generator)
    else:
        order = torch.randperm(n, generator=generator)
    return iter(order.tensor_split(n_batches(n, batch_size)))


def fit(
    learner: nn.Module,
    train: Part,
    val: Part,
    *,
    views: Views | None = None,
    epochs: int = 20,
    least_steps: int = 0,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    layer_decay: float = 1.0,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    average: float = 0.0,
    balanced: bool = False,
    monitor: str | None = "loss",
    patience: int | None = None,
    keep: Callable[[nn.Module], object] | None = None,
    watch: Callable[[int, int], Mapping[str, Any]] | None = None,
    checkpoint: Path | None = None,
    precision: Precision = "auto",
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Train the learner; yield a row for each epoch, and leave the best weights in the learner.

    Args:
        views: draws the random views of each training batch; not applied to validation galaxies.
        epochs, least_steps: if all epochs together have fewer batches than `least_steps`, an epoch
            is several passes through the galaxies, since more epochs would mean more validation.
        learning_rate, warmup: rises linearly over the fraction `warmup` of all steps, then falls to
            zero as a cosine. SGD has Nesterov momentum 0.9.
        layer_decay: ratio of learning rates of each stage (`stages()`) and the next one
            (Howard & Ruder 2018, arXiv 1801.06146, section 3.2).
        average: decay per step of an exponential moving average of the weights (Polyak & Juditsky
            1992; smaller in the first steps), which is then validated and kept; 0 is off.
        balanced: draw all classes with equal probability.
        monitor, patience: the best epoch has the smallest error (`state.ERRORS`) or the largest
            value of another measure on the validation part; with None, it is the last one. Training
            ends after `patience` epochs without improvement.
        keep: called with the learner at every best epoch so far, to write its weights to a file.
        watch: called after every epoch with its number and the total; its values join the row.
        checkpoint: a file, written after every epoch, from which an interrupted training resumes
            with identical results, yielding its earlier rows first. One with other settings,
            galaxies, views or initial weights is renamed.
        seed: on the CPU, rows are identical for the same seed and machine.

    Yields: epoch (from 1), epochs, train_<measure> (mean over the epoch's views, while weights
    change), val_<measure> (of the weights at its end, in eval mode), learning_rate (of the last
    stage), seconds, images_per_second (training only), best (whether it is the best so far).

    Raises `Diverged` when a loss is not finite; the learner then holds the best weights so far."""
    length = {"epochs": epochs, "least_steps": least_steps, "batch_size": batch_size}
    settings = length | {
        "learning_rate": learning_rate, "layer_decay": layer_decay, "optimizer": optimizer,
        "weight_decay": weight_decay, "warmup": warmup, "average": average, "balanced": balanced,
        "monitor": monitor, "patience": patience, "precision": precision, "seed": seed,
    }  # fmt: skip
    n, where = len(train[0]), device()
    _check(n, len(val[0]), patience)
    epochs, passes = epochs_and_passes(n, **length)
    torch.manual_seed(seed)  # dropout and views
    learner.to(where).to(memory_format=torch.channels_last)
    state = _start(learner, train, val, views, n_steps(n, **length), settings)
    if checkpoint is not None:
        state.resume(checkpoint, keep)
    if where.type == "cuda" and train[0].nbytes < 0.5 * torch.cuda.mem_get_info()[0]:
        train = train[0].to(where), train[1]  # so training never waits for the host

    how = {"batch_size": batch_size, "balanced": balanced, "generator": state.shuffle}
    limit = math.inf if patience is None else patience
    try:
        yield from state.rows
        while len(state.rows) < epochs and len(state.rows) - state.best_epoch < limit:
            start = time.perf_counter()
            order = (rows for _ in range(passes) for rows in batches(train[1], **how))
            measured = _epoch(state, train, order, views, precision)
            seconds = time.perf_counter() - start
            validated = evaluate(state.judged, val, precision=precision)
            row: dict[str, Any] = {"epoch": len(state.rows) + 1, "epochs": epochs}
            row |= {f"train_{name}": value for name, value in measured.items()}
            row |= {f"val_{name}": value for name, value in validated.items()}
            _check_finite(row, state.best_epoch, learning_rate)
            row["learning_rate"] = state.schedule.get_last_lr()[-1]
            row["seconds"], row["images_per_second"] = seconds, passes * n / seconds
            row["best"] = state.improves(validated, monitor)
            row |= watch(row["epoch"], epochs) if watch else {}
            state.end_epoch(row, keep, checkpoint)
            yield row
    finally:  # also if the caller stops early or training diverges
        learner.load_state_dict(state.best)
        learner.eval()


def _check(n: int, n_val: int, patience: int | None) -> None:
    if patience is not None and patience < 1:
        raise ValueError(f"patience={patience}: expected 1 or more, or None to train all epochs")
    if n < 2 or n_val == 0:
        raise ValueError(f"{n} galaxies to train and {n_val} to validate; at least 2 and 1 needed")


def _start(
    learner: nn.Module,
    train: Part,
    val: Part,
    views: Views | None,
    n_steps: int,
    settings: dict[str, Any],
) -> State:
    """Make the state of a training before its first epoch; `settings` are arguments of `fit`."""
    tensors = train[0], *_tuple(train[1]), val[0], *_tuple(val[1])
    inputs = {
        "galaxies": len(train[0]),
        "data": digest(each[:: max(1, len(each) // 1000)] for each in tensors),
        "learner": fingerprint(learner, views),
    }
    chosen = ("optimizer", "learning_rate", "weight_decay", "layer_decay")
    steps = optimiser(learner, *(settings[name] for name in chosen))
    schedule = warmup_and_cosine(steps, steps=n_steps, warmup=settings["warmup"])
    how = {"average": settings["average"], "seed": settings["seed"]}
    return State(learner, steps, schedule, **how, settings=settings | inputs)


def _check_finite(row: Mapping[str, Any], best_epoch: int, learning_rate: float) -> None:
    """Raise `Diverged` if a loss is not finite."""
    if not math.isfinite(row["train_loss"] + row["val_loss"]):
        raise Diverged(
            f"in epoch {row['epoch']} the training loss is {row['train_loss']:g}, the "
            f"validation loss {row['val_loss']:g}; the weights of epoch {best_epoch} "
            f"are kept. Try a learning_rate below {learning_rate:g}, a longer warmup, or "
            "precision: fp32"
        )


def _epoch(
    state: State, train: Part, order: Iterator[Tensor], views: Views | None, precision: str
) -> dict[str, float]:
    """Train on the batches of an epoch; return the mean of each measure."""
    images, targets = train
    where, trained, sums = device(), 0, dict[str, Tensor]()
    state.learner.train()
    for rows in order:
        batch = to_float(images[rows.to(images.device)], where)
        # in full precision: bfloat16 would round the pixel positions
        batch = views(batch) if views else batch
        with autocast(precision, where):
            measured = _measures(state.learner, batch, targets, rows)
        state.step(measured["loss"])
        for name, value in measured.items():
            sums[name] = sums.get(name, 0.0) + value.detach() * len(rows)
        trained += len(rows)
    # the only synchronisation with the GPU in an epoch
    return {name: value.item() / trained for name, value in sums.items()}


def _tuple(targets: Targets) -> tuple[Tensor, ...]:
    return targets if isinstance(targets, tuple) else (targets,)


def _measures(
    learner: nn.Module, batch: Tensor, targets: Targets, rows: Tensor | slice
) -> dict[str, Tensor]:
    """Call the learner's `measures`, or its `loss`, on a batch and its rows of the targets."""
    parts = tuple(each[rows].to(batch.device) for each in _tuple(targets))
    taken = parts if isinstance(targets, tuple) else parts[0]
    if measures := getattr(learner, "measures", None):
        return measures(batch, taken)
    if isinstance(learner, Learner):
        return {"loss": learner.loss(batch, taken)}
    raise TypeError(f"{type(learner).__name__} is not a learner: it has no loss(images, targets)")


@torch.no_grad()
def evaluate(
    learner: nn.Module, part: Part, *, batch_size: int = 256, precision: str = "auto"
) -> dict[str, float]:
    """Average a learner's `measures` (or its loss) over a part, in eval mode and without views."""
    where, (images, targets), sums = device(), part, dict[str, float]()
    learner.to(where).eval()
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        batch = to_float(images[rows], where)
        with autocast(precision, where):
            measured = _measures(learner, batch, targets, rows)
        for name, value in measured.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
    return {name: value / len(images) for name, value in sums.items()}


def predict(
    learner: nn.Module,
    images: Pixels | Features,
    *,
    average_orientations: bool = False,
    batch_size: int = 256,
    precision: Precision = "auto",
) -> Outputs:
    """Compute a learner's predictions for galaxies, in order and eval mode, on the CPU.

    With `average_orientations`, the mean over the 8 rotations and mirror images of each galaxy."""
    if not isinstance(learner, Predictor):
        raise TypeError(f"{type(learner).__name__} has no predict(images)")
    how = {"each_orientation": average_orientations, "batch_size": batch_size}
    found = embed(learner, images, outputs=learner.predict, precision=precision, **how)
    return found.mean(0) if average_orientations else found


@torch.no_grad()
def embed(
    encoder: nn.Module,
    images: Pixels | Float[Tensor, "galaxy _"],
    *,
    outputs: Callable[[Tensor], Tensor] | None = None,
    each_orientation: bool = False,
    views: Views | None = None,
    seed: int = 0,
    batch_size: int = 256,
    precision: Precision = "auto",
) -> Features | Float[Tensor, "8 galaxy feature"]:
    """Compute features of galaxies, in order and eval mode, on the CPU.

    `outputs` replaces the encoder's own output. `each_orientation` uses all 8 rotations and mirror
    images of each galaxy; `views` draws one random view of each, with `seed`."""
    where, found = device(), list[Tensor]()
    generator = torch.Generator(where).manual_seed(seed)
    encoder.to(where).eval()
    for batch in images.split(batch_size):
        pixels = to_float(batch, where)
        pixels = views(pixels, generator=generator) if views else pixels
        with autocast(precision, where):
            turned = orientations(pixels) if each_orientation else [pixels]
            computed = [(outputs or encoder)(image).float() for image in turned]
        found.append(torch.stack(computed).cpu())
    features = torch.cat(found, 1)  # (orientation, galaxy, feature)
    return features if each_orientation else features[0]

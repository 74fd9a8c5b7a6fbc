"""The one training loop of all methods, and what comes after it: `fit`, `predict` and `embed`.

A learner is any `nn.Module` with `loss(images, targets)`, a scalar, or `measures(images, targets)`,
a dict of batch means, its "loss" among them, to report and to select by. Optional are
`predict(images)`, class probabilities, and `stages()`, lists of its modules from the first layers
to the last. Images are uint8 outside a learner and float in [0, 1] inside; features, for learners
that take those, are float in both. Targets are a tensor, or a tuple of tensors, the labels first.
"""

import copy
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
    """Batches of an epoch of `n` galaxies; of a single one BatchNorm could take no variance."""
    return max(1, min(math.ceil(n / batch_size), n // 2))


def epochs_and_passes(
    n: int, *, epochs: int, batch_size: int, least_steps: int = 0
) -> tuple[int, int]:
    """How many epochs `fit` trains on `n` galaxies, and how often each goes through all of them:
    once where that makes `least_steps` batches, else so often that it does."""
    per_pass = n_batches(n, batch_size)
    passes = max(1, math.ceil(least_steps / (epochs * per_pass)))
    return (epochs if passes == 1 else math.ceil(least_steps / (passes * per_pass))), passes


def n_steps(n: int, **length: int) -> int:
    """How many batches `fit` trains with in all; takes what `epochs_and_passes` takes."""
    return math.prod(epochs_and_passes(n, **length)) * n_batches(n, length["batch_size"])


def batches(
    targets: Targets, *, batch_size: int, balanced: bool, generator: torch.Generator
) -> Iterator[Int[Tensor, " batch"]]:
    """Shuffle the indices of an epoch, in `n_batches` batches whose sizes differ by one at most.

    With `balanced`, galaxies are drawn with replacement, every class equally often."""
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
        views: draws the random views of each training batch; validation galaxies stay as they are.
        epochs, least_steps: where the epochs have fewer batches than `least_steps`, each goes
            through the galaxies several times (`epochs_and_passes`): more epochs would mostly
            validate, and choose among too many.
        learning_rate, warmup: rises linearly over the fraction `warmup` of all steps, then falls to
            zero as a cosine. SGD has Nesterov momentum 0.9.
        layer_decay: by which each stage of the learner (its `stages()`) learns slower than the next
            later one (Howard & Ruder 2018, arXiv 1801.06146, section 3.2).
        average: decay per step of an exponential moving average of the weights (Polyak & Juditsky
            1992; smaller in the first steps), which is then what is validated and kept; 0 is off.
        balanced: draw every class equally often.
        monitor, patience: the best epoch has the smallest error (`state.ERRORS`) or the largest
            value of another measure on the validation part, or is the last one (None). Training
            ends after `patience` epochs without a better one.
        keep: called with the learner at every best epoch so far, to write its weights to a file.
        watch: called after every epoch with its number and that of all; its values join the row.
        checkpoint: a file, written after every epoch, from which a stopped training goes on as if
            it had never stopped, its earlier rows first. One of other settings, galaxies, views or
            first weights is set aside.
        seed: same seed, same machine: same rows, on the CPU.

    Yields: epoch (from 1), epochs, train_<measure> (mean over the epoch's views, while weights
    change), val_<measure> (of the weights at its end, in eval mode), learning_rate (of the last
    stage), seconds, images_per_second (training alone), best (whether it is the best so far).

    Raises `Diverged` when a loss is not finite; the learner then holds the best weights so far."""
    length = {"epochs": epochs, "least_steps": least_steps, "batch_size": batch_size}
    settings = length | {
        "learning_rate": learning_rate, "layer_decay": layer_decay, "optimizer": optimizer,
        "weight_decay": weight_decay, "warmup": warmup, "average": average, "balanced": balanced,
        "monitor": monitor, "patience": patience, "precision": precision, "seed": seed,
    }  # fmt: skip
    n, n_val = len(train[0]), len(val[0])
    if patience is not None and patience < 1:
        raise ValueError(f"patience={patience}: 1 epoch or more, or None to train all epochs")
    if n < 2 or n_val == 0:
        raise ValueError(f"{n} galaxies to train and {n_val} to validate with: at least 2 and 1")
    epochs, passes = epochs_and_passes(n, **length)
    where = device()
    torch.manual_seed(seed)  # dropout and views
    learner.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    tensors = train[0], *_tuple(train[1]), val[0], *_tuple(val[1])
    settings |= {
        "galaxies": n,
        "data": digest(each[:: max(1, len(each) // 1000)] for each in tensors),
        "learner": fingerprint(learner, views),
    }
    steps = optimiser(learner, optimizer, learning_rate, weight_decay, layer_decay)
    schedule = warmup_and_cosine(steps, steps=n_steps(n, **length), warmup=warmup)
    state = State(learner, steps, schedule, average=average, seed=seed, settings=settings)
    if checkpoint is not None:
        state.resume(checkpoint, keep)
    if where.type == "cuda" and train[0].nbytes < 0.5 * torch.cuda.mem_get_info()[0]:
        train = train[0].to(where), train[1]  # resident: an epoch then never waits for the host

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
            if not math.isfinite(row["train_loss"] + row["val_loss"]):
                raise Diverged(
                    f"in epoch {row['epoch']} the training loss is {row['train_loss']:g}, the "
                    f"validation loss {row['val_loss']:g}; the weights of epoch {state.best_epoch} "
                    f"are kept. Try a learning_rate below {learning_rate:g}, a longer warmup, or "
                    "precision: fp32"
                )
            row["learning_rate"] = state.schedule.get_last_lr()[-1]
            row["seconds"], row["images_per_second"] = seconds, passes * n / seconds
            row["best"] = state.improves(validated, monitor)
            row |= watch(row["epoch"], epochs) if watch else {}
            state.rows.append(row)
            if row["best"]:
                state.best = copy.deepcopy(state.judged.state_dict())
                if keep:
                    keep(state.judged)
            if checkpoint is not None:
                state.save(checkpoint)
            yield row
    finally:  # also where the caller stops asking for epochs, or training has diverged
        learner.load_state_dict(state.best)
        learner.eval()


def _epoch(
    state: State, train: Part, order: Iterator[Tensor], views: Views | None, precision: str
) -> dict[str, float]:
    """Train on the batches of an epoch; return the mean of each measure."""
    images, targets = train
    where, met, sums = device(), 0, dict[str, Tensor]()
    state.learner.train()
    for rows in order:
        batch = to_float(images[rows.to(images.device)], where)
        # in full precision: bfloat16 would round where pixels come from
        batch = views(batch) if views else batch
        with autocast(precision, where):
            measured = _measures(state.learner, batch, targets, rows)
        state.step(measured["loss"])
        for name, value in measured.items():
            sums[name] = sums.get(name, 0.0) + value.detach() * len(rows)
        met += len(rows)
    # the one synchronisation of an epoch
    return {name: value.item() / met for name, value in sums.items()}


def _tuple(targets: Targets) -> tuple[Tensor, ...]:
    return targets if isinstance(targets, tuple) else (targets,)


def _measures(
    learner: Any, batch: Tensor, targets: Targets, rows: Tensor | slice
) -> dict[str, Tensor]:
    """The learner's `measures` of a batch and its rows of the targets, or its loss alone."""
    taken: Any = tuple(each[rows].to(batch.device) for each in _tuple(targets))
    taken = taken if isinstance(targets, tuple) else taken[0]
    if hasattr(learner, "measures"):
        return learner.measures(batch, taken)
    return {"loss": learner.loss(batch, taken)}


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
    """Compute class probabilities of galaxies as `embed` does features.

    With `average_orientations`, the mean over the 8 rotations and mirror images of each galaxy."""
    how = {"each_orientation": average_orientations, "batch_size": batch_size}
    found = embed(learner, images, outputs=learner.predict, precision=precision, **how)  # pyright: ignore
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

    With `outputs`, what that function computes in place of the encoder itself. With
    `each_orientation`, of each of a galaxy's 8 rotations and mirror images (`orientations`). With
    `views`, of a random view of each galaxy, drawn from `seed`."""
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

"""The one training loop, and what comes after it: `fit`, `predict` and `embed`. Nothing here knows
a method.

A learner is any `nn.Module` with `loss(images, targets) -> scalar`. Three methods are optional:
`measures(images, targets)`, a dict of batch means, its "loss" among them, to report and to select
by; `predict(images)`, class probabilities; and `stages()`, lists of its modules from the first
layers to the last. Images are uint8 everywhere outside this module and float in [0, 1] inside a
learner; features, for learners that take those, are float in both."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from galaxymorph.learning.device import autocast, device, to_float
from galaxymorph.pixels import orientations

Part = tuple[
    UInt8[Tensor, "_ 3 size size"] | Float[Tensor, "_ feature"], Tensor
]  # images, or features, and their targets
ERRORS = ("loss", "mse")  # measures of which the smaller is the better
Views = Callable[..., Float[Tensor, "galaxy 3 size size"]]


class Diverged(FloatingPointError):
    """The training loss is no longer finite; the learner holds the last good weights."""


def n_batches(n: int, batch_size: int) -> int:
    """Batches of an epoch of `n` galaxies, none of a single one, of which BatchNorm could take no
    variance."""
    return max(1, min(math.ceil(n / batch_size), n // 2))


def epochs_and_passes(
    n: int, *, epochs: int, batch_size: int, least_steps: int = 0
) -> tuple[int, int]:
    """How many epochs `fit` trains on `n` galaxies, and how often each of these goes through all of
    them.

    Once, where `epochs` make `least_steps` batches; else so often that they do, in as many epochs
    as that takes."""
    per_pass = n_batches(n, batch_size)
    passes = max(1, math.ceil(least_steps / (epochs * per_pass)))
    return (epochs if passes == 1 else math.ceil(least_steps / (passes * per_pass))), passes


def n_steps(n: int, *, epochs: int, batch_size: int, least_steps: int = 0) -> int:
    """How many batches `fit` trains with in all."""
    epochs, passes = epochs_and_passes(
        n, epochs=epochs, batch_size=batch_size, least_steps=least_steps
    )
    return epochs * passes * n_batches(n, batch_size)


def batches(
    targets: Tensor, *, batch_size: int, balanced: bool, generator: torch.Generator
) -> Iterator[Int[Tensor, " batch"]]:
    """One epoch of shuffled indices, in `n_batches` batches whose sizes differ by one at most.

    With `balanced`, galaxies are drawn with replacement so that every class is met equally often.
    """
    n = len(targets)
    if balanced:
        weights = 1.0 / torch.bincount(targets).clamp_min(1)[targets].float()
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
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Trains the learner; yields one row per epoch, as it happens, and leaves the best weights in
    the learner.

    Training lasts `epochs`. Where these are less than `least_steps` batches, as with few labels, an
    epoch goes through the galaxies several times (`epochs_and_passes`): more epochs instead would
    mostly validate, and choose among too many. `views` draws the random views of each training
    batch; validation galaxies are never changed. The learning rate rises linearly over the first
    `warmup` (a fraction of all steps) and falls to zero as a cosine; with a `layer_decay` below 1
    each stage of the learner (its `stages()`) learns that much slower than the next later one
    (Howard & Ruder 2018, arXiv 1801.06146, section 3.2). `average` is the decay per step of an
    exponential moving average of the weights (Polyak & Juditsky 1992; smaller in the first steps),
    which is then what is validated and kept; 0 is off. SGD has Nesterov momentum 0.9. `balanced`
    draws every class equally often.

    The best epoch has the smallest error (`ERRORS`) or the largest value of any other measure on
    the validation part, by `monitor`, or is the last one (None); after `patience` epochs (1 or
    more) without a better one, training ends. `keep` is called with the learner at every best epoch
    so far, to write its weights to a file: a training that is killed or diverges later loses
    nothing. `watch` is called after every epoch with its number and that of all; what it gives
    joins the row. Same seed, same machine: same rows, on the CPU.

    With a `checkpoint`, a file that is written after every epoch, a training that was stopped goes
    on where it was: its earlier rows come first, and the result is that of a training which never
    stopped. A checkpoint of other settings, galaxies, views or first weights is set aside. The file
    stays; delete it when what comes after training is done.

    A row: epoch (from 1), epochs, train_<measure> (mean over the views of the epoch as they were
    trained on, so of weights that change meanwhile), val_<measure> (of the weights at the end of
    the epoch, in eval mode), learning_rate (of the last stage), seconds, images_per_second
    (training alone), best (whether it is the best epoch so far).

    Raises `Diverged` when a loss is not finite; the learner then holds the best weights so far.
    """
    others = ("learner", "train", "val", "views", "keep", "watch", "checkpoint")
    settings = {
        name: str(value) for name, value in locals().items() if name not in ("others", *others)
    }
    if patience is not None and patience < 1:
        raise ValueError(f"patience={patience}: 1 epoch or more, or None to train all epochs")
    if len(train[0]) < 2 or len(val[0]) == 0:
        raise ValueError(
            f"{len(train[0])} galaxies to train and {len(val[0])} to validate with: at least 2 and 1"
        )
    length = {"epochs": epochs, "batch_size": batch_size, "least_steps": least_steps}
    epochs, passes = epochs_and_passes(len(train[0]), **length)
    where = device()
    torch.manual_seed(seed)  # dropout and views
    learner.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimiser = _optimiser(learner, optimizer, learning_rate, weight_decay, layer_decay)
    averaged = AveragedModel(learner, use_buffers=True) if average else None
    training = _Training(
        learner=learner,
        optimiser=optimiser,
        schedule=_warmup_and_cosine(
            optimiser, steps=n_steps(len(train[0]), **length), warmup=warmup
        ),
        averaged=averaged,
        average=average,
        shuffle=torch.Generator().manual_seed(seed),
        settings=settings
        | {
            "galaxies": str(len(train[0])),
            "data": _digest(*train, *val),
            "learner": _digest_of(learner, views),
        },
        best=copy.deepcopy((averaged.module if averaged else learner).state_dict()),
    )
    if checkpoint is not None:
        training.resume(checkpoint, keep)
    if where.type == "cuda" and train[0].nbytes < 0.5 * torch.cuda.mem_get_info()[0]:
        train = train[0].to(where), train[1]  # resident: an epoch then never waits for the host

    try:
        yield from training.rows
        while len(training.rows) < epochs and (patience is None or training.since_best < patience):
            start = time.perf_counter()
            options = {"passes": passes, "batch_size": batch_size, "balanced": balanced}
            measured = training.epoch(train, views=views, **options, precision=precision)
            seconds = time.perf_counter() - start
            validated = evaluate(training.judged, val, precision=precision)
            row: dict[str, Any] = {"epoch": len(training.rows) + 1, "epochs": epochs}
            row |= {f"train_{name}": value for name, value in measured.items()}
            row |= {f"val_{name}": value for name, value in validated.items()}
            if not math.isfinite(row["train_loss"] + row["val_loss"]):
                raise Diverged(
                    f"in epoch {row['epoch']} the training loss is {row['train_loss']:g} and the validation loss "
                    f"{row['val_loss']:g}; the weights of epoch {training.best_epoch} are kept. Try a learning_rate below "
                    f"{learning_rate:g}, a longer warmup, or precision: fp32"
                )
            row["learning_rate"] = training.schedule.get_last_lr()[-1]
            row["seconds"], row["images_per_second"] = seconds, passes * len(train[0]) / seconds
            row["best"] = training.improves(validated, monitor)
            row |= watch(row["epoch"], epochs) if watch else {}
            training.rows.append(row)
            if row["best"]:
                training.best = copy.deepcopy(training.judged.state_dict())
                if keep:
                    keep(training.judged)
            if checkpoint is not None:
                training.save(checkpoint)
            yield row
    finally:  # also where the caller stops asking for epochs, or training has diverged
        learner.load_state_dict(training.best)
        learner.eval()


@dataclass
class _Training:
    """All that a training is at the end of an epoch, and so what a checkpoint holds."""

    learner: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    averaged: AveragedModel | None
    average: float
    shuffle: torch.Generator
    settings: dict[str, str]
    best: dict[str, Tensor]  # the weights of the best epoch so far
    best_score: float = math.inf
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def judged(self) -> nn.Module:
        """What is validated and kept."""
        return self.averaged.module if self.averaged else self.learner

    @property
    def best_epoch(self) -> int:
        return max((row["epoch"] for row in self.rows if row["best"]), default=0)

    @property
    def since_best(self) -> int:
        return len(self.rows) - self.best_epoch

    def improves(self, validated: dict[str, float], monitor: str | None) -> bool:
        """Whether this epoch is the best so far, by the validation measure `monitor`."""
        if monitor is None:
            return True
        if monitor not in validated:
            raise ValueError(f"monitor={monitor!r}: the learner measures {', '.join(validated)}")
        score = validated[monitor] if monitor in ERRORS else -validated[monitor]
        better = score < self.best_score
        self.best_score = min(score, self.best_score)
        return better

    def epoch(
        self,
        train: Part,
        *,
        views: Views | None,
        passes: int,
        batch_size: int,
        balanced: bool,
        precision: str,
    ) -> dict[str, float]:
        """Trains for an epoch; the mean of each measure."""
        images, targets = train
        where, measure, sums = device(), _measures(self.learner), dict[str, Tensor]()
        self.learner.train()
        orders = (
            batches(targets, batch_size=batch_size, balanced=balanced, generator=self.shuffle)
            for _ in range(passes)
        )
        for index in itertools.chain.from_iterable(orders):
            batch = to_float(images[index.to(images.device)], where)
            batch = (
                views(batch) if views else batch
            )  # in full precision: bfloat16 would round where pixels come from
            with autocast(precision, where):
                measured = measure(batch, targets[index].to(where))
            self.optimiser.zero_grad(set_to_none=True)
            measured["loss"].backward()
            self.optimiser.step()
            self.schedule.step()
            if self.averaged:
                _follow(self.averaged, self.learner, self.average)
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + value.detach() * len(index)
        met = passes * len(images)
        return {
            name: value.item() / met for name, value in sums.items()
        }  # the one synchronisation of an epoch

    def _parts(self) -> dict[str, Any]:
        parts = {
            "learner": self.learner,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "averaged": self.averaged,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def save(self, path: Path) -> None:
        """Writes the checkpoint, replacing the last one in one go."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {
            "settings": self.settings,
            "best": self.best,
            "best_score": self.best_score,
            "rows": self.rows,
        }
        state |= {"shuffle": self.shuffle.get_state(), "random": torch.get_rng_state()}
        if device().type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path, keep: Callable[[nn.Module], object] | None) -> None:
        """Takes up a checkpoint, if there is one of these settings; `keep` is called with its best
        weights."""
        if not path.is_file():
            return
        state = torch.load(
            path, map_location=device(), weights_only=True
        )  # plain values and tensors: no code is run
        names = [
            name for name in self.settings if self.settings[name] != state["settings"].get(name)
        ]
        if names:
            aside = path.with_name(f"{path.name}.old")
            path.replace(aside)
            differ = ", ".join(
                f"{name} was {state['settings'].get(name)}, is {self.settings[name]}"
                for name in names
            )
            warnings.warn(
                f"{path}: of a training with other settings ({differ}); training starts anew, that one is {aside.name} now",
                stacklevel=3,
            )
            return
        self.best, self.best_score, self.rows = state["best"], state["best_score"], state["rows"]
        if keep:
            self.judged.load_state_dict(self.best)
            keep(self.judged)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.shuffle.set_state(state["shuffle"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if device().type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"].cpu())


def _follow(averaged: AveragedModel, learner: nn.Module, decay: float) -> None:
    """A step of the moving average of weights and BatchNorm's statistics; other buffers (a queue, a
    counter) are the latest.

    The decay is (1 + t) / (10 + t) after t steps where that is less: the variances of BatchNorm
    begin with 1, often a hundred times too much, and would stay in the average for longer than a
    training on few galaxies lasts."""
    t = int(averaged.n_averaged)  # on the CPU, whatever the device
    averaged.multi_avg_fn = get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))
    averaged.update_parameters(learner)
    for (name, old), new in zip(averaged.module.named_buffers(), learner.buffers(), strict=True):
        if not name.endswith(("running_mean", "running_var")):
            old.copy_(new)


def _digest(*tensors: Tensor) -> str:
    """Of data: shapes and at most a thousand galaxies spread over all."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(str(tuple(tensor.shape)).encode())
        found.update(tensor[:: max(1, len(tensor) // 1000)].cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _digest_of(learner: nn.Module, views: Views | None) -> str:
    """Of a learner before its first step: its weights, and all of its options and those of its
    views that are plain values."""
    found = hashlib.sha256()
    frozen = [name for name, parameter in learner.named_parameters() if not parameter.requires_grad]
    found.update(str(frozen).encode())
    for name, value in (
        learner.state_dict() | dict(learner.named_buffers())
    ).items():  # also those that are not kept
        found.update(f"{name} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    objects = [
        views,
        *learner.modules(),
        *(module.views for module in learner.modules() if hasattr(module, "views")),
    ]
    for each in objects:
        plain = {
            key: value
            for key, value in getattr(each, "__dict__", {}).items()
            if isinstance(value, int | float | str)
        }
        found.update(
            f"{type(each).__name__} {sorted((k, v) for k, v in plain.items() if k != 'training')}".encode()
        )
    return found.hexdigest()[:16]


def _optimiser(
    learner: nn.Module, name: str, learning_rate: float, weight_decay: float, layer_decay: float
) -> torch.optim.Optimizer:
    """AdamW or SGD; biases and the scales of normalisation layers (one-dimensional) are not
    decayed."""
    if layer_decay == 1:
        stages = [list(learner.parameters())]
    elif not hasattr(learner, "stages"):
        raise ValueError(
            f"layer_decay={layer_decay}: {type(learner).__name__} does not say its stages; leave it at 1"
        )
    else:
        stages = [
            [p for module in stage for p in module.parameters()] for stage in learner.stages()
        ]  # pyright: ignore
    groups = []
    for later, parameters in enumerate(reversed(stages)):
        parameters, rate = (
            [p for p in parameters if p.requires_grad],
            learning_rate * layer_decay**later,
        )
        groups += [
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "lr": rate},
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": weight_decay,
                "lr": rate,
            },
        ]
    groups = [group for group in reversed(groups) if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(
            groups, lr=learning_rate, fused=True
        )  # on CPU, a third of the time of a step
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)
    raise ValueError(f"optimizer={name!r}: one of adamw, sgd")


def _warmup_and_cosine(
    optimiser: torch.optim.Optimizer, *, steps: int, warmup: float
) -> torch.optim.lr_scheduler.LambdaLR:
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _measures(learner: nn.Module) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """The learner's `measures`, or its loss where it has none."""
    if hasattr(learner, "measures"):
        return learner.measures  # pyright: ignore[reportReturnType]
    return lambda images, targets: {"loss": learner.loss(images, targets)}  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def evaluate(
    learner: nn.Module, part: Part, *, batch_size: int = 256, precision: str = "auto"
) -> dict[str, float]:
    """Mean measures over a part, in eval mode and without views: the learner's `measures`, or its
    loss where it has none."""
    where = device()
    learner.to(where).eval()
    measure = _measures(learner)
    sums: dict[str, float] = {}
    for images, targets in zip(part[0].split(batch_size), part[1].split(batch_size), strict=True):
        with autocast(precision, where):
            values = measure(to_float(images, where), targets.to(where))
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(images)
    return {name: value / len(part[0]) for name, value in sums.items()}


@torch.no_grad()
def predict(
    learner: nn.Module,
    images: UInt8[Tensor, "galaxy 3 size size"] | Float[Tensor, "galaxy feature"],
    *,
    average_orientations: bool = False,
    batch_size: int = 256,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
) -> Float[Tensor, "galaxy class"]:
    """Class probabilities of galaxies, in their order, on the CPU; in eval mode, so no galaxy
    depends on its batch.

    With `average_orientations`, the mean over the 8 rotations and mirror images of each galaxy
    (test-time averaging)."""
    where = device()
    learner.to(where).eval()
    outputs = []
    for batch in images.split(batch_size):
        views = to_float(batch, where)
        views = orientations(views) if average_orientations else [views]
        with autocast(precision, where):
            outputs.append(torch.stack([learner.predict(view) for view in views]).mean(0).cpu())  # pyright: ignore
    return torch.cat(outputs)


@torch.no_grad()
def embed(
    encoder: nn.Module,
    images: UInt8[Tensor, "galaxy 3 size size"],
    *,
    each_orientation: bool = False,
    views: Views | None = None,
    seed: int = 0,
    batch_size: int = 256,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
) -> Float[Tensor, "galaxy feature"] | Float[Tensor, "8 galaxy feature"]:
    """Features of galaxies, in their order, on the CPU; in eval mode, so none depends on which
    others share its batch.

    With `each_orientation`, of each of the 8 rotations and mirror images of a galaxy
    (`orientations`). With `views`, of a random view of each galaxy, drawn from `seed`."""
    where = device()
    encoder.to(where).eval()
    drawn = torch.Generator(where).manual_seed(seed)
    outputs = []
    for batch in images.split(batch_size):
        pixels = to_float(batch, where)
        pixels = views(pixels, generator=drawn) if views else pixels
        turned = orientations(pixels) if each_orientation else [pixels]
        with autocast(precision, where):
            outputs.append(
                torch.stack([encoder(image).float() for image in turned]).cpu()
            )  # (orientation, galaxy, feature)
    features = torch.cat(outputs, 1)
    return features if each_orientation else features[0]

"""The one training loop, and what comes after it: `fit` and `predict`. Nothing here knows a method.

A learner is any `nn.Module` with `loss(images, targets) -> scalar`. Two methods are optional: `measures(images, targets)`, a
dict of batch means, its "loss" among them, to report and to select by; and `predict(images)`, class probabilities.
Images are uint8 everywhere outside this module and float in [0, 1] inside a learner.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Part = tuple[UInt8[Tensor, "_ 3 size size"], Tensor]  # images and their targets
Views = Callable[[Float[Tensor, "galaxy 3 size size"]], Float[Tensor, "galaxy 3 size size"]]


class Diverged(FloatingPointError):
    """The training loss is no longer finite; the learner holds the last good weights."""


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16(where: torch.device) -> bool:
    """Whether the processor computes in bfloat16 itself. Where it only emulates it, fp32 is faster."""
    if where.type == "cuda":
        return torch.cuda.get_device_capability(where) >= (8, 0)
    read = getattr(torch.cpu, "get_capabilities", dict)  # a torch that cannot tell gets fp32, which is never wrong
    capabilities = read()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def autocast(precision: str, where: torch.device) -> AbstractContextManager:
    """bfloat16 autocast for `precision="bf16"`, or for "auto" where `has_bf16`; nothing for "fp32"."""
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision={precision!r}: one of auto, bf16, fp32")
    wanted = precision == "bf16" or (precision == "auto" and has_bf16(where))
    return torch.autocast(where.type, torch.bfloat16, enabled=wanted)


def to_float(images: UInt8[Tensor, "galaxy 3 size size"], where: torch.device) -> Float[Tensor, "galaxy 3 size size"]:
    """A batch on its device, in [0, 1] and channels-last, which is the faster layout for convolutions on CPU and GPU."""
    return images.to(where, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)


def n_batches(n: int, batch_size: int) -> int:
    """Batches of an epoch of `n` galaxies, none of a single one, of which BatchNorm could take no variance."""
    return max(1, min(math.ceil(n / batch_size), n // 2))


def batches(targets: Tensor, *, batch_size: int, balanced: bool, generator: torch.Generator) -> Iterator[Int[Tensor, " batch"]]:
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
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    average: float = 0.0,
    balanced: bool = False,
    monitor: str = "loss",
    patience: int | None = None,
    keep: Callable[[nn.Module], object] | None = None,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Trains the learner; yields one row per epoch, as it happens, and leaves the best weights in the learner.

    `views` draws the random views of each training batch; validation galaxies are never changed. The learning rate rises
    linearly over the first `warmup` (a fraction of all steps) and falls to zero as a cosine. `average` is the decay per step of
    an exponential moving average of the weights (Polyak & Juditsky 1992), which is then what is validated and kept; 0 is off.
    SGD has Nesterov momentum 0.9. `balanced` draws every class equally often.

    The best epoch has the smallest "loss" or the largest value of any other measure (`monitor`) on the validation part; after
    `patience` epochs (1 or more) without a better one, training ends. `keep` is called with the learner at every best epoch so
    far, to write its weights to a file: a training that is killed or diverges later loses nothing. Same seed, same machine:
    same rows, on the CPU.

    A row: epoch (from 1), epochs, train_<measure> (mean over the views of the epoch as they were trained on, so of weights
    that change meanwhile), val_<measure> (of the weights at the end of the epoch, in eval mode), learning_rate, seconds,
    images_per_second (training alone), best (whether it is the best epoch so far).

    Raises `Diverged` when a loss is not finite; the learner then holds the best weights so far.
    """
    if patience is not None and patience < 1:
        raise ValueError(f"patience={patience}: 1 epoch or more, or None to train all epochs")
    if len(train[0]) < 2 or len(val[0]) == 0:
        raise ValueError(f"{len(train[0])} galaxies to train and {len(val[0])} to validate with: at least 2 and 1")
    where = device()
    torch.manual_seed(seed)  # dropout and views
    shuffle = torch.Generator().manual_seed(seed)
    learner.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images, targets = train
    if where.type == "cuda" and images.nbytes < 0.5 * torch.cuda.mem_get_info()[0]:
        images = images.to(where)  # resident: an epoch then never waits for the host

    optimiser = _optimiser(learner, optimizer, learning_rate, weight_decay)
    schedule = _warmup_and_cosine(optimiser, steps=epochs * n_batches(len(images), batch_size), warmup=warmup)
    averaged = AveragedModel(learner, multi_avg_fn=get_ema_multi_avg_fn(average), use_buffers=True) if average else None
    judged = averaged.module if averaged else learner
    measure = _measures(learner)
    best_score, best_epoch, best_state = math.inf, 0, copy.deepcopy(judged.state_dict())

    try:
        for epoch in range(1, epochs + 1):
            start, sums = time.perf_counter(), dict[str, Tensor]()
            learner.train()
            for index in batches(targets, batch_size=batch_size, balanced=balanced, generator=shuffle):
                batch = to_float(images[index.to(images.device)], where)
                batch = views(batch) if views else batch  # in full precision: bfloat16 would round where pixels come from
                with autocast(precision, where):
                    measured = measure(batch, targets[index].to(where))
                optimiser.zero_grad(set_to_none=True)
                measured["loss"].backward()
                optimiser.step()
                schedule.step()
                if averaged:
                    averaged.update_parameters(learner)
                for name, value in measured.items():
                    sums[name] = sums.get(name, 0.0) + value.detach() * len(index)
            row: dict[str, Any] = {"epoch": epoch, "epochs": epochs}  # below, the one synchronisation of an epoch
            row |= {f"train_{name}": value.item() / len(images) for name, value in sums.items()}
            seconds = time.perf_counter() - start
            validated = evaluate(judged, val, precision=precision)
            row |= {f"val_{name}": value for name, value in validated.items()}
            if not math.isfinite(row["train_loss"] + row["val_loss"]):
                raise Diverged(
                    f"in epoch {epoch} the training loss is {row['train_loss']:g} and the validation loss {row['val_loss']:g}; "
                    f"the weights of epoch {best_epoch} are kept. Try a learning_rate below {learning_rate:g}, a longer "
                    "warmup, or precision: fp32"
                )
            row["learning_rate"] = schedule.get_last_lr()[0]
            row["seconds"], row["images_per_second"] = seconds, len(images) / seconds

            if monitor not in validated:
                raise ValueError(f"monitor={monitor!r}: the learner measures {', '.join(validated)}")
            score = validated[monitor] if monitor == "loss" else -validated[monitor]
            row["best"] = score < best_score
            if row["best"]:
                best_score, best_epoch, best_state = score, epoch, copy.deepcopy(judged.state_dict())
                if keep:
                    keep(judged)
            yield row
            if patience is not None and epoch - best_epoch >= patience:
                return
    finally:  # also where the caller stops asking for epochs, or training has diverged
        learner.load_state_dict(best_state)
        learner.eval()


def _optimiser(learner: nn.Module, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW or SGD; biases and the scales of normalisation layers (one-dimensional) are not decayed."""
    parameters = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, fused=True)  # on CPU, a third of the time of a step
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)
    raise ValueError(f"optimizer={name!r}: one of adamw, sgd")


def _warmup_and_cosine(optimiser: torch.optim.Optimizer, *, steps: int, warmup: float) -> torch.optim.lr_scheduler.LambdaLR:
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
def evaluate(learner: nn.Module, part: Part, *, batch_size: int = 256, precision: str = "auto") -> dict[str, float]:
    """Mean measures over a part, in eval mode and without views: the learner's `measures`, or its loss where it has none."""
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
    images: UInt8[Tensor, "galaxy 3 size size"],
    *,
    average_orientations: bool = False,
    batch_size: int = 256,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
) -> Float[Tensor, "galaxy class"]:
    """Class probabilities of galaxies, in their order, on the CPU; in eval mode, so no galaxy depends on its batch.

    With `average_orientations`, the mean over the 8 rotations and mirror images of each galaxy (test-time averaging).
    """
    where = device()
    learner.to(where).eval()
    outputs = []
    for batch in images.split(batch_size):
        views = to_float(batch, where)
        views = orientations(views) if average_orientations else [views]
        with autocast(precision, where):
            outputs.append(torch.stack([learner.predict(view) for view in views]).mean(0).cpu())  # pyright: ignore
    return torch.cat(outputs)


def orientations(images: Float[Tensor, "galaxy 3 size size"]) -> list[Float[Tensor, "galaxy 3 size size"]]:
    """The 8 rotations by 90 degrees and mirror images of a batch (the dihedral group D4); they need no resampling."""
    turned = [torch.rot90(images, k, (-2, -1)) for k in range(4)]
    return turned + [image.flip(-1) for image in turned]

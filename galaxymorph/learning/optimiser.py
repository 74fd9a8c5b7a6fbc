"""What moves the weights of a training: the optimiser, its learning rates, the moving average."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def optimiser(
    learner: nn.Module, name: str, learning_rate: float, weight_decay: float, layer_decay: float
) -> torch.optim.Optimizer:
    """Make AdamW or SGD; biases and the scales of normalisation layers (one-dimensional) are not
    decayed. Each stage of the learner is `layer_decay` times as fast as the next later one.

    Raises `ValueError` for another name, or a learner without `stages()` whose stages differ."""
    if layer_decay != 1 and not hasattr(learner, "stages"):
        why = f"{type(learner).__name__} does not say its stages; leave it at 1"
        raise ValueError(f"layer_decay={layer_decay}: {why}")
    modules: Any = [[learner]] if layer_decay == 1 else learner.stages()  # pyright: ignore
    stages = [[p for part in stage for p in part.parameters()] for stage in modules]
    groups = []
    for earlier, parameters in enumerate(reversed(stages)):
        rate = learning_rate * layer_decay**earlier
        for decay, flat in ((0.0, True), (weight_decay, False)):
            some = [p for p in parameters if p.requires_grad and (p.ndim <= 1) == flat]
            groups += [{"params": some, "weight_decay": decay, "lr": rate}] if some else []
    groups.reverse()
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, fused=True)  # a third of a step's time
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)
    raise ValueError(f"optimizer={name!r}: one of adamw, sgd")


def warmup_and_cosine(optimiser: torch.optim.Optimizer, *, steps: int, warmup: float) -> LambdaLR:
    """Schedule a linear rise over the fraction `warmup` of all steps, then a cosine to zero."""
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return LambdaLR(optimiser, factor)


def follow(averaged: AveragedModel, learner: nn.Module, decay: float) -> None:
    """Step the moving average of weights and BatchNorm's statistics; other buffers (a queue, a
    counter) are the latest.

    The decay is (1 + t) / (10 + t) after t steps where that is less: BatchNorm's variances begin
    with 1, often a hundred times too much, which a short training would not forget."""
    t = int(averaged.n_averaged)  # on the CPU, whatever the device
    averaged.multi_avg_fn = get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))
    averaged.update_parameters(learner)
    for (name, old), new in zip(averaged.module.named_buffers(), learner.buffers(), strict=True):
        if not name.endswith(("running_mean", "running_var")):
            old.copy_(new)

"""What a training is between two epochs: weights, what moves them, and the checkpoint that it goes
on from."""

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import joblib
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from galaxymorph.learning.device import device

ERRORS = ("loss", "mse")  # measures of which the smaller is the better
VALUES = ("settings", "best", "rows")  # of a checkpoint, beside weights and draws


class State:
    """A learner in training, at the end of an epoch.

    `best` are the weights of the best epoch so far, `rows` what `fit` has yielded, `judged` is what
    is validated and kept, `average` its decay per step (0: the learner itself)."""

    def __init__(
        self,
        learner: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: LambdaLR,
        *,
        average: float,
        seed: int,
        settings: Mapping[str, object],
    ):
        self.learner, self.optimiser, self.schedule = learner, optimiser, schedule
        self.average = average
        self.averaged = AveragedModel(learner, use_buffers=True) if average else None
        self.judged: nn.Module = self.averaged.module if self.averaged else learner
        self.shuffle = torch.Generator().manual_seed(seed)
        self.settings = {name: str(value) for name, value in settings.items()}
        self.best = copy.deepcopy(self.judged.state_dict())
        self.rows = list[dict[str, Any]]()

    @property
    def best_epoch(self) -> int:
        return max((row["epoch"] for row in self.rows if row["best"]), default=0)

    def improves(self, validated: dict[str, float], monitor: str | None) -> bool:
        """Whether this epoch is the best so far, by the validation measure `monitor`."""
        if monitor is None:
            return True
        if monitor not in validated:
            raise ValueError(f"monitor={monitor!r}: the learner measures {', '.join(validated)}")
        sign = 1 if monitor in ERRORS else -1
        before = (sign * row[f"val_{monitor}"] for row in self.rows)
        return sign * validated[monitor] < min(before, default=math.inf)

    def step(self, loss: Tensor) -> None:
        """Move the weights by one step."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        if self.averaged:
            self._follow(self.averaged)

    def _follow(self, averaged: AveragedModel) -> None:
        """Step the moving average of weights and BatchNorm's statistics; other buffers (a queue, a
        counter) are the latest.

        The decay is (1 + t) / (10 + t) after t steps where that is less: BatchNorm's variances
        begin with 1, often a hundred times too much, which a short training would not forget."""
        t = int(averaged.n_averaged)  # on the CPU, whatever the device
        averaged.multi_avg_fn = get_ema_multi_avg_fn(min(self.average, (1 + t) / (10 + t)))
        averaged.update_parameters(self.learner)
        pairs = zip(self.judged.named_buffers(), self.learner.buffers(), strict=True)
        for (name, old), new in pairs:
            if not name.endswith(("running_mean", "running_var")):
                old.copy_(new)

    def _parts(self) -> dict[str, Any]:
        names = ("learner", "optimiser", "schedule", "averaged")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def save(self, path: Path) -> None:
        """Write the checkpoint, replacing the last one in one go."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {name: getattr(self, name) for name in VALUES}
        state |= {"shuffle": self.shuffle.get_state(), "random": torch.get_rng_state()}
        if device().type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path, keep: Callable[[nn.Module], object] | None) -> None:
        """Go on from a checkpoint of these settings, if there is one; `keep` is called with its
        best weights. One of other settings is set aside, with a warning."""
        if not path.is_file():
            return
        # plain values and tensors: no code is run
        state = torch.load(path, map_location=device(), weights_only=True)
        pairs = [(name, state["settings"].get(name), now) for name, now in self.settings.items()]
        changed = [f"{name} was {before}, is {now}" for name, before, now in pairs if before != now]
        if changed:
            aside = path.replace(path.with_name(f"{path.name}.old"))
            what = f"{path}: of a training with other settings ({', '.join(changed)})"
            now = f"training starts anew, that one is {aside.name} now"
            warnings.warn(f"{what}; {now}", stacklevel=3)
            return
        self.best, self.rows = state["best"], state["rows"]
        if keep:
            self.judged.load_state_dict(self.best)
            keep(self.judged)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.shuffle.set_state(state["shuffle"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if device().type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"].cpu())


def digest(tensors: Iterable[Tensor], *values: object) -> str:
    """Digest tensors, and plain values."""
    return str(joblib.hash([[each.detach().cpu().numpy() for each in tensors], values]))


def fingerprint(learner: nn.Module, views: Callable | None) -> str:
    """Digest a learner before its first step: its weights, and the plain options of its modules and
    views."""
    frozen = [name for name, parameter in learner.named_parameters() if not parameter.requires_grad]
    tensors = learner.state_dict() | dict(learner.named_buffers())  # also those that are not kept
    modules = list(learner.modules())
    options = [
        (type(each).__name__, name, value)
        for each in (views, *modules, *(getattr(module, "views", None) for module in modules))
        for name, value in sorted(getattr(each, "__dict__", {}).items())
        if isinstance(value, int | float | str) and name != "training"
    ]
    return digest(tensors.values(), *tensors, frozen, options)


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

"""The state of a training between two epochs: weights, optimiser, schedule and checkpoint."""

import copy
import io
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

from galaxymorph import project
from galaxymorph.learning import model_files
from galaxymorph.learning.device import device

ERRORS = ("loss", "mse")  # measures for which smaller is better
VALUES = ("settings", "best", "rows")  # stored in a checkpoint besides weights and random states


class State:
    """A learner in training, at the end of an epoch.

    `best` are the best epoch's weights, `rows` what `fit` has yielded; `judged`, the learner or its
    moving average with decay `average` per step, is validated and kept."""

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
        """Return whether this epoch is the best so far, by the validation measure `monitor`."""
        if monitor is None:
            return True
        if monitor not in validated:
            raise ValueError(f"monitor={monitor!r}: the learner measures {', '.join(validated)}")
        sign = 1 if monitor in ERRORS else -1
        before = (sign * row[f"val_{monitor}"] for row in self.rows)
        return sign * validated[monitor] < min(before, default=math.inf)

    def step(self, loss: Tensor) -> None:
        """Take one optimisation step."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        if self.averaged:
            self._follow(self.averaged)

    def _follow(self, averaged: AveragedModel) -> None:
        """Update the moving average of weights and BatchNorm's statistics; copy other buffers.

        After t steps the decay is at most (1 + t) / (10 + t): BatchNorm's variances start at 1,
        often a hundred times too large, which a short training would not forget."""
        t = int(averaged.n_averaged)  # on the CPU, whatever the device
        averaged.multi_avg_fn = get_ema_multi_avg_fn(min(self.average, (1 + t) / (10 + t)))
        averaged.update_parameters(self.learner)
        pairs = zip(self.judged.named_buffers(), self.learner.buffers(), strict=True)
        for (name, old), new in pairs:
            if not name.endswith(("running_mean", "running_var")):
                old.copy_(new)

    def end_epoch(
        self,
        row: dict[str, Any],
        keep: Callable[[nn.Module], object] | None,
        checkpoint: Path | None,
    ) -> None:
        """Add the row of an epoch; if it is the best so far, `keep` its weights; save."""
        self.rows.append(row)
        if row["best"]:
            self.best = copy.deepcopy(self.judged.state_dict())
            if keep:
                keep(self.judged)
        if checkpoint is not None:
            self.save(checkpoint)

    def _parts(self) -> dict[str, Any]:
        names = ("learner", "optimiser", "schedule", "averaged")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def save(self, path: Path) -> None:
        """Write the checkpoint, replacing the last one as a whole."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {name: getattr(self, name) for name in VALUES}
        state |= {"shuffle": self.shuffle.get_state(), "random": torch.get_rng_state()}
        if device().type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        content = io.BytesIO()
        torch.save(state, content)
        project.write(path, content.getbuffer())

    def resume(self, path: Path, keep: Callable[[nn.Module], object] | None) -> None:
        """Resume from a checkpoint and `keep` its best weights.

        One with other settings is renamed, and so is a damaged one: training then starts anew."""
        if not path.is_file():
            return
        before = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts().items()}
        shuffle, random = self.shuffle.get_state(), torch.get_rng_state()
        try:
            state = model_files.unpickled(path, "checkpoint")
            changed = self._changed(state["settings"])
            if not changed:
                self._restore(state)
        except Exception as error:  # of any type, for values of any type
            for name, part in self._parts().items():
                part.load_state_dict(before[name])
            self.shuffle.set_state(shuffle)
            torch.set_rng_state(random)
            why = str(error) if isinstance(error, ValueError) else "its values are not valid"
            project.set_aside(path, f"{why.removeprefix(f'{path}: ')}; training starts anew")
            return
        if changed:
            aside = path.replace(path.with_name(f"{path.name}.old"))
            what = f"{path} has other settings ({', '.join(changed)})"
            now = f"training starts anew; the old checkpoint is now {aside.name}"
            warnings.warn(f"{what}: {now}", stacklevel=3)
            return
        if keep:
            last = copy.deepcopy(self.judged.state_dict())
            self.judged.load_state_dict(self.best)
            keep(self.judged)
            self.judged.load_state_dict(last)

    def _changed(self, theirs: Mapping[str, str]) -> list[str]:
        pairs = [(name, theirs.get(name), now) for name, now in self.settings.items()]
        return [f"{name} was {before}, is {now}" for name, before, now in pairs if before != now]

    def _restore(self, state: dict[str, Any]) -> None:
        """Take up the values of a checkpoint, all of them or (after an exception) only some."""
        rows = [dict(row) for row in state["rows"]]
        self.judged.load_state_dict(state["best"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.shuffle.set_state(state["shuffle"])
        torch.set_rng_state(state["random"])
        if device().type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"])
        self.best, self.rows = state["best"], rows


def digest(tensors: Iterable[Tensor], *values: object) -> str:
    """Hash tensors and plain values."""
    return str(joblib.hash([[each.detach().cpu().numpy() for each in tensors], values]))


def fingerprint(learner: nn.Module, views: Callable | None) -> str:
    """Hash a learner before its first step: weights, and plain options of its modules and views."""
    frozen = [name for name, parameter in learner.named_parameters() if not parameter.requires_grad]
    tensors = learner.state_dict() | dict(learner.named_buffers())  # non-persistent ones too
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
    """Make AdamW or SGD; biases and normalisation layers (1-d parameters) get no weight decay.

    The learning rate of each stage is `layer_decay` times that of the next. Raises `ValueError` for
    an unknown name, or for `layer_decay` with a learner that has no `stages()`."""
    listed = getattr(learner, "stages", None)
    if layer_decay != 1 and listed is None:
        why = f"{type(learner).__name__} has no stages(); leave it at 1"
        raise ValueError(f"layer_decay={layer_decay}: {why}")
    modules = [[learner]] if layer_decay == 1 or listed is None else listed()
    stages = [[p for part in stage for p in part.parameters()] for stage in modules]
    groups = []
    for earlier, parameters in enumerate(reversed(stages)):
        rate = learning_rate * layer_decay**earlier
        for decay, flat in ((0.0, True), (weight_decay, False)):
            some = [p for p in parameters if p.requires_grad and (p.ndim <= 1) == flat]
            groups += [{"params": some, "weight_decay": decay, "lr": rate}] if some else []
    groups.reverse()
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)
    raise ValueError(f"optimizer={name!r}: expected one of adamw, sgd")


def warmup_and_cosine(optimiser: torch.optim.Optimizer, *, steps: int, warmup: float) -> LambdaLR:
    """Schedule a linear rise over the fraction `warmup` of all steps, then a cosine to zero."""
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return LambdaLR(optimiser, factor)

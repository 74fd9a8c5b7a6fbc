"""What a training is between two epochs, and the checkpoint that it goes on from."""

import hashlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from galaxymorph.learning.device import device

ERRORS = ("loss", "mse")  # measures of which the smaller is the better
VALUES = ("settings", "best", "best_score", "rows")  # of a checkpoint, beside weights and draws


@dataclass
class State:
    """What a checkpoint holds."""

    learner: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LambdaLR
    averaged: AveragedModel | None
    average: float  # decay per step
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
        self.best, self.best_score, self.rows = (state[name] for name in VALUES[1:])
        if keep:
            self.judged.load_state_dict(self.best)
            keep(self.judged)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.shuffle.set_state(state["shuffle"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if device().type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"].cpu())


def digest(*parts: object) -> str:
    """Digest tensors, by shape and values, and texts of other values."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{tuple(part.shape)}".encode())
            found.update(part.detach().cpu().contiguous().numpy().tobytes())
        else:
            found.update(f"{part} ".encode())
    return found.hexdigest()[:16]


def digest_of_learner(learner: nn.Module, views: Callable | None) -> str:
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
    return digest(frozen, *tensors, *tensors.values(), options)

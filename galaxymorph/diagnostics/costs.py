"""Costs of a method: parameters, floating-point operations, speed of prediction, memory."""

import contextlib
import copy
import hashlib
import json
import resource
import statistics
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from galaxymorph import project
from galaxymorph.learning.device import device, to_float

LONG = 0.25  # seconds: a pass that needs no repetition to be measured
Inputs = Shaped[Tensor, "galaxy ..."]  # images, uint8 or float in [0, 1], or features, float


def of(
    model: nn.Module | None,
    inputs: Inputs,
    *,
    predict: Callable[[Any], Any],
    training_seconds: float | int | None = None,
    known: Path | None = None,
) -> dict[str, int | float | str]:
    """Measure the costs of a method, for "costs" in `metrics.json`.

    Args:
        model: the network, from images to classes; None for a method without one (no flops).
        inputs: about a hundred real galaxies, on which `predict` is timed.
        known: folder where flops and speed are kept; they are measured once for all networks of
            the same architecture, since they do not depend on the weights.

    Returns: parameters, flops, training_seconds, images_per_second, peak_memory_mib,
    peak_memory_of."""
    measured = _measured(model, inputs, predict, known)
    found: dict[str, int | float | str] = {}
    if model is not None:
        found = {"parameters": parameters(model), "flops": measured["flops"]}
    if training_seconds is not None:
        found["training_seconds"] = float(training_seconds)
    return found | measured | peak_memory()


def _measured(
    model: nn.Module | None, inputs: Inputs, predict: Callable[[Any], Any], known: Path | None
) -> dict[str, int | float]:
    """Measure flops and images_per_second, or read them from the folder `known`."""
    file = known / f"costs-{_architecture(model, inputs)}.json" if known and model else None
    with contextlib.suppress(ValueError):  # damaged
        if file and (before := project.read_json(file)):
            return before
    found: dict[str, int | float] = {} if model is None else {"flops": flops(model, inputs)}
    found["images_per_second"] = speed(predict, inputs)
    if file:
        project.write_json(file, found)
    return found


def _architecture(model: nn.Module, inputs: Inputs) -> str:
    """Hash what the costs of a network depend on: its layers, the inputs, the machine."""
    shapes = [(name, list(value.shape)) for name, value in model.state_dict().items()]
    options = [getattr(module, "options", None) for module in model.modules()]
    where = [str(device()), torch.get_num_threads(), torch.__version__, project.HOST]
    parts = [repr(model), shapes, options, list(inputs.shape), where]
    text = json.dumps(parts, default=project.plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parameters(model: nn.Module) -> int:
    """Count each weight once, frozen ones included, but no buffers (BatchNorm statistics)."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def flops(model: nn.Module, inputs: Inputs) -> int:
    """Count the floating-point operations of a forward pass of the first galaxy in eval mode.

    A multiply-add counts as 2 (in some papers as 1). Convolutions, matrix products and attention
    are counted; element-wise operations such as biases, activations and BatchNorm are not, which is
    less than one per cent of a ResNet."""
    where = device()
    asked = copy.deepcopy(model).to(where).eval()
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fused attention is not counted
    try:
        with FlopCounterMode(display=False) as counter:
            asked(to_float(inputs[:1], where))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


def speed(predict: Callable[[Any], Any], inputs: Inputs) -> float:
    """Measure galaxies per second after a warm-up: the median of three passes over `inputs`.

    If the warm-up takes longer than `LONG`, a single pass is timed."""

    def computed() -> None:
        predict(inputs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # include pending computations

    passes = 3 if timeit.timeit(computed, number=1) < LONG else 1
    return len(inputs) / statistics.median(timeit.repeat(computed, number=1, repeat=passes))


def peak_memory() -> dict[str, float | str]:
    """Return the peak memory so far, peak_memory_mib, and what it covers, peak_memory_of.

    Either "GPU tensors" (torch's allocator) or "process" (resident, without child processes)."""
    of, most = "process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if torch.cuda.is_available():
        of, most = "GPU tensors", torch.cuda.max_memory_allocated()
    elif sys.platform != "darwin":
        most *= 2**10  # KiB; on macOS bytes
    return {"peak_memory_mib": most / 2**20, "peak_memory_of": of}

"""What a method costs: parameters, floating-point operations, speed of prediction, memory."""

import copy
import resource
import statistics
import sys
import timeit
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from galaxymorph.learning.device import device, to_float

Inputs = Shaped[Tensor, "galaxy ..."]  # images, uint8 or float in [0, 1], or features, float


def of(
    model: nn.Module | None,
    inputs: Inputs,
    *,
    predict: Callable[[Any], Any],
    training_seconds: float | int | None = None,
) -> dict[str, int | float | str]:
    """Measure all costs of a method, for "costs" in `metrics.json`: parameters, flops,
    training_seconds (where given), images_per_second, peak_memory_mib and peak_memory_of.

    `model`: what computes the classes of galaxies, from the images on; None for a method without a
    network, which has no parameters and no flops. `inputs`: a hundred real galaxies or so, on which
    `predict` is timed."""
    found: dict[str, int | float | str] = {}
    if model is not None:
        found = {"parameters": parameters(model), "flops": flops(model, inputs)}
    if training_seconds is not None:
        found["training_seconds"] = float(training_seconds)
    return found | {"images_per_second": speed(predict, inputs)} | peak_memory()


def parameters(model: nn.Module) -> int:
    """Count the weights, frozen ones included, each once; buffers, such as the statistics of
    BatchNorm, do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def flops(model: nn.Module, inputs: Inputs) -> int:
    """Count the floating-point operations of one forward pass of the first galaxy in eval mode.

    A multiply-add counts 2 (some papers count 1). Convolutions, matrix products and attention
    count; what works on each number alone, such as a bias, an activation or BatchNorm, does not: of
    a ResNet less than one per cent."""
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
    """Time galaxies per second: the median of three passes over all `inputs`, after one untimed
    pass that may have to allocate or to choose algorithms."""

    def computed() -> None:
        predict(inputs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what is still computing counts

    _, *seconds = timeit.repeat(computed, number=1, repeat=4)
    return len(inputs) / statistics.median(seconds)


def peak_memory() -> dict[str, float | str]:
    """Return the most memory so far, peak_memory_mib, and peak_memory_of: "GPU tensors" (torch's
    allocator) where there is a GPU, else "process" (resident, without processes that it starts)."""
    of, most = "process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if torch.cuda.is_available():
        of, most = "GPU tensors", torch.cuda.max_memory_allocated()
    elif sys.platform != "darwin":
        most *= 2**10  # KiB; on macOS bytes
    return {"peak_memory_mib": most / 2**20, "peak_memory_of": of}

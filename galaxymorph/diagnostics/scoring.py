"""Ask a model for one score per galaxy and leave it as it was: what maps and their scores share."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

Floats = Float[Tensor, "galaxy 3 size size"]  # in [0, 1]
Images = UInt8[Tensor, "galaxy 3 size size"] | Floats
Heat = Float[Tensor, "galaxy size size"]  # of a class-activation map, 0 to 1
PerGalaxy = Float[Tensor, " galaxy"]
Target = Callable[[Tensor], Tensor]  # of a model's outputs, (galaxy, ...) to (galaxy,)


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Hold a model in eval mode and full precision, without gradients of weights; afterwards all is
    as it was, whatever happens."""
    was: list[tuple[Any, str, bool]] = [
        (each, "training", each.training) for each in model.modules()
    ]
    was += [(weight, "requires_grad", weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        with torch.autocast(device_of(model).type, enabled=False):
            yield
    finally:
        for owner, name, value in was:
            setattr(owner, name, value)


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's weights are; the CPU where it has none."""
    return next((weight.device for weight in model.parameters()), torch.device("cpu"))


def batches(model: nn.Module, images: Images, batch_size: int) -> Iterator[Floats]:
    """Yield images in [0, 1], batch by batch, on the device of the model."""
    return (floats(batch.to(device_of(model))) for batch in images.split(batch_size))


def floats(images: Images) -> Floats:
    """Return images in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def score(model: nn.Module, images: Floats, target: Target) -> PerGalaxy:
    """Return what the target makes of the model's outputs.

    Raises `ValueError` for a target that gives anything but one score per galaxy."""
    found, n = target(model(images)), len(images)
    if found.shape != (n,):
        given = f"{tuple(found.shape)} for {n} galaxies"
        raise ValueError(f"the target gives {given}; expected one score for each")
    return found


def border(images: Float[Tensor, "*shape size size"]) -> Float[Tensor, "*shape pixel"]:
    """Return the frame's outermost pixels, 1/16 of its side."""
    edge = max(1, images.shape[-1] // 16)
    outer = torch.ones(images.shape[-2:], dtype=torch.bool, device=images.device)
    outer[edge:-edge, edge:-edge] = False
    return images[..., outer]


def sky(images: Floats) -> Float[Tensor, "galaxy 3 1 1"]:
    """Return the median of each band over the frame's border."""
    return border(images).median(-1).values[..., None, None]

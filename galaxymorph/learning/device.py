"""Where and in which precision networks compute, and how a batch comes there."""

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16(where: torch.device) -> bool:
    """Whether the processor computes in bfloat16 itself; emulated, it is slower than fp32."""
    if where.type == "cuda":
        return torch.cuda.get_device_capability(where) >= (8, 0)
    # a torch that cannot tell gets fp32, which is never wrong
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def autocast(precision: str, where: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 for "bf16", and for "auto" where `has_bf16`; not for "fp32"."""
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision={precision!r}: one of auto, bf16, fp32")
    wanted = precision == "bf16" or (precision == "auto" and has_bf16(where))
    return torch.autocast(where.type, torch.bfloat16, enabled=wanted)


def to_float(images: Shaped[Tensor, "*shape"], where: torch.device) -> Float[Tensor, "*shape"]:
    """Bring a batch to its device: images (uint8) as [0, 1] and channels-last, the faster layout
    for convolutions; features, which are float already, as they are."""
    images = images.to(where, non_blocking=True)
    if images.is_floating_point():
        return images
    return images.float().div_(255).contiguous(memory_format=torch.channels_last)

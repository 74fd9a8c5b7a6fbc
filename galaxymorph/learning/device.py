"""Device and precision of computations, and the transfer of batches."""

import os
import re
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

LIMIT = "ONEDNN_MAX_CPU_ISA"  # the instructions that the convolutions may use, if set


def device() -> torch.device:
    """Return the GPU if available, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16(where: torch.device) -> bool:
    """Return whether bfloat16 is native; where it is emulated, it is slower than fp32."""
    if where.type == "cuda":
        return torch.cuda.get_device_capability(where) >= (8, 0)
    if not re.search("DEFAULT|BF16|FP16|AMX|ALL", os.environ.get(LIMIT, "DEFAULT").upper()):
        return False
    # older versions of torch cannot tell; fp32 is always safe
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def autocast(precision: str, where: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 for "bf16", and for "auto" if `has_bf16`; not for "fp32"."""
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision={precision!r}: expected one of auto, bf16, fp32")
    wanted = precision == "bf16" or (precision == "auto" and has_bf16(where))
    return torch.autocast(where.type, torch.bfloat16, enabled=wanted)


def to_float(images: Shaped[Tensor, "*shape"], where: torch.device) -> Float[Tensor, "*shape"]:
    """Move a batch to a device; scale uint8 images to [0, 1], channels-last as that is faster."""
    images = images.to(where, non_blocking=True)
    if images.is_floating_point():
        return images
    return images.float().div_(255).contiguous(memory_format=torch.channels_last)

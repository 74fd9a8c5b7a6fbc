"""Encoders: images in, one feature vector per galaxy out. The complete torchvision networks without their last layer."""

from __future__ import annotations

import difflib

import torchvision.models
from jaxtyping import Float
from torch import Tensor, nn

NAMES = ("resnet18", "resnet50")
SMALLEST = 32  # px


class Encoder(nn.Module):
    """A convolutional network up to its pooled features; `num_features` is their number."""

    def __init__(self, body: nn.Module, num_features: int):
        super().__init__()
        self.body, self.num_features = body, num_features

    def forward(self, images: Float[Tensor, "galaxy 3 height width"]) -> Float[Tensor, "galaxy feature"]:
        """Features of normalised images (`classifier.normalise`), before any head.

        Raises `ValueError` below 32 px: at 16 px the last stage is handed single cells, where the bfloat16 gradient of its
        stride-2 convolution reads memory that was never written (oneDNN on CPU, torch 2.15), so that losses become NaN.
        """
        if min(images.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"images of {tuple(images.shape[-2:])} px: an encoder needs at least {SMALLEST} px; set image_size"
            )
        return self.body(images)


def encoder(name: str) -> Encoder:
    """A randomly initialised encoder by its name (`NAMES`): the complete network of He et al. 2016 (arXiv 1512.03385).

    Each residual branch starts as zero (Goyal et al. 2017, arXiv 1706.02677, section 5.1), so that the untrained network is a
    shallow one.

    Raises `ValueError` for an unknown name, with the nearest one.
    """
    if name not in NAMES:
        nearest = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"no encoder {name!r}{hint} There are: {', '.join(NAMES)}")
    body = getattr(torchvision.models, name)(weights=None, zero_init_residual=True)
    num_features = body.fc.in_features
    body.fc = nn.Identity()
    return Encoder(body, num_features)

"""Encoders: images in, one feature vector per galaxy out. New ones by name, trained ones by the path of their model file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torchvision.models
from jaxtyping import Float
from torch import Tensor, nn

from galaxymorph import cae, runs, weights

NAMES = ("resnet18", "resnet50", "conv")
SMALLEST = 32  # px

# Of galaxies as 8-bit cutouts the mean is near 0.1 and the spread near 0.15; fixed numbers, because statistics that are
# measured on a data set have to be carried with the weights and may leak from the test galaxies.
MEAN, STD = 0.1, 0.15


def normalise(images: Float[Tensor, "galaxy 3 height width"]) -> Float[Tensor, "galaxy 3 height width"]:
    """Images in [0, 1] to about zero mean and unit variance: what every network of this package sees."""
    return (images - MEAN) / STD


class Encoder(nn.Module):
    """A convolutional network up to the features that it is used for: `num_features` of them.

    `options` are those of `encoder` that build its like, untrained. `seen` are the ids of all galaxies that it has been trained
    on, `seen_labels` of those whose labels it was told.
    """

    seen: frozenset[str] = frozenset()
    seen_labels: frozenset[str] = frozenset()

    def __init__(self, body: nn.Module, num_features: int, options: dict[str, Any]):
        super().__init__()
        self.body, self.num_features, self.options = body, num_features, options

    def forward(self, images: Float[Tensor, "galaxy 3 height width"]) -> Float[Tensor, "galaxy feature"]:
        """Features of images in [0, 1], before any head.

        Raises `ValueError` below 32 px: at 16 px the last stage is handed single cells, where the bfloat16 gradient of its
        stride-2 convolution reads memory that was never written (oneDNN on CPU, torch 2.15), so that losses become NaN.
        """
        if min(images.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"images of {tuple(images.shape[-2:])} px: an encoder needs at least {SMALLEST} px; set image_size"
            )
        return self.body(normalise(images))

    def protocol(self, how: str, test: Iterable[str]) -> str:
        """How to call a result of this encoder on test galaxies, by their ids: `how` ("frozen", "fine-tuned"), to which
        "transductive" is added where it has been trained on some of them without their labels. Of an untrained encoder "from
        scratch", or "frozen, random encoder".

        Raises `ValueError` where it was told labels of test galaxies: that result would be worth nothing.
        """
        tested = set(test)
        told = sorted(tested & self.seen_labels)
        if told:
            raise ValueError(
                f"the encoder was trained with the labels of {len(told)} of {len(tested)} test galaxies, the first "
                f"{told[0]!r}; take one that was trained with the same seed, so on the same split"
            )
        if not self.seen:
            return "from scratch" if how == "fine-tuned" else f"{how}, random encoder"
        return f"{how}, transductive" if tested & self.seen else how

    def stages(self) -> list[list[nn.Module]]:
        """Its modules from the first layers to the last, for learning rates that differ."""
        if isinstance(self.body, cae.ConvEncoder):
            return [[stage] for stage in (*self.body.stages, self.body.to_latent)]
        stages: list[list[nn.Module]] = [[]]
        for name, module in self.body.named_children():
            if name.startswith("layer"):  # of a ResNet; what comes before the first is the stem
                stages.append([])
            stages[-1].append(module)
        return stages


def encoder(
    name: str,
    *,
    zero_init_residual: bool = False,
    channels: Sequence[int] | None = None,
    latent: int | None = None,
    aligned: bool | None = None,
    image_size: int | None = None,
) -> Encoder:
    """An encoder by name (`NAMES`), randomly initialised, or by the path of a model file of this package, trained.

    * `resnet18`, `resnet50`: the complete networks of He et al. 2016 (arXiv 1512.03385). With `zero_init_residual` each
      residual branch starts as zero (Goyal et al. 2017, arXiv 1706.02677, section 5.1), so that the untrained network is a
      shallow one: easier to train, but its random features are worse.
    * `conv`: the encoder of the autoencoder (`cae.ConvEncoder`) with its `channels`, the size of its `latent`, whether galaxies
      are turned first (`aligned`), and the `image_size` that it is for, which means nothing to the others.
    * `FILE.safetensors`: the encoder of any model that was trained here, supervised or not; a relative path is relative to the
      project's folder.

    Raises `ValueError` for an unknown name, with the nearest one, and for an option that the encoder does not have.
    """
    given = {"zero_init_residual": zero_init_residual or None, "channels": channels, "latent": latent, "aligned": aligned}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if name.endswith(".safetensors"):
        return _trained(name, options)
    if name not in NAMES:
        nearest = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"no encoder {name!r}{hint} There are: {', '.join(NAMES)}, or the path of a model file")
    known = ("channels", "latent", "aligned") if name == "conv" else ("zero_init_residual",)
    if set(options) - set(known):
        raise ValueError(f"encoder {name} has no option {', '.join(set(options) - set(known))}; it has {', '.join(known)}")
    if name == "conv":
        options |= {} if image_size is None else {"image_size": image_size}
        body = cae.ConvEncoder(**options)
        return Encoder(body, body.num_features, {"name": name, **body.options})
    body = getattr(torchvision.models, name)(weights=None, zero_init_residual=zero_init_residual)
    num_features = body.fc.in_features
    body.fc = nn.Identity()
    return Encoder(body, num_features, {"name": name, **options})


def _trained(name: str, options: dict[str, Any]) -> Encoder:
    path = runs.root() / name
    state, header = weights.load(path)
    prefix = "encoder."
    state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not state or "encoder" not in header:
        raise ValueError(f"{path}: a model file without an encoder; expected one that a training step of this package wrote")
    if "seen" not in header:
        raise ValueError(f"{path}: does not say which galaxies it was trained on (`seen`), so test galaxies may be among them")
    wrong = {key: value for key, value in options.items() if header["encoder"].get(key) != value}
    if wrong:
        raise ValueError(f"{path}: its encoder is {header['encoder']}, not {wrong}; leave these options out")
    trained = encoder(**header["encoder"])
    trained.load_state_dict(state)
    trained.seen, trained.seen_labels = (frozenset(header.get(key, ())) for key in ("seen", "seen_labels"))
    return trained

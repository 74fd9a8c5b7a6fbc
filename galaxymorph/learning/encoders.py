"""Encoders: images in, one feature vector per galaxy out. New ones by name, with random or
published weights; trained ones by the path of their model file."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torchvision.models
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph import project
from galaxymorph.learning import architectures, cae
from galaxymorph.learning.model_files import Unavailable, fetch, is_model, load, read

# With what their authors state: mean and std of the images that they were trained on, and the
# smallest that they take.
PUBLISHED = {
    name: torchvision.models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("resnet18", "resnet50", "vgg16", "inception_v3")
}
NAMES = ("cnn", "conv", *PUBLISHED, "xception")
RESIDUAL = ("zero_init_residual",)
OWN = {
    "cnn": ("channels",),
    "conv": ("channels", "latent", "aligned"),
    "resnet18": RESIDUAL,
    "resnet50": RESIDUAL,
}

# No network takes less, in px: a last stage that is handed single cells gets NaN, because the
# bfloat16 gradient of its stride-2
# convolution reads memory that was never written (oneDNN on CPU, torch 2.15).
SMALLEST = 32

# Of galaxies as 8-bit cutouts the mean is near 0.1 and the spread near 0.15; fixed numbers, because
# statistics that are
# measured on a data set have to be carried with the weights and may leak from the test galaxies.
MEAN, STD = 0.1, 0.15
OFFLINE = (
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
)  # of the libraries by which timm downloads
HEADS = re.compile(
    r"(fc|classifier|head|AuxLogits)\b.*"
)  # what a file of weights has beyond the encoder


class Encoder(nn.Module):
    """A convolutional network up to the features that it is used for: `num_features` of them.

    It prepares images itself: `size` is the side in px that they are brought to (None: as they are,
    but for a network that takes none so small), `mean` and `std` of each band in [0, 1] are taken
    off. `options` are those of `encoder` that build its like, untrained. `seen` are the ids of all
    galaxies that it has been trained on, `seen_labels` of those whose labels it was told;
    `published` is whether its weights are those of others. `adaptation` is what training does to
    it."""

    seen: frozenset[str] = frozenset()
    seen_labels: frozenset[str] = frozenset()
    published: Literal["", "imagenet", "file"] = ""
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        num_features: int,
        options: dict[str, Any],
        *,
        size: int | None = None,
        mean: float | Sequence[float] = MEAN,
        std: float | Sequence[float] = STD,
    ):
        super().__init__()
        self.body, self.num_features, self.options, self.size = body, num_features, options, size
        self.smallest = smallest(options["name"])
        if size is not None and size < self.smallest:
            raise ValueError(
                f"size={size}: {options['name']} takes images of {self.smallest} px or more"
            )
        self.normalisation = {"mean": mean, "std": std}
        for name, value in self.normalisation.items():  # not persistent: the options say it
            self.register_buffer(name, torch.tensor(value).reshape(-1, 1, 1), persistent=False)
        self.adaptation = "fine-tuned"
        self.frozen: list[nn.Module] = []

    def prepare(
        self, images: Float[Tensor, "galaxy 3 height width"]
    ) -> Float[Tensor, "galaxy 3 new_height new_width"]:
        """Images in [0, 1] as the network wants to see them: brought to its size (bilinear), mean
        and spread taken off."""
        size = self.size or max(self.smallest, *images.shape[-2:])
        if images.shape[-2:] != (size, size):
            images = functional.interpolate(
                images, size=(size, size), mode="bilinear", antialias=True
            )
        return (images - self.mean) / self.std

    def forward(
        self, images: Float[Tensor, "galaxy 3 height width"]
    ) -> Float[Tensor, "galaxy feature"]:
        """Features of images in [0, 1], before any head. Raises `ValueError` below 32 px."""
        if min(images.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"images of {tuple(images.shape[-2:])} px: an encoder needs at least {SMALLEST} px; set image_size"
            )
        return self.body(self.prepare(images))

    def protocol(self, how: str, test: Iterable[str]) -> str:
        """How to call a result of this encoder on test galaxies, by their ids: `how` ("frozen", or
        its `adaptation`), to which "transductive" is added where it has been trained on some of
        them without their labels, and "galaxies unknown" where a file of others does not say what
        it has been trained on. Of an untrained encoder "from scratch", or "frozen, random encoder".

        Raises `ValueError` where it was told labels of test galaxies: that result would be worth
        nothing."""
        tested = set(test)
        told = sorted(tested & self.seen_labels)
        if told:
            raise ValueError(
                f"the encoder was trained with the labels of {len(told)} of {len(tested)} test galaxies, the first "
                f"{told[0]!r}; take one that was trained with the same seed, so on the same split"
            )
        if not self.seen and not self.published:
            return "from scratch" if how == "fine-tuned" else f"{how}, random encoder"
        if self.published == "file":
            return f"{how}, galaxies unknown"
        return f"{how}, transductive" if tested & self.seen else how

    def stages(self) -> list[list[nn.Module]]:
        """Its modules from the first layers to the last, for learning rates that differ, and to be
        frozen one after the other.

        Of a ResNet the stem and its four layers, of VGG what lies between two poolings, of
        Inception the stem and the modules of each grid size, of Xception the stem and its three
        flows, of others block by block."""
        if list(self.body.parameters(recurse=False)):
            raise ValueError(
                f"{self.options['name']}: has weights outside its layers, so that its stages cannot be told apart"
            )
        parts: list[tuple[Any, nn.Module]] = []
        for name, child in self.body.named_children():
            if name in ("blocks", "stages"):
                parts += [((name, number), block) for number, block in enumerate(child.children())]
            elif name == "features":
                ends = itertools.accumulate(
                    isinstance(layer, nn.MaxPool2d) for layer in child.children()
                )
                parts += [
                    ((name, end), layer) for end, layer in zip(ends, child.children(), strict=True)
                ]
            else:
                parts.append(
                    (
                        re.sub(r"(layer\d|Mixed_\d|entry|middle|exit)?.*", r"\1", name, count=1),
                        child,
                    )
                )
        groups = (
            [module for _, module in group]
            for _, group in itertools.groupby(parts, key=lambda part: part[0])
        )
        return [group for group in groups if any(list(module.parameters()) for module in group)]

    def freeze(self, how: Literal["none", "all"] | int) -> None:
        """Keeps its first stages (`how` many, or "all") as they are while a head on it is trained:
        no gradient, and BatchNorm with the statistics that it has."""
        if how == "none":
            return
        stages = self.stages()
        number = len(stages) if how == "all" else -1 if isinstance(how, bool) else int(how)
        if not 0 <= number <= len(stages):
            raise ValueError(
                f"freeze={how!r}: none, all, or how many of the {len(stages)} stages of {self.options['name']}"
            )
        self.frozen = [module for stage in stages[:number] for module in stage]
        for module in self.frozen:
            module.requires_grad_(False)
        self.adaptation = (
            "frozen" if number == len(stages) else "partly frozen" if number else "fine-tuned"
        )
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """What is frozen stays in eval mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def smallest(name: str) -> int:
    """The side in px of the smallest images that a network takes."""
    stated = (
        PUBLISHED[name].meta["min_size"][0] if name in PUBLISHED else {"xception": 71}.get(name, 0)
    )
    return max(SMALLEST, stated)


def encoder(
    name: str,
    *,
    weights: str = "none",
    freeze: Literal["none", "all"] | int = "none",
    size: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    zero_init_residual: bool = False,
    channels: Sequence[int] | None = None,
    latent: int | None = None,
    aligned: bool | None = None,
    image_size: int | None = None,
) -> Encoder:
    """An encoder by name (`NAMES`, or `timm/NAME`), or by the path of a model file of this package,
    trained.

    * `cnn`: a small network for few labels (`architectures.SmallCNN`) with the `channels` of its
      blocks.
    * `resnet18`, `resnet50`: the complete networks of He et al. 2016 (arXiv 1512.03385). With
      `zero_init_residual` each residual branch starts as zero (Goyal et al. 2017, arXiv 1706.02677,
      section 5.1), so that the untrained network is a shallow one: easier to train, but its random
      features are worse.
    * `vgg16`: the 13 convolutions of Simonyan & Zisserman 2015 (arXiv 1409.1556), and the mean of
      the cells instead of the two layers of 4,096 that follow, which hold nine tenths of its
      weights.
    * `inception_v3`: Szegedy et al. 2016 (arXiv 1512.00567) without the auxiliary head; `xception`:
      Chollet 2017 (arXiv 1610.02357).
    * `conv`: the encoder of the autoencoder (`cae.ConvEncoder`) with its `channels`, the size of
      its `latent`, whether galaxies are turned first (`aligned`), and the `image_size` that it is
      for, which means nothing to the others.
    * `timm/NAME`: any network of the package timm (extra `models`) that takes images of any size.
    * `FILE.safetensors`: the encoder of any model that was trained here, supervised or not; a
      relative path is relative to the project's folder.

    `weights`: none, so random ones; imagenet, those that torchvision or timm publish, downloaded
    once; or a file of the network's weights, of torchvision (`.pth`), as safetensors, or one of
    this package. `freeze` keeps the first stages as they are (`Encoder.freeze`). `size`: the side
    in px that images are brought to; by default they stay as they are, except that a network which
    takes none so small (`smallest`) gets them enlarged. From images in [0, 1] `mean` is taken off,
    and what is left divided by `std` (of each band, or of all): by default what is stated with the
    weights, or what fits galaxies.

    Raises `ValueError` for an unknown name, with the nearest one, for an option that the encoder
    does not have, and for a file that does not fit; `weights.Unavailable` where weights would have
    to be downloaded and cannot be."""
    given = {
        "zero_init_residual": zero_init_residual or None,
        "channels": channels,
        "latent": latent,
        "aligned": aligned,
    }
    given |= {"size": size, "mean": mean, "std": std}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if name.endswith(".safetensors"):
        if weights != "none":
            raise ValueError(f"encoder {name} is trained; leave out weights={weights!r}")
        made = _trained(name, options)
    else:
        made = _new(name, options, weights, image_size)
    made.freeze(freeze)
    return made


def _new(name: str, options: dict[str, Any], weights: str, image_size: int | None) -> Encoder:
    if name not in NAMES and not name.startswith("timm/"):
        nearest = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        there = ", ".join(NAMES)
        raise ValueError(
            f"no encoder {name!r}{hint} There are: {there}, timm/NAME, or the path of a model file"
        )
    shown = {key: options.pop(key) for key in ("size", "mean", "std") if key in options}
    known = OWN.get(name, ())
    if set(options) - set(known):
        has = ", ".join((*known, "size", "mean", "std"))
        raise ValueError(
            f"encoder {name} has no option {', '.join(sorted(set(options) - set(known)))}; it has {has}"
        )
    if name == "conv" and image_size is not None:
        options |= {"image_size": image_size}
    path = project.root() / Path(weights).expanduser()
    if weights not in ("none", "imagenet") and is_model(path):
        return _trained(weights, {"name": name, **options, **shown})
    body, num_features, published = _body(name, options, imagenet=weights == "imagenet")
    shown = {**(published if weights != "none" else {}), **shown}
    made = Encoder(
        body, num_features, {"name": name, **getattr(body, "options", options), **shown}, **shown
    )
    if weights == "imagenet" and name in PUBLISHED:
        _load(made, fetch(PUBLISHED[name].url), name)
    elif weights not in ("none", "imagenet"):
        _load(made, read(path), weights)
    made.published = "" if weights == "none" else "imagenet" if weights == "imagenet" else "file"
    return made


def _body(
    name: str, options: dict[str, Any], *, imagenet: bool
) -> tuple[nn.Module, int, dict[str, Any]]:
    """A network up to its features, with random weights; how many these are; the mean and std that
    ImageNet's weights want."""
    if name.startswith("timm/"):
        return _timm(name, imagenet=imagenet)
    if imagenet and name not in PUBLISHED:
        there = ", ".join(PUBLISHED)
        raise ValueError(
            f"encoder {name} has no ImageNet weights; {there} and many timm/NAME have (timm/legacy_xception)"
        )
    if name not in PUBLISHED:
        makers = {
            "cnn": architectures.SmallCNN,
            "conv": cae.ConvEncoder,
            "xception": architectures.Xception,
        }
        body: Any = makers[name](**options)
        return body, body.num_features, {}
    transform = PUBLISHED[name].transforms()
    published = {"mean": list(transform.mean), "std": list(transform.std)}
    if (
        name == "inception_v3"
    ):  # torchvision's network itself turns these into what its weights were trained with
        published = {"mean": 0.5, "std": 0.5}
    if name == "vgg16":
        body = torchvision.models.vgg16(weights=None)
        body.avgpool, body.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()
        return body, 512, published
    more = (
        {"aux_logits": False, "init_weights": not imagenet} if name == "inception_v3" else options
    )
    body = getattr(torchvision.models, name)(weights=None, **more)
    num_features, body.fc = body.fc.in_features, nn.Identity()
    return body, num_features, published


def _timm(name: str, *, imagenet: bool) -> tuple[nn.Module, int, dict[str, Any]]:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"encoder {name} needs the package timm: pip install 'galaxymorph[models]'"
        ) from error
    wanted = name.removeprefix("timm/")
    if not timm.is_model(wanted):
        nearest = ", ".join(
            f"timm/{other}" for other in difflib.get_close_matches(wanted, timm.list_models(), n=3)
        )
        raise ValueError(f"no encoder {name!r}{f'; did you mean {nearest}?' if nearest else ''}")
    try:
        body: Any = timm.create_model(wanted, pretrained=imagenet, num_classes=0)
    except RuntimeError as error:  # it has none
        raise ValueError(f"encoder {name}: {error}") from error
    except Exception as error:
        if not isinstance(error, ConnectionError) and type(error).__name__ not in OFFLINE:
            raise
        raise Unavailable(
            f"weights not available offline: {name} ({type(error).__name__})"
        ) from error
    num_features = getattr(body, "head_hidden_size", None) or body.num_features
    return body, num_features, {key: list(body.pretrained_cfg[key]) for key in ("mean", "std")}


def _load(made: Encoder, state: dict[str, Tensor], source: str) -> None:
    """Puts weights of others into the body of an encoder; what they have beyond it is left out."""
    wanted, name = made.body.state_dict(), made.options["name"]
    counts = {
        key: value for key, value in wanted.items() if key.endswith("num_batches_tracked")
    }  # old files have none
    state = counts | {
        key: value for key, value in state.items() if key in wanted or not HEADS.fullmatch(key)
    }
    for key in sorted({*state, *wanted}):
        if key not in state or key not in wanted:
            where = source if key in state else f"encoder {name}"
            raise ValueError(f"{source}: not the weights of {name}: only {where} has {key!r}")
        if state[key].shape != wanted[key].shape:
            raise ValueError(
                f"{source}: not the weights of {name}: {key!r} is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}"
            )
    made.body.load_state_dict(state)


def _trained(name: str, options: dict[str, Any]) -> Encoder:
    path = project.root() / name
    state, header = load(path)
    prefix = "encoder."
    state = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    if not state or "encoder" not in header:
        raise ValueError(
            f"{path}: a model file without an encoder; expected one that a training step of this package wrote"
        )
    if "seen" not in header:
        raise ValueError(
            f"{path}: does not say which galaxies it was trained on (`seen`), so test galaxies may be among them"
        )
    first = "zero_init_residual"  # is about first weights alone
    wrong = {
        key: value
        for key, value in options.items()
        if key != first and header["encoder"].get(key) != value
    }
    if wrong:
        raise ValueError(
            f"{path}: its encoder is {header['encoder']}, not {wrong}; leave these options out"
        )
    trained = encoder(**header["encoder"])
    trained.load_state_dict(state)
    trained.seen, trained.seen_labels = (
        frozenset(header.get(key, ())) for key in ("seen", "seen_labels")
    )
    return trained

"""Encoders from images to features: new ones by name, trained ones by model file."""

import functools
import importlib
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph import project
from galaxymorph.learning import foreign
from galaxymorph.learning.architectures import SMALLEST, Features, SmallCNN, Xception
from galaxymorph.learning.cae import ConvEncoder
from galaxymorph.learning.model_files import Unavailable, fetch, filled, load, of_surveys, read
from galaxymorph.pixels import Images
from galaxymorph.text import nearest, unknown

PUBLISHED = ("resnet18", "resnet50", "vgg16", "inception_v3")  # of torchvision
OWN = {"cnn": SmallCNN, "conv": ConvEncoder, "xception": Xception}
NAMES = ("cnn", "conv", *PUBLISHED, "xception")
OPTIONS = {  # besides size, mean and std
    "cnn": ("channels",),
    "conv": ("channels", "latent", "aligned"),
    "resnet18": ("zero_init_residual",),
    "resnet50": ("zero_init_residual",),
}
# Typical of 8-bit galaxy cutouts; fixed, because measured statistics could leak from test galaxies.
MEAN, STD = 0.1, 0.15
# errors of timm's download libraries when offline
OFFLINE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError")
HEADS = re.compile(r"(fc|classifier|head|AuxLogits)\b.*")  # weights that an encoder does not use
Freeze = Literal["none", "all"] | int
Bands = float | Sequence[float]  # one number for all bands, or one per band
# a network, its number of features, and the mean and std for its ImageNet weights
Body = tuple[nn.Module, int, dict[str, Any]]


class Encoder(nn.Module):
    """A network from images in [0, 1], which it normalises itself, to `num_features` features.

    `options` rebuild the untrained network with `encoder`. `seen` has the ids of all galaxies that
    it was trained on, `seen_labels` those whose labels were used; of mock surveys only the seeds
    are known, `seen_surveys`. `published` is where its initial weights come from, if not random;
    `adaptation` is fine-tuned, frozen or partly so."""

    seen: frozenset[str] = frozenset()
    seen_labels: frozenset[str] = frozenset()
    seen_surveys: frozenset[int] = frozenset()
    published: Literal["", "imagenet", "file"] = ""
    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, num_features: int, options: dict[str, Any]):
        super().__init__()
        self.body, self.num_features, self.options = body, num_features, options
        self.size: int | None = options.get("size")
        name, self.smallest = options["name"], smallest(options["name"])
        if self.size is not None and self.size < self.smallest:
            raise ValueError(f"size={self.size}: {name} takes images of {self.smallest} px or more")
        self.normalisation = {"mean": options.get("mean", MEAN), "std": options.get("std", STD)}
        for which, value in self.normalisation.items():  # not persistent: known from options
            self.register_buffer(which, torch.tensor(value).reshape(-1, 1, 1), persistent=False)
        self.adaptation = "fine-tuned"
        self.frozen: list[nn.Module] = []

    def prepare(self, images: Images) -> Tensor:
        """Resize images in [0, 1] to the network's size (bilinear) and normalise them."""
        size = self.size or max(self.smallest, *images.shape[-2:])
        if images.shape[-2:] != (size, size):
            images = functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
        return (images - self.mean) / self.std

    def forward(self, images: Images) -> Features:
        """Compute features of images in [0, 1]. Raises `ValueError` below 32 px."""
        if min(images.shape[-2:]) < SMALLEST:
            found = f"images of {tuple(images.shape[-2:])} px"
            raise ValueError(f"{found}: an encoder needs at least {SMALLEST} px; set image_size")
        prepared = self.prepare(images)
        return foreign.pooled(self.body, prepared) if "tap" in self.options else self.body(prepared)

    def tap(self, where: int | str) -> None:
        """Take the features from an earlier layer, and drop the later ones (`foreign.cut`)."""
        if "tap" in self.options:
            raise ValueError(f"tap={where!r}: the encoder already has tap={self.options['tap']!r}")
        foreign.cut(self.body, self.stages(), where)
        self.options["tap"] = where
        training, side = self.training, getattr(self.body, "image_size", self.smallest)
        with torch.no_grad():
            self.num_features = self.eval()(torch.zeros(1, 3, side, side)).shape[1]
        self.train(training)

    def protocol(self, how: str, test: Iterable[str], unlabelled: Iterable[str] = ()) -> str:
        """Name the protocol of a result on test galaxies, given by id.

        To `how` ("frozen", or its `adaptation`) we add "transductive" if some of them were seen in
        training, "same simulator" if it was trained on another mock survey than theirs, or
        "galaxies unknown" for a file without that information. An untrained encoder is "from
        scratch" or "frozen, random encoder". We add "semi-supervised" if the classifier, too,
        learns from `unlabelled` galaxies; test galaxies among them were seen. Raises `ValueError`
        if labels of test galaxies were used in training."""
        tested = set(test)
        if leaked := sorted(tested & self.seen_labels | of_surveys(tested, self.seen_surveys)):
            which = f"{len(leaked)} of {len(tested)} test galaxies, the first {leaked[0]!r}"
            advice = "use one trained with the same seed, and thus on the same split"
            raise ValueError(f"the encoder was trained with the labels of {which}; {advice}")
        if not self.seen and not self.published and not self.seen_surveys:
            how = "from scratch" if how == "fine-tuned" else f"{how}, random encoder"
        if self.seen_surveys and any(id.startswith("mock-") for id in tested):
            how = f"{how}, same simulator"
        if self.published == "file":
            how = f"{how}, galaxies unknown"
        how += ", semi-supervised" if (pool := set(unlabelled)) else ""
        return f"{how}, transductive" if tested & (self.seen | pool) else how

    def stages(self) -> list[list[nn.Module]]:
        """Group the modules from the first layers to the last, for `freeze` and learning rates.

        ResNet: the stem and its four layers. VGG: the layers between poolings. Inception: the stem
        and the modules of each grid size. Xception: the stem and three flows. Others: blocks."""
        if list(self.body.parameters(recurse=False)):
            name = self.options["name"]
            raise ValueError(f"{name} has weights outside its layers, so its stages are unknown")
        parts: list[tuple[Any, nn.Module]] = []
        for name, child in self.body.named_children():
            layers = list(child.children())
            if name in ("blocks", "stages"):
                parts += [((name, number), block) for number, block in enumerate(layers)]
            elif name == "features":
                ends = itertools.accumulate(isinstance(each, nn.MaxPool2d) for each in layers)
                parts += [((name, end), each) for end, each in zip(ends, layers, strict=True)]
            else:
                stage = re.match(r"layer\d|Mixed_\d|entry|middle|exit|", name)
                parts.append((stage and stage[0], child))
        grouped = itertools.groupby(parts, key=lambda part: part[0])
        groups = [[module for _, module in group] for _, group in grouped]
        return [group for group in groups if any(list(module.parameters()) for module in group)]

    def freeze(self, how: Freeze) -> None:
        """Freeze the first stages (`how` many, or "all"), including BatchNorm's statistics."""
        if how == "none":
            return
        stages = self.stages()
        number = len(stages) if how == "all" else -1 if isinstance(how, bool) else int(how)
        if not 0 <= number <= len(stages):
            which = f"the {len(stages)} stages of {self.options['name']}"
            raise ValueError(f"freeze={how!r}: expected none, all, or how many of {which}")
        self.frozen = [module for stage in stages[:number] for module in stage]
        for module in self.frozen:
            module.requires_grad_(False)
        partly = "partly frozen" if number else "fine-tuned"
        self.adaptation = "frozen" if number == len(stages) else partly
        self.train(self.training)

    def train(self, mode: bool = True) -> "Encoder":
        """Set training mode, except for frozen stages, which stay in eval mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


class _Later(ModuleType):
    """A module that is imported when one of its functions is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given: getattr(importlib.import_module(self.__name__), name)(*given)


@functools.cache
def torchvision_models() -> Any:
    """Import torchvision's networks, but not torch's compiler: it takes 2 s and is only used to
    detect objects."""
    names = ("torch._dynamo", "torch._dynamo.utils")
    later = {name: _Later(name) for name in names if name not in sys.modules}
    sys.modules.update(later)
    try:
        return importlib.import_module("torchvision.models")
    finally:
        for name in later:
            del sys.modules[name]


def published(name: str) -> Any:
    """Return torchvision's ImageNet weights of a network in `PUBLISHED`: where they are, their
    normalisation and smallest image size."""
    return torchvision_models().get_model_weights(name).DEFAULT


def smallest(name: str) -> int:
    """Return the side in px of the smallest images that a network accepts."""
    least = published(name).meta["min_size"][0] if name in PUBLISHED else SMALLEST
    return max(SMALLEST, 71 if name == "xception" else least)


def encoder(
    name: str,
    *,
    weights: str = "none",
    freeze: Freeze = "none",
    tap: int | str | None = None,
    size: int | None = None,
    mean: Bands | None = None,
    std: Bands | None = None,
    zero_init_residual: bool = False,
    channels: Sequence[int] | None = None,
    latent: int | None = None,
    aligned: bool | None = None,
    image_size: int | None = None,
) -> Encoder:
    """Make an encoder by name (`NAMES` or `timm/NAME`), or load the encoder of a model file.

    * `cnn`: `architectures.SmallCNN`, for few labels, with the `channels` of its blocks.
    * `resnet18`, `resnet50`: He et al. 2016 (arXiv 1512.03385). With `zero_init_residual` each
      residual branch starts at zero (Goyal et al. 2017, arXiv 1706.02677, section 5.1): easier to
      train, but worse random features.
    * `vgg16`: the 13 convolutions of Simonyan & Zisserman 2015 (arXiv 1409.1556), with global
      average pooling instead of the two fully connected layers of 4,096.
    * `inception_v3`: Szegedy et al. 2016 (arXiv 1512.00567) without the auxiliary head.
    * `xception`: `architectures.Xception`.
    * `conv`: `cae.ConvEncoder`, the autoencoder's, with its `channels`, `latent`, `aligned` and
      `image_size`; other encoders ignore `image_size`.
    * `timm/NAME`: any network of the package timm (extra `models`) that accepts any image size.
    * `FILE.safetensors`: the encoder of a model file; a path relative to the project's folder.
    * `pretrained/NAME`: the encoder in `models/pretrained/NAME.safetensors`, or `mock_cnn`, that of
      the model in the package, which was trained on mock galaxies.

    Args:
        weights: none (random); imagenet (published by torchvision or timm, downloaded once, or in
            a package, `foreign.PACKAGED`); or a file: weights of torchvision or timm (`.pth`,
            safetensors, Lightning's `.ckpt`; see `foreign.unprefixed`), or a model file.
        freeze: the number of first stages to freeze (`Encoder.freeze`).
        tap: take the features from an earlier layer, after so many stages or by its name
            ("blocks.4"): mean, maximum and standard deviation of each channel.
        size: the side in px to which images are resized; None: only to `smallest` if smaller.
        mean, std: normalisation of images in [0, 1], per band or for all; by default that of the
            published weights, or values suited to galaxies.

    Raises `ValueError` for an unknown name, an option that the encoder does not have, or a file
    that does not fit; `Unavailable` if weights cannot be downloaded."""
    options = {"channels": channels, "latent": latent, "aligned": aligned}
    options |= {"zero_init_residual": zero_init_residual or None}
    options |= {"size": size, "mean": mean, "std": std}
    options = {key: value for key, value in options.items() if value is not None}
    file = model_file(name)
    if file is None:
        made = _new(name, options, weights, image_size)
    elif weights == "none":
        made = _trained(file, *load(file), options)
    else:
        raise ValueError(f"encoder {name} is already trained; leave out weights={weights!r}")
    if tap is not None and made.options.get("tap") != tap:
        made.tap(tap)
    made.freeze(freeze)
    return made


def model_file(name: str) -> Path | None:
    """Return the model file that an encoder's name refers to, or None for a new network."""
    if name.endswith(".safetensors"):
        return project.root() / name
    if not name.startswith("pretrained/"):
        return None
    path = project.root() / "models" / f"{name}.safetensors"
    if path.is_file() or path.name == project.BUNDLED.name:
        return path if path.is_file() else project.BUNDLED
    files = [project.BUNDLED, *sorted(path.parent.glob("*.safetensors"))]
    known = [f"pretrained/{file.stem}" for file in files]
    raise ValueError(f"{unknown('encoder', name, known)}: {path} does not exist")


def trained(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load the whole model whose encoder `name` refers to; raise `ValueError` for a new network."""
    if (file := model_file(name)) is None:
        raise ValueError(f"encoder {name} is new: only a model file or pretrained/NAME has a head")
    return load(file)


def _new(name: str, options: dict[str, Any], weights: str, image_size: int | None) -> Encoder:
    if name not in NAMES and not name.startswith("timm/"):
        others = ("timm/NAME", "pretrained/NAME", "the path of a model file")
        raise ValueError(unknown("encoder", name, [*NAMES, *others]))
    prep = {key: options.pop(key) for key in ("size", "mean", "std") if key in options}
    known = OPTIONS.get(name, ())
    if wrong := sorted(set(options) - set(known)):
        has = ", ".join((*known, "size", "mean", "std"))
        raise ValueError(f"encoder {name} has no option {', '.join(wrong)}; it has {has}")
    if name == "conv" and image_size is not None:
        options |= {"image_size": image_size}
    state, source = None, weights
    if weights not in ("none", "imagenet"):
        path = project.root() / Path(weights).expanduser()
        state, header = read(path)
        if header is not None:
            return _trained(path, state, header, {"name": name, **options, **prep})
    body, num_features, stated = _body(name, options, imagenet=weights == "imagenet")
    prep = prep if weights == "none" else stated | prep
    made = Encoder(body, num_features, {"name": name, **getattr(body, "options", options), **prep})
    if weights == "imagenet" and name in PUBLISHED:
        state, source = fetch(published(name).url), name
    elif weights == "imagenet" and name in foreign.PACKAGED:
        state, source = foreign.packaged(name, body.state_dict()), name
    if state is not None:
        _load(made, state, source)
    if weights != "none":
        made.published = "imagenet" if weights == "imagenet" else "file"
    return made


def _body(name: str, options: dict[str, Any], *, imagenet: bool) -> Body:
    """Make a network without its head; only timm's get ImageNet weights here."""
    if name.startswith("timm/"):
        return _timm(name, imagenet=imagenet and name not in foreign.PACKAGED)
    if name in OWN:
        if imagenet:
            others = f"{', '.join(PUBLISHED)} and many timm/NAME (timm/legacy_xception) do"
            raise ValueError(f"encoder {name} has no ImageNet weights; {others}")
        body: Any = OWN[name](**options)
        return body, body.num_features, {}
    transform = published(name).transforms()
    stated = {"mean": list(transform.mean), "std": list(transform.std)}
    if name == "inception_v3":
        stated = {"mean": 0.5, "std": 0.5}  # torchvision's network converts these itself
        options = {"aux_logits": False, "init_weights": not imagenet}
    body = getattr(torchvision_models(), name)(weights=None, **options)
    if name == "vgg16":
        body.avgpool, body.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()
        return body, 512, stated
    num_features, body.fc = body.fc.in_features, nn.Identity()
    return body, num_features, stated


def _timm(name: str, *, imagenet: bool) -> Body:
    try:
        import timm
    except ImportError as error:
        needed = "the package timm: pip install 'galaxymorph[models]'"
        raise ImportError(f"encoder {name} needs {needed}") from error
    wanted = name.removeprefix("timm/")
    if not timm.is_model(wanted):
        known = [f"timm/{other}" for other in timm.list_models()]
        raise ValueError(f"unknown encoder {name!r}{nearest(name, known)}")
    try:
        body: Any = timm.create_model(wanted, pretrained=imagenet, num_classes=0)
    except RuntimeError as error:  # no pretrained weights
        raise ValueError(f"encoder {name}: {error}") from error
    except Exception as error:
        reason = type(error).__name__
        if not isinstance(error, ConnectionError) and reason not in OFFLINE:
            raise
        raise Unavailable(f"weights not available offline: {name} ({reason})") from error
    num_features = getattr(body, "head_hidden_size", None) or body.num_features
    return body, num_features, {key: list(body.pretrained_cfg[key]) for key in ("mean", "std")}


def _load(made: Encoder, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights published elsewhere into an encoder's body, without their head."""
    own = made.body.state_dict()
    counts = {key: own[key] for key in own if key.endswith("num_batches_tracked")}  # new in 2018
    try:
        state = foreign.unprefixed(state, [key for key in own if key not in counts])
        body = {key: state[key] for key in state if key in own or not HEADS.fullmatch(key)}
        made.body.load_state_dict(counts | body)
    except (RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[2] or str(error)  # torch's first line says no more
        why = textwrap.shorten(said, 400, placeholder=" ...")
        name = made.options["name"]
        raise ValueError(f"{source}: not valid weights of {name}: {why}") from error


def _trained(
    path: Path, state: dict[str, Tensor], header: dict[str, Any], options: dict[str, Any]
) -> Encoder:
    """Build the encoder of a model file; its options must agree with `options`."""
    start = "encoder."
    state = {key.removeprefix(start): state[key] for key in state if key.startswith(start)}
    if not state or "encoder" not in header:
        raise ValueError(f"{path}: not a valid encoder: the model file does not contain one")
    if "seen" not in header:
        why = "does not say which galaxies it was trained on (`seen`)"
        raise ValueError(f"{path}: {why}, so test galaxies may be among them")
    theirs = header["encoder"]
    options.pop("zero_init_residual", None)  # concerns initial weights only
    wrong = {key: value for key, value in options.items() if theirs.get(key) != value}
    if wrong:
        raise ValueError(f"{path}: its encoder is {theirs}, not {wrong}; leave these options out")
    trained = filled(lambda: encoder(**theirs), state, path, header)
    trained.seen = frozenset(header["seen"])
    trained.seen_labels = frozenset(header.get("seen_labels", ()))
    trained.seen_surveys = frozenset(header.get("seen_surveys", ()))
    return trained

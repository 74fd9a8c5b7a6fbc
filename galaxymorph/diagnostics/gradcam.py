"""Class-activation maps: which parts of a galaxy a network's answer depends on.

A map, or heat, has a value from 0 to 1 for every pixel. A `target` reduces a model's output to one
score per galaxy: that of a class, `lambda logits: logits[:, k]`, of an answer
(`VoteRegressor.answer`), or of a direction in feature space, `lambda features: features @ d`.

Images are uint8, or float in [0, 1]. A copy of the model is used (`frozen`), on its device; maps
are on the CPU. Any map looks plausible on a galaxy in the middle of its frame, so each is compared
with controls that know nothing of the model (`map_scores`)."""

import copy
import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook

from galaxymorph.text import unknown

Floats = Float[Tensor, "galaxy 3 size size"]  # in [0, 1]
Images = UInt8[Tensor, "galaxy 3 size size"] | Floats
Heat = Float[Tensor, "galaxy size size"]  # of a class-activation map, 0 to 1
PerGalaxy = Float[Tensor, " galaxy"]
Target = Callable[[Tensor], Tensor]  # of a model's outputs, (galaxy, ...) to (galaxy,)

BY_LAYER = ("gradcam", "gradcam++", "hirescam", "layercam")
METHODS = (*BY_LAYER, "occlusion")
CONTROLS = ("centred", "random")

BATCH = 64  # images at once
CELLS = 7  # at least, along each side of the default layer's maps
# in units of the image's side: the occluding patch, and sigma of the centred control
PATCH, CENTRED = 0.2, 0.2


def maps(
    model: nn.Module,
    images: Images,
    target: Target,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> Heat:
    """Map where the score comes from: the heat of each galaxy, divided by its maximum if any.

    Let A_k be the maps of the `layer`'s channels k, and G_k the gradient of the score with respect
    to them. Upsampled bilinearly:

    * `gradcam`: ReLU(sum_k mean(G_k) A_k). Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1 and 2.
    * `gradcam++`: ReLU(sum_k w_k A_k), where w_k = sum(a_k ReLU(G_k)) and a_k = G_k^2 / (2 G_k^2 +
      sum(A_k) G_k^3). Chattopadhay et al. 2018 (arXiv 1710.11063), eq. 5 and 19: the derivatives of
      the exponential of the score.
    * `hirescam`: ReLU(sum_k G_k A_k), faithful to where the model looked. Draelos & Carin 2020
      (arXiv 2011.08891).
    * `layercam`: ReLU(sum_k ReLU(G_k) A_k), also for early layers. Jiang et al. 2021 (IEEE TIP 30,
      5875).

    Without gradients or layers:

    * `occlusion`: the drop of the score when a patch of a fifth of the image's side is covered with
      sky, averaged over all patches that cover a pixel, ReLU. Zeiler & Fergus 2014 (arXiv
      1311.2901), section 4.2. A few hundred times slower.
    * `centred` (a Gaussian) and `random` (7 x 7 random numbers, upsampled): the controls.

    `layer` is the name of a module, such as `encoder.body.layer3` (`layers`); by default the last
    whose maps have at least 7 x 7 cells, because a ResNet's last 2 x 2 cells at 64 px are no better
    than random blobs. If a module is called more than once, the last call counts.

    Raises `ValueError` for an unknown method; for a layer without maps, naming the nearest that
    have some; for a target that gives anything but one score per galaxy, or does not depend on the
    layer; and for layers of an encoder that rotates galaxies first (`aligned=True`), whose maps
    would not lie on the galaxies as given."""
    how: dict[str, Any] = {"layer": layer, "batch_size": batch_size, "seed": seed}
    return several(model, images, target, methods=[method], **how)[method]


def several(
    model: nn.Module,
    images: Images,
    target: Target,
    *,
    methods: Iterable[str],
    layer: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, Heat]:
    """Return what `maps` does, for several methods; those of a layer share one pass."""
    for method in (methods := list(dict.fromkeys(methods))):
        if method not in (*METHODS, *CONTROLS):
            raise ValueError(unknown("method", method, (*METHODS, *CONTROLS)))
    asked, of_layer = frozen(model), [method for method in methods if method in BY_LAYER]
    name = _full_name(asked, images, layer) if of_layer else ""

    def heat(batch: Floats) -> Iterator[Tensor]:
        if of_layer:
            a, g = _at(asked, batch, target, name)
            yield from (_weighted(a, g, method, images.shape[-1]) for method in of_layer)
        if "occlusion" in methods:
            yield _occlusion(asked, batch, target)

    order = [*of_layer, *(["occlusion"] if "occlusion" in methods else [])]
    each = [[one.cpu() for one in heat(batch)] for batch in batches(model, images, batch_size)]
    found = dict(zip(order, map(torch.cat, zip(*each, strict=True)), strict=True))
    found |= {method: _control(method, images, seed) for method in methods if method in CONTROLS}
    most = {method: heat.amax((1, 2), keepdim=True) for method, heat in found.items()}
    return {
        method: found[method] / most[method].clamp_min(torch.finfo().tiny) for method in methods
    }


def layers(model: nn.Module, images: Images) -> dict[str, tuple[int, ...]]:
    """List the modules that give maps of more than one cell, in order of execution.

    Name to channels, height, width. (Of a ResNet at 64 px, `layer2` has 8 x 8 cells, `layer4` 2 x
    2.)"""
    found, asked = dict[str, tuple[int, ...]](), frozen(model)
    names = {module: name for name, module in asked.named_modules() if name}

    def note(module: nn.Module, _given: Any, output: Any) -> None:
        found.pop(names.get(module, ""), None)
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            found[names[module]] = tuple(output.shape[1:])

    with torch.no_grad(), register_module_forward_hook(note):
        asked(next(batches(model, images, 1)))
    return found


def _full_name(model: nn.Module, images: Images, layer: str | None) -> str:
    """Checked name of a layer, or the name of the default layer."""
    if any(getattr(module, "aligned", False) for module in model.modules()):
        raise ValueError(
            "the encoder rotates each galaxy first (aligned=True), so maps of its layers do not "
            "match the image; use method='occlusion', or an encoder with aligned=False"
        )
    there, shape = layers(model, images), "maps (galaxy, channel, height, width)"
    if not there:
        raise ValueError(f"no layer gives {shape} of more than one cell; use larger images")
    if layer is not None and layer not in there:
        nearest = ", ".join(difflib.get_close_matches(layer, there, cutoff=0.3) or there)
        raise ValueError(f"layer {layer!r} gives no {shape}; the nearest that do: {nearest}")
    fine = [name for name, (_, *cells) in there.items() if min(cells) >= CELLS]
    return layer or (fine or list(there))[-1]


def _at(model: nn.Module, images: Floats, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Return a layer's maps and the gradient with respect to them, (galaxy, channel, height,
    width)."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _given: Any, output: Tensor) -> Tensor:
        # the graph starts here, even if no weight needs a gradient
        kept[:] = [output.detach().requires_grad_()]
        return kept[0].clone()  # the next layer may change it in place

    hook = model.get_submodule(layer).register_forward_hook(keep)
    # full precision, also for the gradient
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False), hook:
        total, g = score(model, images, target).sum(), None
        if total.requires_grad:
            (g,) = torch.autograd.grad(total, kept[0], allow_unused=True)
    if g is None:
        raise ValueError(f"the target's score does not depend on layer {layer!r}")
    return kept[0].detach(), g


def _weighted(a: Tensor, g: Tensor, method: str, size: int) -> Heat:
    """Weight a layer's maps by their gradient, as `maps` describes."""
    weights = g.relu() if method == "layercam" else g
    if method == "gradcam":
        weights = g.mean((2, 3), keepdim=True)
    elif method == "gradcam++":
        below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3
        each = torch.where(below == 0, 0, g**2 / below) * g.relu()
        weights = each.sum((2, 3), keepdim=True)
    coarse = (weights * a).sum(1, keepdim=True).relu()
    return functional.interpolate(coarse, (size, size), mode="bilinear")[:, 0]


@torch.no_grad()
def _occlusion(model: nn.Module, images: Floats, target: Target) -> Heat:
    size = images.shape[-1]
    side = max(2, round(PATCH * size))
    starts = sorted({*range(0, size - side, side // 2), size - side})
    whole, ground = score(model, images, target), sky(images)
    fall, patches = torch.zeros_like(images[:, 0]), torch.zeros_like(images[0, 0])
    places = [
        (..., slice(top, top + side), slice(left, left + side))
        for top, left in itertools.product(starts, starts)
    ]
    covered = (_covered(images, patch, ground) for patch in places)
    for patch, found in zip(places, scores(model, covered, target), strict=True):
        fall[patch] += (whole - found)[:, None, None]
        patches[patch] += 1
    return (fall / patches).relu()


def _covered(images: Floats, patch: Any, ground: Tensor) -> Floats:
    covered = images.clone()
    covered[patch] = ground
    return covered


def _control(method: str, images: Images, seed: int) -> Heat:
    n, size = len(images), images.shape[-1]
    if method == "random":
        drawn = torch.rand(n, 1, 7, 7, generator=torch.Generator().manual_seed(seed))
        return functional.interpolate(drawn, (size, size), mode="bilinear")[:, 0]
    line = torch.exp(-0.5 * ((torch.arange(size) + 0.5) / size - 0.5).square() / CENTRED**2)
    return (line * line[:, None]).repeat(n, 1, 1)


# ---- shared by maps and their scores


def frozen(model: nn.Module) -> nn.Module:
    """Copy a model in eval mode, without gradients of its weights; return one that already is."""
    trains = any(module.training for module in model.modules())
    if not trains and not any(weight.requires_grad for weight in model.parameters()):
        return model
    return copy.deepcopy(model).eval().requires_grad_(False)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's weights; the CPU if it has none."""
    return next((weight.device for weight in model.parameters()), torch.device("cpu"))


def batches(model: nn.Module, images: Images, batch_size: int) -> Iterator[Floats]:
    """Yield images in [0, 1], batch by batch, on the model's device."""
    return (floats(batch.to(device_of(model))) for batch in images.split(batch_size))


def floats(images: Images) -> Floats:
    """Return images in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def score(model: nn.Module, images: Floats, target: Target) -> PerGalaxy:
    """Return the target's score of each galaxy; raise `ValueError` unless there is one for each."""
    with torch.autocast(images.device.type, enabled=False):
        found, n = target(model(images)), len(images)
    if found.shape != (n,):
        given = f"{tuple(found.shape)} for {n} galaxies"
        raise ValueError(f"the target gives {given}; expected one score for each")
    return found


def scores(
    model: nn.Module, versions: Iterable[Floats], target: Target
) -> Float[Tensor, "version galaxy"]:
    """Return the scores of several versions of the same few galaxies, about `BATCH` images at once.

    Batches of a few galaxies would take twice the time."""
    found, left = list[Tensor](), iter(versions)
    for first in left:
        several = [first, *itertools.islice(left, max(0, BATCH // len(first) - 1))]
        found.append(score(model, torch.cat(several), target).view(len(several), -1))
    return torch.cat(found)


def border(images: Float[Tensor, "*shape size size"]) -> Float[Tensor, "*shape pixel"]:
    """Return the outermost pixels of the frame, 1/16 of its side wide."""
    edge = max(1, images.shape[-1] // 16)
    outer = torch.ones(images.shape[-2:], dtype=torch.bool, device=images.device)
    outer[edge:-edge, edge:-edge] = False
    return images[..., outer]


def sky(images: Floats) -> Float[Tensor, "galaxy 3 1 1"]:
    """Return the median of each band in the frame's border."""
    return border(images).median(-1).values[..., None, None]

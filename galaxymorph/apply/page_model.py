"""Export a small CNN for use in a page, by `assets/network.js`."""

import base64
import itertools
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.data import cutouts, framing, looks
from galaxymorph.learning import encoders, saved
from galaxymorph.learning.architectures import SmallCNN
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import SIZES, VoteRegressor
from galaxymorph.learning.votes_and_classes import VotesAndClasses

# Multiplications for one picture, in millions; a browser does about a thousand millions a second.
MOST = 4_000
ASSETS = Path(__file__).parent / "assets"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.-]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function|const|class) (\w+)", re.MULTILINE)
LOOKS = ("ENOUGH", "CONSTANT", "EMPTY", "NEARLY_BLACK", "SATURATED", "BRIGHT_SKY", "NEGATIVE")
FRAMING = ("RADII", "PIXELS", "LEAST", "SMALLEST", "FAINTEST", "SIGMAS")


def refusal(header: dict[str, Any]) -> str:
    """Say why a page cannot use the model with this header; empty if it can.

    It can use those of classes (of votes, too) on the encoder `cnn`."""
    encoder = header["encoder"]
    if encoder["name"] != "cnn":
        return f"the encoder is {encoder['name']}, and a page computes only the small CNN (cnn)"
    if "tap" in encoder:
        return f"its features are those of an earlier layer (tap: {encoder['tap']})"
    if encoder.get("size") not in (None, header["image_size"]):
        sizes = f"{header['image_size']} px to {encoder['size']} px"
        return f"the encoder resizes its images, from {sizes}"
    if "classes" not in header:
        return "it predicts no classes; train one with 03_supervised"
    if (work := multiplications(header)) > MOST:
        px, limit = header["image_size"], f"at most {MOST:,} million"
        return f"{work:,.0f} million multiplications for an image of {px} px; a page does {limit}"
    return ""


def multiplications(header: dict[str, Any]) -> float:
    """Count the multiplications of the convolutions for one image, in millions."""
    side, before, total = header["image_size"], 3, 0
    for after in header["encoder"].get("channels", SmallCNN().options["channels"]):
        total += 9 * side**2 * after * (before + after)
        side, before = side // 2, after
    return total / 1e6


def export(path: Path) -> dict[str, Any]:
    """Return a model as plain values for JSON: what `load` of `assets/network.js` takes.

    Weights have 16 bits if that changes none of a tensor's, otherwise 32, in one text in base64.
    Raises `FileNotFoundError`, or `ValueError` for a file that is damaged or that a page cannot
    use (`refusal`)."""
    learner, header = saved.load(path)
    if why := refusal(header):
        raise ValueError(f"{path}: not a model for a page: {why}")
    assert isinstance(learner, Classifier | VotesAndClasses)
    encoder, weights = learner.encoder, Weights()
    assert isinstance(encoder, encoders.Encoder)
    remarks = {finding: looks.remark(finding) for finding in looks.FINDINGS}
    made: dict[str, Any] = {
        "classes": header["classes"],
        "image_size": header["image_size"],
        "crop": header.get("cutout", {}).get("crop"),
        "orientations": 8 if isinstance(learner, VotesAndClasses) else 1,  # as `predict` does
        "normalisation": {k: _bands(getattr(encoder, k)) for k in ("mean", "std")},
        "blocks": [weights.block(block) for block in encoder.body.blocks],  # pyright: ignore
        "megapixels": project.bounds()["megapixels"],
        "looks": _limits(looks, *LOOKS) | {"remarks": remarks},
        "framing": _limits(framing, *FRAMING),
        "unframed": cutouts.UNFRAMED,
        "jpeg_pixels": cutouts.LEAST,
    }
    n, linear = len(header["classes"]), learner.head[-1]  # pyright: ignore
    calibration = {"temperature": 1.0, "offset": [0.0] * n, "least": None}
    if isinstance(learner, VotesAndClasses):
        linear = learner.class_head
        calibration = {k: getattr(learner, k).tolist() for k in calibration}
        made |= _of_votes(learner, weights)
        unlike = ("centre", "whitening", "limit")
        made["unlike"] = {k: weights.add(getattr(learner, k)) for k in unlike}
    made |= {"class_head": weights.linear(linear), "calibration": calibration}
    return made | {"weights": base64.b64encode(weights.content).decode()}


def script(entry: str, name: str = "page", assets: Path = ASSETS) -> str:
    """Join an ES module of `assets/` and those that it imports to a script, and return it.

    A page opened from a disk may not import files. The script makes one constant, `name`, with the
    exports of `entry`; each module keeps its own scope, so that their names may be the same."""
    parts, done = [f"const {name} = (() => {{\nconst modules = {{}};"], list[str]()

    def append(name: str) -> None:
        source = (assets / name).read_text()
        for other in [other for _, other in IMPORT.findall(source) if other not in done]:
            append(other)
        body = IMPORT.sub(lambda m: f'const {{{_renamed(m[1])}}} = modules["{m[2]}"];', source)
        exports = ", ".join(EXPORT.findall(source))
        body = EXPORT.sub(lambda m: m[0].removeprefix("export "), body)
        parts.append(f'modules["{name}"] = (() => {{\n{body}return {{ {exports} }};\n}})();')
        done.append(name)

    append(entry)
    return "\n".join([*parts, f'return modules["{entry}"];\n}})();'])


def _renamed(names: str) -> str:
    return re.sub(r"(\w+) as (\w+)", r"\1: \2", names)


class Weights:
    """Weights one after the other; each is known by its place, length and bits."""

    def __init__(self) -> None:
        self.content = bytearray()

    def add(self, tensor: Tensor) -> dict[str, int]:
        """Append a tensor; return its place."""
        values = tensor.detach().cpu().float().numpy().ravel().astype("<f4")
        with np.errstate(over="ignore"):
            half = values.astype("<f2")
        bits = 16 if np.array_equal(half.astype("<f4"), values) else 32
        self.content += bytes(-len(self.content) % 4)  # numbers begin at multiples of their size
        at = len(self.content)
        self.content += (half if bits == 16 else values).tobytes()
        return {"at": at, "length": len(values), "bits": bits}

    def linear(self, layer: nn.Module) -> dict[str, dict[str, int]]:
        """Append a linear layer."""
        assert isinstance(layer, nn.Linear)
        return {"weight": self.add(layer.weight), "bias": self.add(layer.bias)}

    def block(self, block: nn.Sequential) -> list[dict[str, dict[str, int]]]:
        """Append the two convolutions of a block, with what BatchNorm does after each.

        Its scale is not folded in here, since the weights would then need 32 bits."""
        found = []
        for layer, norm in itertools.pairwise(block):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None and norm.running_var is not None
                scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
                shift = norm.bias - norm.running_mean * scale
                parts = {"weight": layer.weight, "scale": scale, "shift": shift}
                found.append({name: self.add(value) for name, value in parts.items()})
        return found


def _bands(values: Tensor) -> list[float]:
    return values.expand(3, 1, 1).flatten().tolist()


def _of_votes(learner: VoteRegressor, weights: Weights) -> dict[str, Any]:
    """Return the layers of the head for votes; without a tree, `questions` is None."""
    layers = [each for each in learner.head if isinstance(each, nn.Linear)]  # pyright: ignore
    tree = zip(SIZES, galaxy_zoo_tree.PARENTS.values(), strict=True)
    questions = [{"answers": answers, "parent": parent} for answers, parent in tree]
    head = [weights.linear(layer) for layer in layers]
    return {"vote_head": head, "questions": questions if learner.tree else None}


def _limits(module: ModuleType, *names: str) -> dict[str, int | float]:
    return {name.lower(): getattr(module, name) for name in names}

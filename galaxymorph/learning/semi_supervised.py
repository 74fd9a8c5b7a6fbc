"""Semi-supervised classification: a classifier that also learns from its own confident predictions.

FixMatch (Sohn et al. 2020, arXiv 2001.07685): the class predicted from a weak view of an unlabelled
galaxy, if confident enough, is the target for a strong view of it. Thresholds as in FreeMatch (Wang
et al. 2023, arXiv 2205.07246), distribution alignment as in ReMixMatch (Berthelot et al. 2020,
arXiv 1911.09785, section 3.1)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import Mean
from galaxymorph.learning.classifier import Classes, Classifier, Inputs, Outputs
from galaxymorph.learning.device import to_float
from galaxymorph.learning.state import digest
from galaxymorph.pixels import Images, Pixels

PerClass = Float[Tensor, " class"]
Views = Callable[[Images], Images]


class SemiSupervised(nn.Module):
    """Trains a `classifier` on labelled galaxies and on `ratio` times as many unlabelled ones.

    The loss is cross-entropy on the labelled batch plus `weight` times that on the unlabelled one
    (eq. 4 of FixMatch; galaxies without a confident prediction count as 0). The latter is drawn at
    every training step, with replacement, by torch's own generator. `train.fit` draws the views of
    labelled galaxies (its `views`); `weak` and `strong` draw those of the unlabelled ones.

    Running means decay by `momentum` per step, from 1 / classes, and are updated before their use:

    * `marginal`, of the predictions on weak views. With `alignment`, predictions q become
      Normalise(q prior / marginal), where `prior` is the share of each class in `labels`; the
      following then refers to these.
    * `confidence`, of the largest probability (eq. 5 of FreeMatch), and `status`, of all
      probabilities (eq. 6). A class's threshold is confidence * status / max(status) (eq. 7), so it
      rises as the class is learned. A number as `threshold` is FixMatch's for all classes instead.
    * `used_classes`, of the share of each class among all unlabelled galaxies, as pseudo-labels
      that are used: for `state` only.

    In eval mode nothing changes. Raises `ValueError` without unlabelled galaxies, for a class
    without labels, or an option out of range."""

    marginal: Tensor
    confidence: Tensor
    status: Tensor
    used_classes: Tensor
    prior: Tensor

    def __init__(
        self,
        classifier: Classifier,
        unlabelled: Pixels,
        labels: Int[Tensor, " labelled"],
        *,
        classes: int,
        weak: Views,
        strong: Views,
        ratio: int = 4,
        weight: float = 1.0,
        momentum: float = 0.99,
        threshold: float | None = None,
        alignment: bool = True,
    ):
        super().__init__()
        if not len(unlabelled):
            advice = "set n_labels or unlabelled_root, or train on the labelled ones alone"
            raise ValueError(f"0 unlabelled galaxies: {advice} (03_supervised)")
        fixed = 0.5 if threshold is None else threshold
        if ratio < 1 or weight < 0 or not 0 <= momentum < 1 or not 0 < fixed < 1:
            given = f"ratio={ratio}, weight={weight}, momentum={momentum}, threshold={threshold}"
            wanted = "ratio >= 1, weight >= 0, 0 <= momentum < 1 and 0 < threshold < 1 (or None)"
            raise ValueError(f"{given}: expected {wanted}")
        counts = torch.bincount(labels, minlength=classes)
        if (counts == 0).any():
            raise ValueError(f"class {int(counts.argmin())} has no labelled galaxy to learn from")
        self.classifier, self.weak, self.strong = classifier, weak, strong
        self.ratio, self.weight, self.momentum = ratio, weight, momentum
        self.threshold, self.alignment = threshold, alignment
        self._unlabelled = lambda: unlabelled  # a moving average of this module then has no copy
        # enters the fingerprint by which a checkpoint is recognised
        self.drawn = f"{weak} {strong} {digest([unlabelled[:: max(1, len(unlabelled) // 1000)]])}"
        self.register_buffer("prior", counts / counts.sum())
        for name in ("marginal", "status"):
            self.register_buffer(name, torch.full((classes,), 1 / classes))
        self.register_buffer("confidence", torch.tensor(1 / classes))
        self.register_buffer("used_classes", torch.zeros(classes))

    def forward(self, images: Inputs) -> Outputs:
        """Compute the classifier's logits."""
        return self.classifier(images)

    def predict(self, images: Inputs) -> Outputs:
        """Compute class probabilities."""
        return self.classifier.predict(images)

    def stages(self) -> list[list[nn.Module]]:
        """Return the classifier's stages, for `layer_decay` of `train.fit`."""
        return self.classifier.stages()

    def loss(self, images: Images, targets: Classes) -> Mean:
        return self.measures(images, targets)["loss"]

    def measures(self, images: Images, targets: Classes) -> dict[str, Mean]:
        """Compute the loss, the accuracy on labelled galaxies, and the use of pseudo-labels.

        `used` is the share of galaxies with a confident prediction: of the unlabelled batch in
        training mode, of the given images in eval mode. There the labels are known, so `used_right`
        is the share with a confident prediction that is right; the loss is that of the labels."""
        if not self.training:
            logits = self(images).float()
            classes, used = self.pseudo_labels(self.aligned(logits.softmax(1)))
            right = (used & (classes == targets)).float().mean()
            measured = self.classifier.judge(logits, targets)
            return measured | {"used": used.float().mean(), "used_right": right}
        weak, strong = self._views(self.ratio * len(images), images.device)
        with torch.no_grad():
            q = self(weak).float().softmax(1)
            self._follow(q)
            classes, used = self.pseudo_labels(self.aligned(q))
            shares = functional.one_hot(classes, q.shape[1])[used].sum(0) / len(q)
            self.used_classes.lerp_(shares, 1 - self.momentum)
        # together, so that BatchNorm normalises both in the same way
        logits = self(torch.cat([images, strong])).float()
        known, guessed = logits.tensor_split([len(images)])
        measured = self.classifier.judge(known, targets)
        unlabelled = (functional.cross_entropy(guessed, classes, reduction="none") * used).mean()
        loss = measured["loss"] + self.weight * unlabelled
        return measured | {"loss": loss, "unlabelled_loss": unlabelled, "used": used.float().mean()}

    def aligned(self, q: Outputs) -> Outputs:
        """Apply distribution alignment to probabilities, if it is on."""
        if not self.alignment:
            return q
        return functional.normalize(q * self.prior / self.marginal.clamp_min(1e-6), p=1.0, dim=1)

    def thresholds(self) -> PerClass:
        """Compute the threshold of each class."""
        if self.threshold is not None:
            return torch.full_like(self.status, self.threshold)
        return self.confidence * self.status / self.status.max()

    def pseudo_labels(self, q: Outputs) -> tuple[Classes, Bool[Tensor, " galaxy"]]:
        """Return the most probable classes, and whether each reaches the threshold of its class."""
        largest, classes = q.max(1)
        return classes, largest >= self.thresholds()[classes]

    def state(self, names: Sequence[str]) -> dict[str, float]:
        """Return `threshold_<class>` and `share_<class>`, its share among used pseudo-labels."""
        shares = self.used_classes / self.used_classes.sum().clamp_min(1e-9)
        pairs = (("threshold", self.thresholds()), ("share", shares))
        return {
            f"{what}_{name}": float(value)
            for what, values in pairs
            for name, value in zip(names, values, strict=True)
        }

    @torch.no_grad()
    def _follow(self, q: Outputs) -> None:
        """Update the running means with the predictions on a batch of weak views."""
        self.marginal.lerp_(q.mean(0), 1 - self.momentum)
        q = self.aligned(q)
        self.confidence.lerp_(q.max(1).values.mean(), 1 - self.momentum)
        self.status.lerp_(q.mean(0), 1 - self.momentum)

    def _views(self, n: int, where: torch.device) -> tuple[Images, Images]:
        """Draw a weak and a strong view of each of `n` unlabelled galaxies."""
        galaxies = self._unlabelled()
        images = to_float(galaxies[torch.randint(len(galaxies), (n,))], where)
        with torch.autocast(where.type, enabled=False):  # bfloat16 rounds positions
            return self.weak(images), self.strong(images)


def collapse(used: float, state: Mapping[str, float], labels: Mapping[str, float]) -> str:
    """Describe the collapse of pseudo-labels in plain words; empty if there is none.

    Args:
        used: share of validation galaxies with a confident prediction.
        state: of `SemiSupervised.state`.
        labels: share of each class among the labelled galaxies, by name."""
    if used < 0.01:
        return f"nothing is learned from unlabelled galaxies: {used:.1%} of pseudo-labels are used"
    for name, expected in labels.items():
        share = state[f"share_{name}"]
        what = f"of the used pseudo-labels, {share:.0%} are {name!r}, of the labels {expected:.0%}"
        if share > (1 + expected) / 2:
            return f"one class takes over: {what}"
        if share < expected / 10:
            return f"a class vanishes: {what}"
    return ""

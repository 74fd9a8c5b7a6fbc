"""A network that predicts vote fractions and classes together, and says how sure it is."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning import train
from galaxymorph.learning.architectures import Mean
from galaxymorph.learning.classifier import Outputs
from galaxymorph.learning.protocols import EncoderLike
from galaxymorph.learning.votes import Targets, VoteRegressor, Votes
from galaxymorph.pixels import Each, Images, Pixels

Chances = Float[Tensor, "galaxy class"]
Labels = Int[Tensor, " galaxy"]  # -1: no class
# the likelihood of all votes of a galaxy counts about as much as that of its class
VOTES = 0.025


class Judgement(NamedTuple):
    """What the network says of each galaxy."""

    votes: Votes  # cumulative
    chances: Chances  # probabilities of the classes
    sets: Bool[Tensor, "galaxy class"]  # the classes that the galaxy may have
    distance: Each  # from the training galaxies; above 1 the galaxy is unlike them


class VotesAndClasses(VoteRegressor):
    """A `VoteRegressor` with a second linear head, for `classes`.

    A learner for `train.fit` with the targets (labels, `votes.targets`). After training,
    `calibrate` makes probabilities mean what they say; `judge` tells the columns of `predict`
    apart."""

    temperature: Tensor
    offset: Tensor
    least: Tensor
    centre: Tensor
    whitening: Tensor
    limit: Tensor

    def __init__(self, encoder: EncoderLike, *, classes: Sequence[str], **head: Any):
        super().__init__(encoder, **head)
        n, features = len(classes), encoder.num_features
        self.classes, self.class_head = tuple(classes), nn.Linear(features, n)
        self.outputs += (*(f"p_{name}" for name in classes), "distance")
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("offset", torch.zeros(n))
        self.register_buffer("least", torch.zeros(n))  # probability of a class within a set
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("whitening", torch.eye(features))
        self.register_buffer("limit", torch.ones(()))

    def stages(self) -> list[list[nn.Module]]:
        *encoder, heads = super().stages()
        return [*encoder, [*heads, self.class_head]]

    def forward(self, images: Images) -> Outputs:
        """Compute the raw outputs for votes, then the logits of the classes."""
        features = self.encoder(images)
        return torch.cat([self.head(features), self.class_head(features)], 1)

    def measures(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, images: Images, targets: tuple[Labels, Targets]
    ) -> dict[str, Mean]:
        """Compute the loss of a batch, the accuracy and the mean squared error of the votes.

        The loss is the cross-entropy of the galaxies with a class, with labels smoothed by 0.05 in
        training, plus 0.025 of the votes' own."""
        labels, voted = targets
        raw, known = self(images).float(), labels >= 0
        of_votes, logits = self._measures(raw, voted), self._logits(raw)[known]
        loss = VOTES * of_votes["loss"]
        if known.any():
            smoothing = 0.05 if self.training else 0.0
            loss = loss + functional.cross_entropy(logits, labels[known], label_smoothing=smoothing)
        right = (logits.argmax(1) == labels[known]).float().sum() / known.sum().clamp_min(1)
        return {"loss": loss, "mse": of_votes["mse"], "accuracy": right}

    def _logits(self, raw: Outputs) -> Chances:
        return raw[:, -len(self.classes) :] / self.temperature + self.offset

    def predict(self, images: Images) -> Outputs:
        """Compute the columns of `VoteRegressor.predict`, class probabilities and distance."""
        features = self.encoder(images)
        raw = torch.cat([self.head(features), self.class_head(features)], 1).float()
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 would be too coarse
            away = (features.float() - self.centre) @ self.whitening
            distance = torch.linalg.vector_norm(away, dim=1, keepdim=True) / self.limit
        return torch.cat([self._predicted(raw), self._logits(raw).softmax(1), distance], 1)

    def judge(self, predicted: Outputs) -> Judgement:
        """Tell predictions apart; the most probable class always belongs to the set."""
        n = len(self.classes)
        chances = predicted[:, -n - 1 : -1]
        sets = chances >= self.least.to(chances.device)
        sets |= functional.one_hot(chances.argmax(1), n).bool()
        return Judgement(predicted[:, :37], chances, sets, predicted[:, -1])

    @torch.no_grad()
    def calibrate(
        self, images: Pixels, labels: Labels, *, coverage: float = 0.9, known: float = 0.99
    ) -> None:
        """Calibrate on galaxies that the network has not seen.

        * Probabilities: a temperature and an offset for each class, with the largest likelihood
          (Guo et al. 2017, arXiv 1706.04599, section 4.2).
        * Sets: all classes with at least the probability that a share `coverage` of the galaxies of
          that class reaches (split conformal prediction by class: Angelopoulos & Bates 2021, arXiv
          2107.07511, sections 1 and 4.1).
        * Distance: Mahalanobis distance in feature space (Lee et al. 2018, arXiv 1807.03888),
          divided by that which a share `known` of the galaxies does not exceed."""
        features = train.embed(self.encoder, images)  # pyright: ignore[reportArgumentType]
        parts = torch.linalg.eigh(features.T.cov())
        spread = parts.eigenvalues.clamp_min(1e-4 * parts.eigenvalues.max())
        self.centre, self.whitening = features.mean(0), parts.eigenvectors / spread.sqrt()
        self.temperature, self.offset = torch.ones(()), torch.zeros(len(self.classes))
        self.limit = torch.ones(())
        judged = self.judge(train.predict(self, images))
        self.limit = judged.distance.quantile(known)
        logits, labels = judged.chances[labels >= 0].log(), labels[labels >= 0]
        self.temperature, self.offset = _fitted(logits, labels)
        chances = (logits / self.temperature + self.offset).softmax(1)
        for place in range(len(self.classes)):
            own = chances[labels == place, place].sort().values
            at = math.floor((len(own) + 1) * (1 - coverage))
            self.least[place] = own[at - 1] if at else 0.0


@torch.enable_grad()
def _fitted(logits: Chances, labels: Labels) -> tuple[Tensor, Tensor]:
    """Return the temperature and offsets with the smallest cross-entropy."""
    scale, offset = torch.ones((), requires_grad=True), torch.zeros(logits.shape[1])
    found = [scale, offset.requires_grad_()]
    search = torch.optim.LBFGS(found, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        missed = functional.cross_entropy(scale * logits + offset, labels)
        missed.backward()
        return missed

    search.step(loss)  # pyright: ignore[reportArgumentType]
    return 1 / scale.detach(), offset.detach()

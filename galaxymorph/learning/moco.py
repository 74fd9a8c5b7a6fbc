"""MoCo: momentum contrast, with the encoder as a parameter, in one process on one GPU or CPU.

He et al. 2020 (arXiv 1911.05722, v1), Chen et al. 2020 (arXiv 2003.04297, v2), Hayat et al. 2021
(arXiv 2012.13083, galaxies): two random views of a galaxy shall have similar projections, unlike
those of other galaxies, which wait in a queue."""

import copy
import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import Mean
from galaxymorph.pixels import Images

Projections = Float[Tensor, "galaxy dim"]  # of length 1
Numbers = Int[Tensor, " galaxy"]  # by which a galaxy is known again


class MoCo(nn.Module):
    """Learns an encoder without labels; the targets for `train.fit` are the galaxies' numbers.

    The query encoder is trained; the key encoder follows it, before every step, as an exponential
    moving average, k <- m k + (1 - m) q (eq. 2 of v1). Keys of the latest `queue` galaxies are the
    negatives; the queue knows whose each is, so no galaxy is its own negative.

    BatchNorm: what galaxies share a batch would tell a query which key is its own. v1 therefore
    shuffles batches across GPUs (section 3.3); here, BatchNorm sees the whole batch of queries, but
    keys in a random order in `key_groups` parts (of 2 galaxies at least). In eval mode running
    statistics are used, those of the key encoder being its own.

    Arguments: the `encoder` (with `num_features`); `views`, two of which are drawn of each galaxy
    (`augment.Views`); `galaxies`, how many there are to learn from; `steps`, how many training
    steps there will be, over which momentum rises; `dim` of the projections; `projection`: "mlp"
    with one hidden layer as in v2 or "linear" as in v1; `temperature`; `momentum` m;
    `momentum_schedule`: "constant", or "cosine" to 1 (Grill et al. 2020, arXiv 2006.07733).

    Raises `ValueError` for a queue as large as the data set, or an option out of range."""

    queue: Tensor
    queue_galaxy: Tensor
    pointer: Tensor
    step: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        views: Callable[..., Images],
        galaxies: int,
        steps: int,
        dim: int = 128,
        projection: Literal["mlp", "linear"] = "mlp",
        queue: int = 4096,
        temperature: float = 0.2,
        momentum: float = 0.99,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        key_groups: int = 2,
    ):
        super().__init__()
        if not 1 <= queue < galaxies:
            why = "it would hold several keys of every galaxy; set queue to at most"
            raise ValueError(f"queue={queue} with {galaxies} galaxies: {why} {galaxies - 1}")
        if not 0 <= momentum <= 1 or temperature <= 0 or key_groups < 1:
            given = f"momentum={momentum}, temperature={temperature}, key_groups={key_groups}"
            wanted = "0 <= momentum <= 1, temperature > 0 and key_groups of 1 or more"
            raise ValueError(f"{given}: expected {wanted}")
        self.encoder = encoder
        self.projection = _projection(projection, encoder.num_features, dim)  # pyright: ignore[reportArgumentType]
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(False)
        self.views, self.steps, self.key_groups = views, steps, key_groups
        self.temperature, self.momentum = temperature, momentum
        self.momentum_schedule = momentum_schedule
        # as in v1 the queue starts with random directions, which are no galaxy (-1)
        directions = functional.normalize(torch.randn(queue, dim), dim=1)
        self.register_buffer("queue", directions)  # (key, dim)
        self.register_buffer("queue_galaxy", torch.full((queue,), -1))
        self.register_buffer("pointer", torch.tensor(0))  # where the next key goes
        self.register_buffer("step", torch.tensor(0))

    def forward(self, images: Images) -> Projections:
        """Compute queries of images in [0, 1]."""
        return functional.normalize(self.projection(self.encoder(images)).float(), dim=1)

    @torch.no_grad()
    def keys(self, images: Images) -> Projections:
        """Compute keys by the momentum encoder, in training mode in shuffled parts."""
        n, where = len(images), images.device
        parts = max(1, min(self.key_groups, n // 2)) if self.training else 1
        order = (torch.randperm if parts > 1 else torch.arange)(n, device=where)
        shuffled = images[order].contiguous(memory_format=torch.channels_last)
        features = [self.key_encoder(part) for part in shuffled.tensor_split(parts)]
        keys = torch.cat([self.key_projection(part).float() for part in features])
        return functional.normalize(keys[order.argsort()], dim=1)

    def loss(self, images: Images, galaxies: Numbers) -> Mean:
        return self.measures(images, galaxies)["loss"]

    def measures(self, images: Images, galaxies: Numbers) -> dict[str, Mean]:
        """Compute InfoNCE of two views of each galaxy, and how often a query is nearest to its own
        key.

        In training mode the key encoder follows first and the keys join the queue. In eval mode
        nothing changes, and the views are the same every time."""
        drawn = None if self.training else torch.Generator(images.device).manual_seed(0)
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 would round places
            first, second = (self.views(images, generator=drawn) for _ in range(2))
        if self.training:
            self._follow()
        queries, keys = self(first), self.keys(second)
        # in eval mode these are other galaxies than the queue's
        known = galaxies if self.training else torch.full_like(galaxies, -2)
        same = known[:, None] == self.queue_galaxy
        queue = self.queue.clone()  # as it is now: the gradient needs it after keys have joined
        logits = contrast(queries, keys, queue, temperature=self.temperature, same=same)
        target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        if self.training:
            self._enqueue(keys, galaxies)
        loss = functional.cross_entropy(logits, target)
        return {"loss": loss, "contrastive_accuracy": (logits.argmax(1) == target).float().mean()}

    @torch.no_grad()
    def _follow(self) -> None:
        m = self.momentum
        if self.momentum_schedule == "cosine":
            m = 1 - (1 - m) * (1 + torch.cos(math.pi * (self.step / self.steps).clamp(max=1))) / 2
        parts = (self.key_encoder, self.encoder), (self.key_projection, self.projection)
        for keys, queries in parts:
            torch._foreach_lerp_(list(keys.parameters()), list(queries.parameters()), float(1 - m))  # pyright: ignore
        self.step += 1

    @torch.no_grad()
    def _enqueue(self, keys: Projections, galaxies: Numbers) -> None:
        """The newest keys, of more than the queue holds the last, replace the oldest."""
        size = len(self.queue)
        places = (self.pointer + torch.arange(len(keys), device=keys.device))[-size:] % size
        self.queue[places], self.queue_galaxy[places] = keys[-size:], galaxies[-size:]
        self.pointer.add_(len(keys)).remainder_(size)


def contrast(
    queries: Projections,
    keys: Projections,
    queue: Float[Tensor, "negative dim"],
    *,
    temperature: float,
    same: Bool[Tensor, "galaxy negative"] | None = None,
) -> Float[Tensor, "galaxy negative+1"]:
    """Compute logits of InfoNCE (eq. 1 of v1): q . k / temperature of each galaxy's own key (column
    0) and of the queue's keys, except those of the `same` galaxy."""
    # in bfloat16 neighbours on the sphere would be the same
    with torch.autocast(queries.device.type, enabled=False):
        own = (queries * keys).sum(1, keepdim=True)  # (galaxy, 1)
        others = queries @ queue.T  # (galaxy, negative)
    if same is not None:
        others = others.masked_fill(same, -math.inf)
    return torch.cat([own, others], dim=1) / temperature


def _projection(kind: str, num_features: int, dim: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(num_features, dim)
    if kind == "mlp":
        hidden = nn.Linear(num_features, num_features)
        return nn.Sequential(hidden, nn.ReLU(), nn.Linear(num_features, dim))
    raise ValueError(f"projection={kind!r}: one of mlp, linear")

"""MoCo: momentum contrast for any encoder, in one process on one GPU or CPU.

He et al. 2020 (arXiv 1911.05722, v1), Chen et al. 2020 (arXiv 2003.04297, v2), Hayat et al. 2021
(arXiv 2012.13083, galaxies): the encoder learns to give two random views of a galaxy similar
projections, different from those of other galaxies, which are kept in a queue."""

import copy
import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import Mean
from galaxymorph.learning.protocols import EncoderLike
from galaxymorph.pixels import Images

Projections = Float[Tensor, "galaxy dim"]  # unit vectors
Numbers = Int[Tensor, " galaxy"]  # identify galaxies


class MoCo(nn.Module):
    """Learns an encoder without labels; the targets for `train.fit` are the galaxies' numbers.

    The query encoder is trained. Before every step the key encoder is updated as an exponential
    moving average, k <- m k + (1 - m) q (eq. 2 of v1). The negatives are the keys of the latest
    `queue` galaxies, stored with their numbers so that no galaxy is its own negative.

    Batch statistics could reveal which key belongs to a query, so v1 shuffles batches across GPUs
    (section 3.3). Here, BatchNorm sees all queries of a batch together, but the keys in random
    order in `key_groups` parts (of at least 2 galaxies), so a key is never normalised with the same
    batch-mates as its query. In eval mode each encoder uses its own running statistics.

    `views` draws two random views for each of the training `galaxies`. The projection to `dim`
    numbers is an "mlp" with one hidden layer (v2), or "linear" (v1). The momentum m is "constant",
    or rises as a "cosine" to 1 over `steps` training steps (Grill et al. 2020, arXiv 2006.07733).
    Raises `ValueError` for a queue as large as the data set, or an option out of range."""

    queue: Tensor
    queue_galaxy: Tensor
    pointer: Tensor
    step: Tensor

    def __init__(
        self,
        encoder: EncoderLike,
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
            why = "every galaxy would have several keys in it; set queue to at most"
            raise ValueError(f"queue={queue} with {galaxies} galaxies: {why} {galaxies - 1}")
        if not 0 <= momentum <= 1 or temperature <= 0 or key_groups < 1:
            given = f"momentum={momentum}, temperature={temperature}, key_groups={key_groups}"
            wanted = "0 <= momentum <= 1, temperature > 0 and key_groups >= 1"
            raise ValueError(f"{given}: expected {wanted}")
        self.encoder = encoder
        self.projection = _projection(projection, encoder.num_features, dim)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(False)
        self.views, self.steps, self.key_groups = views, steps, key_groups
        self.temperature, self.momentum = temperature, momentum
        self.momentum_schedule = momentum_schedule
        # as in v1 the queue starts with random directions; -1 marks that they belong to no galaxy
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
        """Compute keys with the momentum encoder; in training mode, in shuffled parts."""
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
        """Compute InfoNCE of two views of each galaxy, and how often a query's own key is nearest.

        In training mode the key encoder is updated first, and the keys join the queue. In eval mode
        nothing changes, and the views are the same every time."""
        drawn = None if self.training else torch.Generator(images.device).manual_seed(0)
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 rounds positions
            first, second = (self.views(images, generator=drawn) for _ in range(2))
        if self.training:
            self._follow()
        queries, keys = self(first), self.keys(second)
        # in eval mode, none of these galaxies is in the queue
        known = galaxies if self.training else torch.full_like(galaxies, -2)
        same = known[:, None] == self.queue_galaxy
        queue = self.queue.clone()  # the gradient needs its state before the new keys join
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
        """Replace the oldest keys by the newest (the last ones, if more than the queue holds)."""
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
    """Compute InfoNCE's logits q . k / temperature (eq. 1 of v1), the galaxy's own key first, then
    the queue, with -inf for keys of the `same` galaxy."""
    # bfloat16 cannot resolve neighbours on the sphere
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
    raise ValueError(f"projection={kind!r}: expected one of mlp, linear")

"""What encoders and learners provide; any `nn.Module` with these members will do."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class EncoderLike(Protocol):
    """A network from images to `num_features` features."""

    num_features: int

    def __call__(self, images: Any, /) -> Any: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def requires_grad_(self, requires_grad: bool = True) -> "EncoderLike": ...


@runtime_checkable
class Learner(Protocol):
    """What `train.fit` trains."""

    def loss(self, images: Any, targets: Any, /) -> Tensor: ...


@runtime_checkable
class Predictor(Protocol):
    """A learner that also predicts probabilities or vote fractions."""

    def predict(self, images: Any, /) -> Tensor: ...

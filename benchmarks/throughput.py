"""Measure the speed of training, as a fraction of its limit, and that of the mock survey.

The limit is the same model, optimiser and precision on one random batch that stays on the device.
The pipeline is `train.fit` on a data set, with random views. For MoCo, the limit is its two forward
passes and one backward pass; the pipeline adds two views per galaxy, the optimiser, the momentum
encoder and the queue. Both are timed in alternation, so that a busy machine slows both:

    python benchmarks/throughput.py --encoders resnet18 resnet50 --size 64 --turns 7
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.learning import augment, classifier, device, encoders, moco, train

Limit = Callable[
    [Any, torch.Tensor, torch.Tensor, int], float
]  # learner, batch, targets, steps -> images per second

# as in notebooks/05_moco
VIEWS = augment.Views(zoom=0.4, shift=0.1, brightness=0.4, colour=0.2, blur=1.0, noise=0.03)


def limit(model: torch.nn.Module, batch: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Return images per second of forward, backward and optimiser step on one resident batch."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)  # as train.fit
    model.train()
    start = time.perf_counter()
    for _ in range(steps):
        with device.autocast("auto", batch.device):
            loss = model.loss(batch, labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    loss.item()  # waits for the device
    return steps * len(batch) / (time.perf_counter() - start)


def contrast_limit(
    model: moco.MoCo, batch: torch.Tensor, numbers: torch.Tensor, steps: int
) -> float:
    """Return images per second of MoCo's two forward and one backward pass on a resident batch."""
    model.train()
    target = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
    start = time.perf_counter()
    for _ in range(steps):
        with device.autocast("auto", batch.device):
            queries, keys = model(batch), model.keys(batch)
            loss = torch.nn.functional.cross_entropy(queries @ keys.T, target)
        model.zero_grad(set_to_none=True)
        loss.backward()
    loss.item()  # waits for the device
    return steps * len(batch) / (time.perf_counter() - start)


def turns(
    learner: torch.nn.Module,
    measure: Limit,
    options: argparse.Namespace,
    *,
    images: torch.Tensor,
    classes: int,
    **settings: Any,
) -> Iterator[tuple[float, float]]:
    """Yield the rates of limit and pipeline, timed in alternation; targets are below `classes`."""
    where = device.device()
    targets = torch.arange(len(images)) % classes
    learner.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    resident = (
        device.to_float(images[: options.batch_size], where),
        targets[: options.batch_size].to(where),
    )
    measure(learner, *resident, 2)  # warm-up
    rows = train.fit(
        learner,
        (images, targets),
        (images[:2], targets[:2]),
        epochs=options.turns + 1,
        batch_size=options.batch_size,
        learning_rate=1e-6,
        **settings,
    )
    next(rows)  # warm-up
    for row in rows:
        yield measure(learner, *resident, options.steps), row["images_per_second"]


def compare(
    name: str,
    learner: torch.nn.Module,
    measure: Limit,
    options: argparse.Namespace,
    **settings: Any,
) -> None:
    """Print the rates of limit and pipeline on random images."""
    n = options.steps * options.batch_size
    images = torch.randint(0, 256, (n, 3, options.size, options.size), dtype=torch.uint8)
    pairs = [*turns(learner, measure, options, images=images, **settings)]
    limits, pipeline = zip(*pairs, strict=True)
    kept = sorted(b / a for a, b in pairs)
    print(
        f"{name} at {options.size} px: limit {statistics.median(limits):.0f} images/s, pipeline "
        f"{statistics.median(pipeline):.0f} images/s, {statistics.median(kept):.1%} of the limit "
        f"(median of {len(kept)} turns, {kept[0]:.1%} to {kept[-1]:.1%})"
    )


def machine() -> str:
    """Describe versions, processor and whether bfloat16 is used."""
    where = device.device()
    processor = (
        f"CPU ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"
    )
    if where.type == "cuda":
        processor = torch.cuda.get_device_name()
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{versions}, {processor}, bf16: {device.has_bf16(where)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="*", default=["resnet18", "resnet50"])
    parser.add_argument("--moco", nargs="*", default=["resnet18"], metavar="ENCODER")
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="batches per turn")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    print(machine())
    mock_survey(64, image_size=options.size)  # warm-up
    start = time.perf_counter()
    n_mock = len(mock_survey(2000, image_size=options.size).ids)
    print(
        f"mock survey at {options.size} px: {n_mock / (time.perf_counter() - start):.0f} galaxies/s"
    )
    for name in options.encoders:
        torch.manual_seed(0)
        model = classifier.Classifier(encoders.encoder(name), classes=4)
        compare(name, model, limit, options, classes=4, views=augment.Views())
    for name in options.moco:
        torch.manual_seed(0)
        n = options.steps * options.batch_size
        model = moco.MoCo(
            encoders.encoder(name),
            views=VIEWS,
            galaxies=n,
            steps=options.steps * (options.turns + 1),
            queue=n // 2,
        )
        compare(f"MoCo with {name}", model, contrast_limit, options, classes=n, monitor=None)


if __name__ == "__main__":
    main()

"""How much of the possible training rate the pipeline keeps, and how fast the mock survey is.

The limit is the same model, optimiser and precision fed one resident random batch over and over. The pipeline is
`train.fit` on a data set, with random views. Both are measured in turns, so that a busy machine slows both:

    python benchmarks/throughput.py --encoders resnet18 resnet50 --size 64 --turns 7
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

import torch

from galaxymorph import augment, classifier, encoders, simulate, train


def limit(model: torch.nn.Module, batch: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Images per second of forward, backward and optimizer step on one resident batch."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)  # as train.fit
    model.train()
    start = time.perf_counter()
    for _ in range(steps):
        with train.autocast("auto", batch.device):
            loss = model.loss(batch, labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    loss.item()  # waits for the device
    return steps * len(batch) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="batches per turn")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    where = train.device()
    processor = torch.cuda.get_device_name() if where.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {processor}, bf16: {train.has_bf16(where)}")
    simulate.survey(64, image_size=options.size)  # warm-up
    start = time.perf_counter()
    n_mock = len(simulate.survey(2000, image_size=options.size).ids)
    print(f"mock survey at {options.size} px: {n_mock / (time.perf_counter() - start):.0f} galaxies/s")
    for name in options.encoders:
        torch.manual_seed(0)
        model = classifier.Classifier(encoders.encoder(name), classes=4).to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        n = options.steps * options.batch_size
        images = torch.randint(0, 256, (n, 3, options.size, options.size), dtype=torch.uint8)
        labels = torch.randint(0, 4, (n,))
        resident = train.to_float(images[: options.batch_size], where), labels[: options.batch_size].to(where)
        limit(model, *resident, steps=2)  # warm-up
        rows = train.fit(
            model,
            (images, labels),
            (images[:1], labels[:1]),
            views=augment.Views(),
            epochs=options.turns + 1,
            batch_size=options.batch_size,
            learning_rate=1e-6,
        )
        next(rows)  # warm-up
        pairs = [(limit(model, *resident, steps=options.steps), row["images_per_second"]) for row in rows]
        limits, pipeline = zip(*pairs, strict=True)
        kept = sorted(b / a for a, b in pairs)
        print(
            f"{name} at {options.size} px: limit {statistics.median(limits):.0f} images/s, pipeline "
            f"{statistics.median(pipeline):.0f} images/s; it keeps {statistics.median(kept):.1%} "
            f"(median of {len(kept)} turns, {kept[0]:.1%} to {kept[-1]:.1%})"
        )


if __name__ == "__main__":
    main()

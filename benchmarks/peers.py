"""Compare the speed of training with that of others, from JPEG files, all in turns.

The limit is training on one batch that stays on the device. `plain` is a loop of torch with
torchvision's DataLoader, in fp32; `zoobot` and `lightly` are measured where they are installed, as
their documentation uses them. All train the same network with the same size and batches, on the
same galaxies of the mock survey, which we decode once and the others in every epoch:

    python benchmarks/peers.py --turns 5
    python benchmarks/peers.py --turns 5 --avx2    # as on a machine without bfloat16
"""

import argparse
import importlib.metadata
import importlib.util
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
import throughput
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from galaxymorph.data.load import load
from galaxymorph.data.mock.survey import export_survey
from galaxymorph.learning import augment, classifier, encoders, moco

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
CLASSES = 4
Rates = Iterator[dict[str, float]]  # images per second by name, one dict for each turn


def ours(folder: Path, options: argparse.Namespace, task: str) -> Rates:
    """Yield the rates of the limit and of our pipeline."""
    images = load(
        "folder", root=str(folder), image_size=options.size, cache=str(folder.parent / "cache")
    ).images
    network, n = encoders.encoder(options.network), len(images)
    if task == "classes":
        learner: nn.Module = classifier.Classifier(network, classes=CLASSES)
        how: dict[str, Any] = {"classes": CLASSES, "views": augment.Views()}
        measure = throughput.limit
    else:
        steps = n // options.batch_size * (options.turns + 1)
        queue = {"galaxies": n, "steps": steps, "queue": n // 2}
        learner = moco.MoCo(network, views=throughput.VIEWS, **queue)
        how, measure = {"classes": n, "monitor": None}, throughput.contrast_limit
    for limit, pipeline in throughput.turns(learner, measure, options, images=images, **how):
        yield {"limit": limit, "galaxymorph": pipeline}


def timed(name: str, loader: Any, step: Callable[[Any], torch.Tensor]) -> Rates:
    """Yield the rate of an epoch for each turn, after one to warm up."""
    for turn in range(sys.maxsize):
        start, n = time.perf_counter(), 0
        for batch in loader:
            loss = step(batch)
            n += len(batch[-1])
        loss.item()  # waits for the device
        if turn:
            yield {name: n / (time.perf_counter() - start)}
        else:
            yield {}


def loading(dataset: Any, options: argparse.Namespace) -> DataLoader:
    how = {"num_workers": options.workers, "persistent_workers": options.workers > 0}
    return DataLoader(dataset, options.batch_size, shuffle=True, drop_last=True, **how)


def plain(folder: Path, options: argparse.Namespace, task: str) -> Rates:
    """Yield the rate of a plain loop with views as ours: rotation, flip, zoom, shift, colours."""
    jitter = transforms.ColorJitter(0.15, saturation=0.05)
    affine = transforms.RandomAffine(180, (0.04, 0.04), (0.87, 1.15))
    turned = [transforms.Resize(options.size), transforms.RandomHorizontalFlip(), affine, jitter]
    view = transforms.Compose([*turned, transforms.ToTensor()])
    where = throughput.device.device()
    network = getattr(models, options.network)(num_classes=CLASSES).to(where)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-6)

    def step(batch: Any) -> torch.Tensor:
        images, labels = (each.to(where) for each in batch)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    yield from timed("plain", loading(datasets.ImageFolder(str(folder), view), options), step)


def zoobot(folder: Path, options: argparse.Namespace, task: str) -> Rates:
    """Yield the rate of fine-tuning, by its Lightning module and the transforms of its data."""
    import lightning
    from galaxy_datasets.pytorch.galaxy_datamodule import CatalogDataModule
    from galaxy_datasets.transforms import default_view_config, get_galaxy_transform
    from zoobot.pytorch.training.finetune import FinetuneableZoobotClassifier

    files = sorted(folder.rglob("*.jpg"))
    labels = [int(file.parent.name) for file in files]
    catalog = pd.DataFrame(
        {"file_loc": map(str, files), "label": labels, "id_str": map(str, files)}
    )
    config = default_view_config()
    config.output_size = options.size
    view = get_galaxy_transform(config)
    how = {"batch_size": options.batch_size, "num_workers": options.workers}
    how |= {"train_transform": view, "test_transform": view}
    how |= {"train_catalog": catalog, "val_catalog": catalog[:2], "test_catalog": catalog[:2]}
    module = CatalogDataModule(["label"], **how)
    network = getattr(models, options.network)()
    network.num_features, network.fc = network.fc.in_features, nn.Identity()
    learner = FinetuneableZoobotClassifier(
        num_classes=CLASSES, encoder=network, layer_decay=1.0, prog_bar=False
    )

    class Clock(lightning.Callback):
        """Measures an epoch without the start of the trainer."""

        def on_train_epoch_start(self, *_: Any) -> None:
            self.start = time.perf_counter()

        def on_train_epoch_end(self, *_: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    for turn in range(sys.maxsize):
        clock = Clock()
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        quiet |= {"enable_model_summary": False, "limit_val_batches": 0}
        lightning.Trainer(max_epochs=1, callbacks=[clock], **quiet).fit(learner, module)
        n = len(files) // options.batch_size * options.batch_size
        yield {"zoobot": n / clock.seconds} if turn else {}


def lightly(folder: Path, options: argparse.Namespace, task: str) -> Rates:
    """Yield the rate of MoCo, as in its example for torch."""
    import copy

    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import MoCoV2Transform

    where = throughput.device.device()
    body = getattr(models, options.network)()
    width, body.fc = body.fc.in_features, nn.Identity()
    head = MoCoProjectionHead(width, width, 128)
    parts = [each.to(where) for each in (body, head)]
    followers = [copy.deepcopy(each) for each in parts]
    for each in followers:
        deactivate_requires_grad(each)
    queue = (options.galaxies // 2, 128)
    criterion = NTXentLoss(temperature=0.2, memory_bank_size=queue).to(where)
    optimiser = torch.optim.SGD([p for each in parts for p in each.parameters()], lr=1e-6)

    def step(batch: Any) -> torch.Tensor:
        query, key = (each.to(where) for each in batch[0])
        for own, follower in zip(parts, followers, strict=True):
            update_momentum(own, follower, m=0.99)
        with torch.no_grad():
            keys = followers[1](followers[0](key))
        loss = criterion(head(body(query)), keys)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    dataset = LightlyDataset(str(folder), transform=MoCoV2Transform(input_size=options.size))
    yield from timed("lightly", loading(dataset, options), step)


def compare(task: str, peers: list[Any], folder: Path, options: argparse.Namespace) -> None:
    """Print the rates of all, and the medians of ratios over the turns."""
    torch.manual_seed(0)
    runs = [peer(folder, options, task) for peer in (ours, *peers)]
    for run in runs[1:]:
        next(run)  # warm-up; ours is warm when it yields
    rounds: list[dict[str, float]] = []
    for _ in range(options.turns):
        rounds.append({})
        for run in runs:
            rounds[-1] |= next(run)
    print(f"{options.network}, {task}, {options.size} px, batches of {options.batch_size}:")
    for name in rounds[0]:
        rate = statistics.median(each[name] for each in rounds)
        ratios = sorted(each["galaxymorph"] / each[name] for each in rounds)
        middle, low, high = statistics.median(ratios), ratios[0], ratios[-1]
        print(
            f"  {name}: {rate:.0f} images/s; galaxymorph has {middle:.2f} times this rate "
            f"({low:.2f} to {high:.2f})"
        )
    print(f"  load average {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet18", help="one that torchvision has, too")
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--pixels", type=int, default=424, help="size of the JPEG files")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--galaxies", type=int, default=512, help="per turn")
    parser.add_argument("--workers", type=int, default=2, help="of the others' DataLoader")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", default=["classes", "moco"])
    parser.add_argument("--avx2", action="store_true", help="without bfloat16 and AVX-512")
    options = parser.parse_args()
    if options.avx2 and not AVX2.items() <= os.environ.items():  # read when torch is imported
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | AVX2)
    warnings.simplefilter("ignore")
    options.steps = options.galaxies // options.batch_size
    installed = [each for each in (zoobot, lightly) if importlib.util.find_spec(each.__name__)]
    versions = [
        f"{each.__name__} {importlib.metadata.version(each.__name__)}" for each in installed
    ]
    print(throughput.machine(), *versions, sep=", ", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "galaxies")
        export_survey(Path(name), n_galaxies=1, n_test=64, image_size=options.pixels)
        drawn = sorted(Path(name, "images_test_rev1").iterdir())
        for number, file in zip(range(options.galaxies), cycle(drawn), strict=False):
            home = folder / str(number % CLASSES)
            home.mkdir(parents=True, exist_ok=True)
            (home / f"{number}.jpg").hardlink_to(file)
        for task, peers in {"classes": [plain, zoobot], "moco": [lightly]}.items():
            there = [peer for peer in peers if peer is plain or peer in installed]
            if task in options.tasks:
                compare(task, there, folder, options)


if __name__ == "__main__":
    main()

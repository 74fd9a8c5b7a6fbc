"""Train a ResNet on simulated galaxies only, and test it on all galaxies in a real data set.

    python benchmarks/mock_to_real.py --real FOLDER

FOLDER has one subfolder per class: 0 round, 1 in-between, 2 edge-on or cigar, 3 spiral. No real
galaxy is used for training, validation or the choice of the epoch."""

import argparse
import platform
import time

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

from galaxymorph.data.load import load
from galaxymorph.learning import augment, classifier, encoders, train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--real", required=True, help="folder of real galaxies, one subfolder per class"
    )
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument(
        "--n-galaxies",
        type=int,
        default=10000,
        help="simulated galaxies, about a fifth of them ambiguous",
    )
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and views")
    parser.add_argument("--survey-seed", type=int, default=7)
    given = parser.parse_args()

    start = time.perf_counter()
    mock = load(
        "simulated", n_galaxies=given.n_galaxies, survey_seed=given.survey_seed, test=0.0, val=0.08
    )
    real = load("folder", root=given.real, test=0.0, val=0.0)
    print(
        f"{given.n_galaxies:,} simulated galaxies in {time.perf_counter() - start:.0f} s",
        flush=True,
    )

    torch.manual_seed(given.seed)
    learner = classifier.Classifier(
        encoders.encoder(given.encoder), classes=4, label_smoothing=0.05
    )
    views = augment.Views(zoom=0.15, brightness=0.2, colour=0.08, noise=0.02)
    parts = [(part.images, part.labels) for part in (mock.part("train"), mock.part("val"))]
    rows = train.fit(
        learner,
        *parts,
        views=views,
        epochs=given.epochs,
        batch_size=64,
        learning_rate=2e-3,
        average=0.98,
        seed=given.seed,
    )
    for row in rows:
        speed = f"{row['images_per_second']:.0f} images/s"
        print(f"epoch {row['epoch']}: mock accuracy {row['val_accuracy']:.3f}, {speed}", flush=True)

    predicted = train.predict(learner, real.images, average_orientations=True).argmax(1).numpy()
    labels = real.labels.numpy()
    accuracy = (predicted == labels).mean()
    spread = np.sqrt(accuracy * (1 - accuracy) / len(labels))
    print(
        f"accuracy on {len(labels)} real galaxies: {accuracy:.3f} +- {spread:.3f} "
        f"({given.encoder}, seed {given.seed})"
    )
    print(f"true class by row, predicted by column:\n{confusion_matrix(labels, predicted)}")
    processor = platform.processor() or platform.machine()
    print(f"{time.perf_counter() - start:.0f} s, {processor}, torch {torch.__version__}")


if __name__ == "__main__":
    main()

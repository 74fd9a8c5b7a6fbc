"""Test a model trained on mock galaxies, such as the one in the package, on real ones.

    python benchmarks/bundled.py --real FOLDER

FOLDER has one subfolder per class: 0 round, 1 in-between, 2 edge-on or cigar, 3 spiral. No real
galaxy was used for training or calibration. Choices were made on the validation galaxies of split
seed 0, so these are left out unless `--all` is given."""

import argparse
from pathlib import Path

import numpy as np
import torch

from galaxymorph import project
from galaxymorph.data.load import load
from galaxymorph.data.mock import others
from galaxymorph.evaluation import calibration
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.evaluation.predictions import Predictions
from galaxymorph.learning import saved, train
from galaxymorph.text import listing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", required=True, help="folder of real galaxies")
    models = "model files (default: the model in the package)"
    parser.add_argument("--model", type=Path, nargs="+", default=[project.BUNDLED], help=models)
    parser.add_argument("--all", action="store_true", help="also the galaxies used for choices")
    given = parser.parse_args()
    real = load("folder", root=given.real, seed=0)
    real = real.take(np.full(len(real), True) if given.all else real.split != "val")
    labels = real.labels.numpy()
    for path in given.model:
        model, header = saved.load(path)
        print(f"\n{path}: {listing(header['classes'])}, {len(labels)} real galaxies")
        for averaged in (False, True):
            predicted = train.predict(model, real.images, average_orientations=averaged)
            judged = model.judge(predicted)  # pyright: ignore
            chances = judged.chances.numpy()
            right, known = chances.argmax(1) == labels, judged.distance.numpy() <= 1
            covered = judged.sets.numpy()[range(len(labels)), labels]
            low, high = wilson(int(right.sum()), len(right))
            table = Predictions(
                ids=real.ids,
                split=np.full(len(real), "test"),
                labels=labels,
                p=chances.astype(float),
                classes=tuple(header["classes"]),
            )
            error = calibration.calibration_error(table)
            print(
                f"{'mean of 8 orientations' if averaged else 'as given'}: "
                f"accuracy {right.mean():.3f} [{low:.3f}, {high:.3f}], "
                f"calibration error {error['error']:.3f} ({error['by_chance']:.3f} by chance), "
                f"sets cover {covered.mean():.3f} with {judged.sets.sum(1).float().mean():.2f} "
                f"classes, unlike the training {1 - known.mean():.3f}, "
                f"accuracy of the others {right[known].mean():.3f}"
            )
        refused = {}
        for kind in others.KINDS:
            pictures = torch.from_numpy(others.draw(kind, 100, size=header["image_size"]))
            distance = model.judge(train.predict(model, pictures)).distance  # pyright: ignore
            refused[kind] = (distance > 1).float().mean().item()
        each = ", ".join(f"{kind} {share:.2f}" for kind, share in refused.items())
        print(f"no galaxies, refused: {np.mean([*refused.values()]):.3f} ({each})")


if __name__ == "__main__":
    main()

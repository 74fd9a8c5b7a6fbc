"""Train the model in the package, on mock galaxies alone.

Half of them are photographed as by SDSS, half under conditions that vary more (`camera.vary`). Vote
fractions are corrected as those published by Galaxy Zoo 2 (`volunteers.opinions`).
Galaxies for validation and for calibration are other ones, of varied conditions only."""

import hashlib
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply.images import check_positive
from galaxymorph.apply.stream import Say
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.learning import augment, encoders, model_files, train, votes
from galaxymorph.learning.votes_and_classes import VotesAndClasses
from galaxymorph.pixels import Pixels
from galaxymorph.text import duration

CLASSES = galaxy_zoo_tree.CLASSES[4]
SURVEYS = {"train": (1000, False), "varied": (1001, True), "val": (1002, True)}
SURVEYS |= {"calibration": (1003, True)}  # seed of the survey, and whether conditions vary
VIEWS: dict[str, Any] = {"zoom": 0.15, "brightness": 0.2, "colour": 0.08, "noise": 0.02}


class Part(NamedTuple):
    images: Pixels
    targets: tuple[Tensor, Tensor]  # labels and votes


def part(name: str, n: int, image_size: int) -> Part:
    """Simulate `n` galaxies for a purpose, a key of `SURVEYS`."""
    seed, varied = SURVEYS[name]
    survey = mock_survey(n, image_size=image_size, seed=seed, varied=varied, published=True)
    labels = torch.from_numpy(galaxy_zoo_tree.hard_labels(survey.votes.numpy(), CLASSES))
    return Part(survey.images, (labels, votes.targets(survey.votes, survey.volunteers.float())))


def build(
    out: Path,
    *,
    encoder: str = "cnn",
    n_galaxies: int = 100_000,
    epochs: int = 3,
    learning_rate: float = 3e-3,
    image_size: int = 64,
    seed: int = 0,
    say: Say = print,
) -> None:
    """Train a network on mock galaxies, calibrate it, and write it as the model file `out`.

    Weights are stored in 16 bits. The header says how the model was made. An interrupted
    training resumes from `<out>.checkpoint`. Raises `ValueError` or an `OSError`, for wrong options
    before anything is simulated."""
    check_positive(epochs=epochs)
    if n_galaxies < 64:
        raise ValueError(f"n_galaxies={n_galaxies}: expected at least 64")
    project.check_writable(out)
    begun = time.perf_counter()
    torch.manual_seed(seed)
    network = encoders.encoder(encoder)
    learner = VotesAndClasses(network, classes=CLASSES)
    say(f"simulating {n_galaxies:,} galaxies for training")
    made = [part(name, n_galaxies // 2, image_size) for name in ("train", "varied")]
    images = torch.cat([each.images for each in made])
    targets = tuple(map(torch.cat, zip(*(each.targets for each in made), strict=True)))
    del made
    val = part("val", max(64, min(3000, n_galaxies // 10)), image_size)
    checkpoint = out.with_suffix(".checkpoint")
    rows = train.fit(
        learner,
        (images, targets),
        val,
        views=augment.Views(**VIEWS),
        epochs=epochs,
        learning_rate=learning_rate,
        average=0.999,
        monitor=None,
        checkpoint=checkpoint,
        seed=seed,
    )
    for row in rows:
        error, speed = row["val_mse"] ** 0.5, f"{row['images_per_second']:.0f} images/s"
        found = f"accuracy {row['val_accuracy']:.3f}, RMSE of votes {error:.3f}"
        say(f"epoch {row['epoch']} of {epochs}: {found} on other mock galaxies; {speed}")
    del images, targets
    held = part("calibration", max(64, min(20_000, n_galaxies // 5)), image_size)
    for weights in learner.parameters():  # not the variances of BatchNorm, which may be tiny
        weights.data = weights.data.half().float()
    learner.calibrate(held.images, held.targets[0])
    for weights in learner.parameters():
        weights.data = weights.data.half()
    how = {"n_galaxies": n_galaxies, "epochs": epochs, "seed": seed, "views": VIEWS}
    how |= {"learning_rate": learning_rate, "calibrated_on": len(held.images)}
    _write(out, learner, network, image_size, how | {"torch": torch.__version__})
    checkpoint.unlink(missing_ok=True)
    size, digest = out.stat().st_size / 1e6, hashlib.sha256(out.read_bytes()).hexdigest()
    say(f"{out}: {size:.1f} MB, {duration(time.perf_counter() - begun)}, sha256 {digest}")


def _write(
    out: Path,
    learner: VotesAndClasses,
    network: encoders.Encoder,
    image_size: int,
    how: dict[str, Any],
) -> None:
    """Write the model file; of its galaxies the header lists only the surveys."""
    model_files.write(
        out,
        learner,
        encoder=network.options,
        normalisation=network.normalisation,
        image_size=image_size,
        cutout={"crop": None},
        seen=[],
        seen_labels=[],
        seen_surveys=[seed for seed, _ in SURVEYS.values()],
        head=learner.options,
        answers=list(galaxy_zoo_tree.COLUMNS),
        classes=list(CLASSES),
        made=how,
    )

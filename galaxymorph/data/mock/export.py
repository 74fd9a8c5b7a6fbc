"""galaxymorph.data.mock.export"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from PIL import Image

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.mock.survey import mock_survey


def export_survey(
    folder: Path,
    *,
    n_galaxies: int = 500,
    n_test: int = 100,
    image_size: int = 424,
    framing: float = 8.48,
    seed: int = 0,
) -> str:
    """Write a mock survey in Kaggle's layout: images_training_rev1/, training_solutions_rev1.csv,
    images_test_rev1/.

    Args:
        folder: must not have such files yet. n_galaxies, n_test: how many with and without
        published votes. image_size, framing: pixels, and the width of the frame in Petrosian radii;
        default: as Galaxy Zoo shows galaxies. seed: of the survey.

    Returns:
        What to do next.
    """
    training, solutions, test = (
        folder / f"{n}_rev1" for n in ("images_training", "training_solutions", "images_test")
    )
    solutions = solutions.with_suffix(".csv")
    if there := [path.name for path in (training, solutions, test) if path.exists()]:
        raise FileExistsError(
            f"{folder} has {', '.join(there)} already: remove them, or choose another folder"
        )
    survey = mock_survey(n_galaxies + n_test, image_size=image_size, seed=seed, framing=framing)
    for path in (training, test):
        path.mkdir(parents=True)
    for row, (id, image) in enumerate(
        zip(survey.ids, survey.images.permute(0, 2, 3, 1).numpy(), strict=True)
    ):
        Image.fromarray(image).save(
            (training if row < n_galaxies else test) / f"{id}.jpg", quality=95
        )
    votes = pd.DataFrame(survey.votes[:n_galaxies].numpy(), columns=list(galaxy_zoo_tree.COLUMNS))
    votes.insert(0, "GalaxyID", survey.ids[:n_galaxies])
    votes.to_csv(solutions, index=False, float_format="%.6f")
    return f"galaxies: {{name: galaxy_zoo, root: {folder}}}"

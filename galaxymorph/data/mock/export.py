"""Write a mock survey as if Kaggle had published it."""

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
    """Write a mock survey in Kaggle's layout; return how to load it.

    `n_galaxies` have published votes, `n_test` have none; `framing` is the width of the frame in
    Petrosian radii, by default Galaxy Zoo's. Raises `FileExistsError` rather than overwrite."""
    training, test = folder / "images_training_rev1", folder / "images_test_rev1"
    solutions = folder / "training_solutions_rev1.csv"
    if there := [path.name for path in (training, solutions, test) if path.exists()]:
        raise FileExistsError(f"{folder} has {', '.join(there)} already: choose another folder")
    survey = mock_survey(n_galaxies + n_test, image_size=image_size, seed=seed, framing=framing)
    pictures = dict(zip(survey.ids, survey.images.permute(0, 2, 3, 1).numpy(), strict=True))
    for home, ids in ((training, survey.ids[:n_galaxies]), (test, survey.ids[n_galaxies:])):
        home.mkdir(parents=True)
        for id in ids:
            Image.fromarray(pictures[id]).save(home / f"{id}.jpg", quality=95)
    votes = pd.DataFrame(survey.votes[:n_galaxies].numpy(), columns=list(galaxy_zoo_tree.COLUMNS))
    votes.insert(0, "GalaxyID", survey.ids[:n_galaxies])
    votes.to_csv(solutions, index=False, float_format="%.6f")
    return f"galaxies: {{name: galaxy_zoo, root: {folder}}}"

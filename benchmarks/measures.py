"""Compare the built-in measures with statmorph: Spearman correlations on the mock survey.

    python benchmarks/measures.py --galaxies 250

Galaxies that statmorph flags as bad or fails on are left out and counted. It takes about a second
per galaxy and core; its results are cached in data/cache. Needs the extra `classical`."""

import argparse

from scipy.stats import spearmanr

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.morphology import measure_sets

SAME = {
    "concentration": "concentration",
    "asymmetry": "asymmetry",
    "smoothness": "smoothness",
    "gini": "gini",
    "m20": "m20",
    "axis_ratio": "ellipticity_asymmetry",
    "r20": "r20",
    "half_light_radius": "r50",
    "r80": "r80",
    "petrosian_radius": "rpetro_circ",
}  # names in statmorph; its ellipticity is 1 - axis ratio


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=250)
    parser.add_argument(
        "--framing", type=float, default=3.2, help="width of the frames in Petrosian radii R90"
    )
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--survey-seed", type=int, default=0)
    options = parser.parse_args()
    survey = mock_survey(
        options.galaxies, image_size=options.size, framing=options.framing, seed=options.survey_seed
    )
    measured = measure_sets.measure(survey.images, features=["light", "statmorph"])
    good = measured.table[measured.table.statmorph_flag < 2]
    print(f"{len(good)} of {options.galaxies} galaxies; {measured.counts}")
    for ours, theirs in SAME.items():
        both = good[[ours, f"statmorph_{theirs}"]].dropna()
        print(
            f"{ours}: {abs(spearmanr(both.iloc[:, 0], both.iloc[:, 1])[0]):.3f} (n = {len(both)})"
        )


if __name__ == "__main__":
    main()

"""Every source loads what was written, splits are fair and reproducible, and bad input is named
before any training."""

import inspect
import os
import shutil
import threading
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from astropy.table import Table
from PIL import Image

from galaxymorph import galaxy_zoo_tree
from galaxymorph.cache import code
from galaxymorph.data import cutouts, galaxy_zoo, hdf5, sources
from galaxymorph.data.found import join
from galaxymorph.data.galaxies import SPLITS, Galaxies
from galaxymorph.data.load import OPTIONS, refused
from galaxymorph.data.load import load as load_galaxies
from galaxymorph.data.mock import survey as survey_module
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.data.splits import drawn_split

REAL = os.environ.get("GALAXYMORPH_DATA")


@pytest.fixture
def load(tmp_path):
    """`data.load` with a cache of the test's own. Unwrapped: the type check of tests would hide the
    errors that users see."""

    def unwrapped(name, **options):
        return inspect.unwrap(load_galaxies)(
            name, **{"image_size": 8, "cache": tmp_path / "cache"} | options
        )

    return unwrapped


def colour(id: str) -> tuple[int, int, int]:
    """A colour of its own for each galaxy, so that pixels and ids cannot be mixed up unnoticed."""
    number = int(id)
    return number % 256, 40 + number // 256 * 16, 100


def write_images(folder: Path, ids: list[str], *, ending: str = "png", size: int = 8) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for id in ids:
        image = Image.new("RGB", (size, size), colour(id))
        image.paste(0, (0, size // 2, size, size))  # or it would be blank
        image.save(folder / f"{id}.{ending}")


def ids_from(start: int, count: int) -> list[str]:
    return [f"{number:04d}" for number in range(start, start + count)]


def class_folders(root: Path, counts: dict[str, int], **options) -> Path:
    start = 0
    for name, count in counts.items():
        write_images(root / name, ids_from(start, count), **options)
        start += count
    return root


def assert_right_pixels(galaxies: Galaxies) -> None:
    for id, image in zip(galaxies.ids, galaxies.images, strict=True):
        top = image[:, : image.shape[1] // 4]
        assert top.flatten(1).unique(dim=1).flatten().tolist() == list(colour(id))


# --- class folders --------------------------------------------------------------------------------


def test_folder(tmp_path, load):
    galaxies = load("folder", root=class_folders(tmp_path / "mine", {"disc": 10, "ball": 20}))
    assert galaxies.classes == ("ball", "disc")
    assert galaxies.images.shape == (30, 3, 8, 8)
    assert galaxies.images.dtype == torch.uint8
    assert galaxies.ids.tolist() == ids_from(0, 30)
    assert galaxies.labels.tolist() == [1] * 10 + [0] * 20
    assert galaxies.votes is None
    assert galaxies.notes == []
    assert_right_pixels(galaxies)


def test_counts_and_parts(tmp_path, load):
    galaxies = load(
        "folder", root=class_folders(tmp_path / "mine", {"disc": 10, "ball": 20}), n_labels=5
    )
    expected = {"train": [3, 2, 0], "val": [4, 2, 0], "test": [4, 2, 0], "unlabelled": [0, 0, 13]}
    assert galaxies.counts().to_dict("list") == expected
    assert galaxies.counts().index.tolist() == ["ball", "disc", "unlabelled"]
    train = galaxies.part("train")
    assert len(train) == 5
    assert set(train.split) == {"train"}
    assert_right_pixels(train)
    assert sum(len(galaxies.part(split)) for split in SPLITS) == len(galaxies)


def test_class_names(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"0": 5, "1": 5})
    assert load("folder", root=root, class_names=["round", "spiral"]).classes == ("round", "spiral")
    for wrong in (["round"], ["round", "round"]):
        with pytest.raises(
            ValueError, match=r"class_names has .* must have 2 different names, for 0, 1"
        ):
            load("folder", root=root, class_names=wrong)


def test_crop_and_resize(tmp_path, load):
    image = np.zeros((30, 40, 3), np.uint8)
    image[10:20, 15:25] = 200
    image[10, 15] = 100  # or the crop would be blank
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(image).save(tmp_path / "mine" / name / f"{name}{number}.png")
    cropped = load("folder", root=tmp_path / "mine", crop=10, image_size=10).images
    assert (cropped[:, :, 0, 0] == 100).all() and (cropped.flatten(2)[:, :, 1:] == 200).all()
    assert (
        load("folder", root=tmp_path / "mine", image_size=30).images[0, 0].sum() == 200 * 99 + 100
    )
    with pytest.raises(
        ValueError,
        match=r"10 of 10 images cannot be used: a.a0.png, .*\(crop of 31 px.*only 40 x 30",
    ):
        load("folder", root=tmp_path / "mine", crop=31)


def test_a_second_load_decodes_nothing(tmp_path, load, monkeypatch):
    root = class_folders(tmp_path / "mine", {"disc": 5, "ball": 5})
    first = load("folder", root=root)
    monkeypatch.setattr(cutouts, "to_rgb", None)
    second = load("folder", root=root, seed=1, n_labels=4)
    assert torch.equal(first.images, second.images)


def test_a_changed_image_is_decoded_again(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 5, "ball": 5})
    load("folder", root=root)
    write_images(root / "disc", ["0077"])
    (root / "disc" / "0077.png").replace(root / "disc" / "0002.png")
    assert load("folder", root=root).images[2, :, 0, 0].tolist() == list(colour("77"))


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png", "tif", "TIFF"])
def test_image_formats(tmp_path, load, ending):
    galaxies = load(
        "folder", root=class_folders(tmp_path / "mine", {"disc": 4, "ball": 4}, ending=ending)
    )
    expected = torch.tensor([colour(id) for id in galaxies.ids])
    top = galaxies.images[:, :, :3].float().mean((2, 3))
    assert (top - expected).abs().max() <= 9  # JPEG rounds


# --- bad input ------------------------------------------------------------------------------------


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def test_broken_images_are_named(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 20, "ball": 10}, ending="jpg", size=32)
    for id in ids_from(3, 12):
        truncate(root / "disc" / f"{id}.jpg")
    with pytest.raises(
        ValueError,
        match=r"12 of 30 images .*: disc.0003.jpg, .* and 2 more \(.*[Tt]runcated.*\. .*skip",
    ):
        load("folder", root=root)
    galaxies = load("folder", root=root, on_bad="skip")
    assert galaxies.ids.tolist() == ids_from(0, 3) + ids_from(15, 15)
    assert galaxies.images.shape[0] == galaxies.labels.shape[0] == 18
    expected = torch.tensor([colour(id) for id in galaxies.ids])
    assert (galaxies.images[:, :, :4].float().mean((2, 3)) - expected).abs().max() <= 2
    (note,) = galaxies.notes
    assert (
        note.startswith("left out: 12 of 30 images") and "0003.jpg" in note and "and 2 more" in note
    )


def test_nothing_but_broken_images_is_an_error_in_any_case(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 5, "ball": 5})
    for file in root.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(ValueError, match="10 of 10 images cannot be used"):
        load("folder", root=root, on_bad="skip")


def test_folder_without_classes(tmp_path, load):
    write_images(tmp_path / "mine", ["1", "2"])
    with pytest.raises(ValueError, match="mine: no class folders; expected mine/<class>/"):
        load("folder", root=tmp_path / "mine")


def test_empty_class(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 5, "ball": 5})
    (root / "ring").mkdir()
    (root / "ring" / "notes.txt").write_text("to do")
    with pytest.raises(ValueError, match=r"no images in class ring: fill or remove the folder"):
        load("folder", root=root)


def test_images_outside_of_classes(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 5, "ball": 5})
    write_images(root, ["77"])
    with pytest.raises(ValueError, match=r"images outside the class folders: 77.png"):
        load("folder", root=root)


def test_one_id_in_two_classes(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 5, "ball": 5})
    write_images(root / "ball", ["0002"])
    with pytest.raises(ValueError, match=r"duplicate id '0002' \(.*0002.png, .*0002.png\)"):
        load("folder", root=root)


def test_class_too_small_to_split(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 10, "ball": 2, "ring": 1})
    with pytest.raises(
        ValueError, match=r"too few galaxies to split: class ball \(2\), ring \(1\); .* at least 3"
    ):
        load("folder", root=root)
    with pytest.raises(ValueError, match=r"class ring \(1\); each class needs at least 2"):
        load("folder", root=root, val=0.0)


def test_too_few_galaxies_what_can_be_done(tmp_path, load):
    root = write_zoo(tmp_path / "zoo", 8)
    for n_classes, remedy in (
        (4, r"these galaxies become unlabelled$"),
        (5, r"these galaxies become unlabelled, or use n_classes: 4"),
    ):
        with pytest.raises(
            ValueError, match=rf"one for each of train, val, test\. Add galaxies, .* {remedy}"
        ):
            load("galaxy_zoo", root=root, n_classes=n_classes)
    write_galaxy10(tmp_path / "Galaxy10.h5", each=1)
    with pytest.raises(
        ValueError, match=r"one for each of train, test\. Add galaxies, or remove the labels"
    ):
        load("galaxy10", root=tmp_path / "Galaxy10.h5", val=0.0, survey="sdss")
    with pytest.raises(ValueError, match=r"Increase n_galaxies$"):
        load("simulated", n_galaxies=3, image_size=16)


def test_unknown_source_names_the_nearest(load):
    with pytest.raises(
        ValueError, match=r"unknown source 'galaxyzoo'; did you mean 'galaxy_zoo'\?"
    ):
        load("galaxyzoo")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "simulated",
            {"root": "data"},
            "option 'root' applies to folder, galaxy_zoo, .*, not to 'simulated'",
        ),
        ("simulated", {"on_bad": "skip"}, "option 'on_bad' applies to folder"),
        (
            "simulated",
            {"crop": 40},
            "option 'crop' applies to folder, .* parquet, not to 'simulated': remove",
        ),
        ("simulated", {"unlabelled_root": "x"}, "option 'unlabelled_root' applies to"),
        ("folder", {"root": "x", "n_galaxies": 5}, "'n_galaxies' applies to simulated, not to"),
        ("folder", {"root": "x", "stretch": 1.0}, "option 'stretch' applies to fits, not"),
        (
            "galaxy10",
            {"root": "x", "class_names": ["a"]},
            "folder, table, fits, parquet, not to 'gal",
        ),
        ("galaxy10", {"root": "x", "target": "votes"}, "'galaxy10' has no votes: remove target"),
        (
            "folder",
            {"root": "x", "image_sise": 8},
            "unknown option 'image_sise'; did you mean 'image",
        ),
        ("folder", {"root": "x", "unlabelled_crop": 5}, "unlabelled_crop needs unlabelled_root"),
        ("folder", {}, "source 'folder' needs `root`"),
        ("folder", {"root": "x", "test": 1.5}, "test must lie between 0 and 1, not 1.5"),
        ("folder", {"root": "x", "test": 0.5, "val": 0.5}, "leave nothing to train on"),
        (
            "folder",
            {"root": "x", "n_labels": 5, "label_fraction": 0.5},
            "n_labels or label_fraction, not both",
        ),
        ("folder", {"root": "x", "image_size": 0}, "image_size must be at least 1"),
        ("folder", {"root": "x", "crop": -1}, "crop must be at least 1"),
    ],
)
def test_options_that_make_no_sense(load, name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, **options)


def test_missing_folder_says_how_far_it_exists(tmp_path, load):
    with pytest.raises(
        FileNotFoundError,
        match=f"nope/there does not exist; its closest existing parent is {tmp_path}",
    ):
        load("folder", root=tmp_path / "nope" / "there")


# --- splits and labels ----------------------------------------------------------------------------


def splits(galaxies: Galaxies) -> dict[str, str]:
    return dict(zip(galaxies.ids.tolist(), galaxies.split.tolist(), strict=True))


def test_splits_are_stratified(tmp_path, load):
    galaxies = load(
        "folder",
        root=class_folders(tmp_path / "mine", {"a": 100, "b": 50, "c": 5}),
        test=0.3,
        val=0.1,
    )
    assert galaxies.counts().loc[["a", "b", "c"], ["train", "val", "test"]].to_numpy().tolist() == [
        [60, 10, 30],
        [30, 5, 15],
        [2, 1, 2],
    ]


@pytest.mark.parametrize(
    ("test", "val"),
    [(0.9, 0.05), (0.05, 0.9), (0.5, 0.49), (0.99, 0.0), (0.0, 0.99), (0.0, 0.0), (0.2, 0.2)],
)
def test_every_part_of_a_split_gets_a_galaxy_and_about_its_share(test, val):
    least = 1 + (test > 0) + (val > 0)
    for count in (*range(least, 12), 19, 20, 33, 59):
        galaxies = Galaxies(
            ids=np.array(ids_from(0, count)),
            images=torch.zeros(count, 3, 1, 1, dtype=torch.uint8),
            labels=torch.zeros(count, dtype=torch.int64),
            classes=("a",),
            votes=None,
            split=np.full(count, "unlabelled"),
        )
        drawn_split(galaxies, galaxies.labels.numpy(), test=test, val=val, seed=0, remedy="")
        numbers = galaxies.counts().loc["a"]
        assert numbers["unlabelled"] == 0
        for split, share in {"train": 1 - test - val, "val": val, "test": test}.items():
            assert (numbers[split] > 0) == (share > 0)
            assert abs(numbers[split] - share * count) <= 2


def test_an_empty_part_is_an_error_that_says_what_to_do(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"a": 20, "b": 20})
    for split in ("val", "test"):
        galaxies = load("folder", root=root, **{split: 0.0})
        with pytest.raises(
            ValueError,
            match=f"split '{split}' is empty because .* {split} = 0: set {split}, for",
        ):
            galaxies.part(split)
        assert len(galaxies.part("unlabelled")) == 0
    for split in ("train", "val", "test"):
        with pytest.raises(
            ValueError, match=f"split '{split}' is empty because no galaxy has a label: add"
        ):
            galaxies.take(np.arange(0)).part(split)


def test_home_folder(tmp_path, load, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    class_folders(tmp_path / "mine", {"a": 5, "b": 5})
    write_images(tmp_path / "more", ids_from(90, 2))
    galaxies = load("folder", root="~/mine", unlabelled_root=Path("~/more"), cache="~/kept")
    assert len(galaxies) == 12 and len(list((tmp_path / "kept" / "folder").iterdir())) == 1
    write_table(tmp_path / "valSet.hdf5")
    (tmp_path / "labels.csv").write_text("label\n" + "a\nb\n" * 10)
    assert load("table", root="~/valSet.hdf5", labels="~/labels.csv").classes == ("a", "b")


def test_links_to_nothing_are_broken_images(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"disc": 5, "ball": 5})
    (root / "disc" / "0777.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(
        ValueError,
        match=r"1 of 11 images .*: disc.0777.png \(a link to .*gone.png, which does not",
    ):
        load("folder", root=root)
    assert load("folder", root=root, on_bad="skip").ids.tolist() == ids_from(0, 10)
    write_images(tmp_path, ["0777"])
    (tmp_path / "0777.png").rename(tmp_path / "gone.png")
    assert "0777" in load("folder", root=root).ids  # repaired: the cache knows


def test_splits_depend_on_seed_and_ids_alone(tmp_path, load):
    counts = {"a": 40, "b": 20}
    first = load("folder", root=class_folders(tmp_path / "one", counts))
    other = tmp_path / "two"
    for id in reversed(
        ids_from(0, 60)
    ):  # other names, other order of files and classes, other format, other sizes
        write_images(other / ("z" if int(id) < 40 else "y"), [id], ending="tif", size=16)
    second = load("folder", root=other)
    assert first.labels.tolist() != second.labels.tolist()
    assert splits(first) == splits(second)
    assert splits(load("folder", root=tmp_path / "one", seed=1)) != splits(first)


def test_one_galaxy_more_moves_no_more_than_the_numbers_ask_for(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"a": 40, "b": 20})
    before = splits(load("folder", root=root))
    write_images(root / "a", ["0999"])
    after = splits(load("folder", root=root))
    assert sum(after[id] != before[id] for id in before) <= 2


def test_fingerprint_tells_splits_and_labels_apart(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"a": 20, "b": 20})
    first = load("folder", root=root)
    assert first.fingerprint == load("folder", root=root, image_size=4).fingerprint
    others = [load("folder", root=root, seed=1), load("folder", root=root, n_labels=10)]
    others.append(load("folder", root=root, class_names=["a", "c"]))
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_smaller_label_sets_are_part_of_larger_ones(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"a": 100, "b": 60, "c": 8})
    everything = load("folder", root=root)
    smaller: set[str] = set()
    for n in (3, 10, 25, 50, 100):
        galaxies = load("folder", root=root, n_labels=n)
        train = galaxies.part("train")
        labelled = set(train.ids)
        assert len(labelled) == n
        assert smaller < labelled
        assert (torch.bincount(train.labels, minlength=3) >= 1).all()
        smaller = labelled
        for split in ("val", "test"):
            assert galaxies.part(split).ids.tolist() == everything.part(split).ids.tolist()
        dropped = galaxies.part("unlabelled")
        assert set(dropped.ids) == set(everything.part("train").ids) - labelled
        assert (dropped.labels == -1).all()
        assert_right_pixels(train)


def test_label_sets_keep_the_share_of_each_class(tmp_path, load):
    galaxies = load(
        "folder", root=class_folders(tmp_path / "mine", {"a": 100, "b": 50}), label_fraction=0.2
    )
    assert torch.bincount(galaxies.part("train").labels).tolist() == [12, 6]


@pytest.mark.parametrize("n", [1, 91])
def test_impossible_number_of_labels(tmp_path, load, n):
    root = class_folders(tmp_path / "mine", {"a": 100, "b": 50})
    with pytest.raises(ValueError, match=rf"n_labels = {n}, but it must lie between 2 .* and 90"):
        load("folder", root=root, n_labels=n)


def test_labels_may_be_given_by_id(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"a": 20, "b": 10})
    every = load("folder", root=root)
    chosen = sorted(every.part("train").ids.tolist())[::3]
    sample = load("folder", root=root, n_labels=chosen)
    assert sorted(sample.part("train").ids) == chosen and len(set(sample.part("train").labels)) > 1
    left = set(every.part("train").ids) - set(chosen)
    assert set(sample.part("unlabelled").ids) == left
    assert (sample.part("unlabelled").labels == -1).all()
    for part in ("val", "test"):
        assert sample.part(part).ids.tolist() == every.part(part).ids.tolist()
        assert (sample.part(part).labels == every.part(part).labels).all()


def test_impossible_labels_by_id(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"a": 20, "b": 10})
    every = load("folder", root=root)
    train, tested = every.part("train").ids.tolist(), every.part("test").ids.tolist()
    only = [id for id in train if int(id) < 20]
    for ids, message in (
        (
            [*train, "0999"],
            r"n_labels: not training galaxies with a label: 0999 \(unknown\)",
        ),
        (
            [*train, tested[0]],
            rf"n_labels: not training galaxies with a label: {tested[0]} \(test\)",
        ),
        ([*train, train[0]], f"n_labels: duplicate ids {train[0]}"),
        (only, "n_labels has no training galaxy of class b"),
        ([], "n_labels has no training galaxy of class a, b"),
    ):
        with pytest.raises(ValueError, match=message):
            load("folder", root=root, n_labels=ids)


# --- the signature that params files are checked by -----------------------------------------------


def test_load_has_the_options_of_every_source():
    signature = inspect.signature(load_galaxies)
    for options in OPTIONS.values():
        assert set(options) <= set(signature.parameters)
    assert signature.parameters["stretch"].default is None
    assert "found" not in signature.parameters and "options" not in signature.parameters


def test_options_of_another_source_are_refused_before_anything_is_loaded():
    given = {"name": "fits", "root": "x", "n_galaxies": 5, "seed": 3, "survey_seed": None}
    assert list(refused(given)) == ["n_galaxies"]
    assert refused({"n_galaxies": 5, "root": "x"}) == {}  # of which source, is not known yet
    assert refused({"name": "folder", "root": "x", "hdu": None, "stretch": None}) == {}


# --- a second, unlabelled source ------------------------------------------------------------------


def test_unlabelled_galaxies_are_joined_by_id(tmp_path, load):
    root = class_folders(tmp_path / "mine", {"a": 10, "b": 10})
    write_images(tmp_path / "more" / "deeper", ids_from(15, 20), size=20)
    galaxies = load(
        "folder", root=root, unlabelled_root=tmp_path / "more", crop=6, unlabelled_crop=18
    )
    assert sorted(galaxies.ids) == ids_from(0, 35)
    assert set(galaxies.part("unlabelled").ids) == set(ids_from(20, 15))
    (note,) = galaxies.notes
    assert "15 unlabelled" in note and "left out: 5 of its" in note
    alone = load("folder", root=root)
    assert {id: split for id, split in splits(galaxies).items() if split != "unlabelled"} == splits(
        alone
    )


# --- Galaxy Zoo -----------------------------------------------------------------------------------


def some_votes(count: int) -> np.ndarray:
    """Cumulative votes: round, in-between, edge-on, spiral and undecided galaxies in turn."""
    kinds = [
        {
            ("smooth", "smooth"): 0.9,
            ("smooth", "features"): 0.1,
            ("roundness", "round"): 1.0,
            ("edge_on", "no"): 1.0,
        },
        {
            ("smooth", "smooth"): 0.9,
            ("smooth", "features"): 0.1,
            ("roundness", "in-between"): 1.0,
            ("edge_on", "no"): 1.0,
        },
        {
            ("smooth", "features"): 0.9,
            ("smooth", "smooth"): 0.1,
            ("edge_on", "yes"): 1.0,
            ("roundness", "cigar"): 1.0,
        },
        {
            ("smooth", "features"): 0.9,
            ("smooth", "smooth"): 0.1,
            ("edge_on", "no"): 1.0,
            ("spiral", "yes"): 1.0,
        },
        {("smooth", "artifact"): 1.0},
    ]
    shares = np.zeros((count, 37))
    for row in range(count):
        for answer, share in kinds[row % 5].items():
            shares[row, galaxy_zoo_tree.column(*answer)] = share
    return galaxy_zoo_tree.cumulative(shares)


def write_zoo(root: Path, count: int = 50) -> Path:
    write_images(root / "images_training_rev1", ids_from(100, count), ending="jpg")
    write_images(root / "images_test_rev1", ids_from(500, 7), ending="jpg")
    table = pd.DataFrame(some_votes(count), columns=list(galaxy_zoo_tree.COLUMNS))
    table.insert(0, "GalaxyID", ids_from(100, count))
    table.to_csv(root / "training_solutions_rev1.csv", index=False)
    return root


def zip_zoo(root: Path, target: Path) -> Path:
    """As Kaggle serves them: a zip for each part, with the folder's name inside, and what a Mac
    adds."""
    target.mkdir()
    for name in ("images_training_rev1", "images_test_rev1"):
        with zipfile.ZipFile(target / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir(name)
            for file in sorted((root / name).iterdir(), reverse=True):
                archive.write(file, f"{name}/{file.name}")
                archive.writestr(f"__MACOSX/{name}/._{file.name}", b"junk")
    with zipfile.ZipFile(target / "training_solutions_rev1.zip", "w") as archive:
        archive.write(root / "training_solutions_rev1.csv", "training_solutions_rev1.csv")
        archive.writestr("__MACOSX/._training_solutions_rev1.csv", b"junk")
    return target


def edit_solutions(root: Path, change) -> None:
    file = root / "training_solutions_rev1.csv"
    table = pd.read_csv(file, dtype={"GalaxyID": str})
    change(table).to_csv(file, index=False)


def test_galaxy_zoo(tmp_path, load):
    galaxies = load("galaxy_zoo", root=write_zoo(tmp_path / "zoo"))
    assert galaxies.classes == ("round", "in-between", "edge-on", "spiral")
    assert galaxies.ids.tolist() == ids_from(100, 50) + ids_from(500, 7)
    assert galaxies.labels.tolist() == [0, 1, 2, 3, -1] * 10 + [-1] * 7
    assert galaxies.votes is not None
    np.testing.assert_allclose(galaxies.votes[:50], some_votes(50), atol=1e-6)
    assert galaxies.votes[50:].isnan().all()
    assert galaxies.counts()["unlabelled"].tolist() == [0, 0, 0, 0, 17]


def test_galaxy_zoo_with_five_classes(tmp_path, load):
    root = write_zoo(tmp_path / "zoo")
    edit_solutions(
        root,
        lambda table: table.assign(**{"Class7.3": table["Class1.1"], "Class7.1": 0, "Class7.2": 0}),
    )
    with pytest.raises(
        ValueError, match=r"too few galaxies to split: class round \(0\), in-between \(0\)"
    ):
        load("galaxy_zoo", root=root, n_classes=5)


def test_zips_are_read_unextracted(tmp_path, load):
    folders = write_zoo(tmp_path / "zoo")
    zips = zip_zoo(folders, tmp_path / "zips")
    first, second = load("galaxy_zoo", root=folders), load("galaxy_zoo", root=zips)
    assert first.fingerprint == second.fingerprint
    assert first.ids.tolist() == second.ids.tolist()
    assert torch.equal(first.images, second.images)
    assert first.votes is not None and second.votes is not None
    assert torch.equal(first.votes.nan_to_num(), second.votes.nan_to_num())
    assert [path.name for path in zips.iterdir() if path.is_dir()] == []


def test_incomplete_zip(tmp_path, load):
    zips = zip_zoo(write_zoo(tmp_path / "zoo"), tmp_path / "zips")
    truncate(zips / "images_training_rev1.zip")
    with pytest.raises(
        ValueError, match=r"images_training_rev1.zip is incomplete or broken .*download it again"
    ):
        load("galaxy_zoo", root=zips)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.rename(columns={"Class4.1": "Class4.l"}),
            r"no column Class4.1; is 'Class4.l' a misspelt 'Class4.1'\?",
        ),
        (lambda t: t.drop(columns="GalaxyID"), r"no column GalaxyID"),
        (
            lambda t: pd.concat([t, t.iloc[[3, 7]]]),
            r"duplicate GalaxyID '0103' \(rows 5, 52\), '0107' \(rows 9, 53\)\. Keep",
        ),
        (
            lambda t: t.assign(**{"Class1.1": t["Class1.1"].where(t.index != 5, 1.2)}),
            r"not fractions .* GalaxyID 0105$",
        ),
        (
            lambda t: t.assign(**{"Class1.1": t["Class1.1"].where(t.index != 5)}),
            r"not fractions .* GalaxyID 0105$",
        ),
        (
            lambda t: t.drop(index=[0, 2]),
            r"2 images without a row in training_solutions_rev1.csv: 0100, 0102\. .*skip",
        ),
        (
            lambda t: t.assign(GalaxyID=t["GalaxyID"].replace("0104", "0999")),
            r"1 images without .* 1 rows of .* image: 0999",
        ),
    ],
    ids=["column", "id-column", "duplicate", "range", "empty", "no-row", "no-image"],
)
def test_bad_solutions(tmp_path, load, change, message):
    root = write_zoo(tmp_path / "zoo")
    edit_solutions(root, change)
    with pytest.raises(ValueError, match=message):
        load("galaxy_zoo", root=root)


def test_images_and_rows_that_stand_alone_can_be_left_out(tmp_path, load):
    root = write_zoo(tmp_path / "zoo")
    edit_solutions(root, lambda t: t.assign(GalaxyID=t["GalaxyID"].replace("0104", "0999")))
    galaxies = load("galaxy_zoo", root=root, on_bad="skip")
    assert "0104" not in galaxies.ids and "0999" not in galaxies.ids
    assert len(galaxies) == 49 + 7
    assert (
        galaxies.labels[:49].tolist() == ([0, 1, 2, 3, -1] * 10)[:4] + ([0, 1, 2, 3, -1] * 10)[5:]
    )
    assert (
        galaxies.notes[0] == "left out: 1 images without a row in training_solutions_rev1.csv: 0104"
    )
    assert (
        galaxies.notes[1]
        == "left out: 1 rows of training_solutions_rev1.csv without an image: 0999"
    )


def test_missing_part_of_galaxy_zoo(tmp_path, load):
    root = write_zoo(tmp_path / "zoo")
    (root / "training_solutions_rev1.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no training solutions\. Expected"):
        load("galaxy_zoo", root=root)


# --- HDF5 -----------------------------------------------------------------------------------------


def write_galaxy10(file: Path, *, each: int = 5, chunks=None) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (10 * each, 16, 16, 3), np.uint8)
    with h5py.File(file, "w") as opened:
        opened.create_dataset(
            "images", data=images, chunks=chunks, compression="gzip" if chunks else None
        )
        opened["ans"] = (np.arange(10 * each) % 10).astype(np.uint8)
    return images


@pytest.mark.parametrize("chunks", [None, (7, 8, 8, 1)])
def test_galaxy10(tmp_path, load, chunks):
    images = write_galaxy10(tmp_path / "Galaxy10.h5", chunks=chunks)
    options = {"image_size": 16, "survey": "decals"}
    galaxies = load("galaxy10", root=tmp_path / "Galaxy10.h5", **options)
    assert galaxies.images.permute(0, 2, 3, 1).numpy().tolist() == images.tolist()
    assert galaxies.labels.tolist() == list(range(10)) * 5
    assert galaxies.classes[0] == "disturbed" and galaxies.classes[9] == "edge-on with bulge"
    assert galaxies.ids[7] == "Galaxy10-000007"
    assert load("galaxy10", root=tmp_path, **options).fingerprint == galaxies.fingerprint


def test_galaxy10_with_wrong_content(tmp_path, load):
    file = tmp_path / "Galaxy10.h5"
    with h5py.File(file, "w") as opened:
        opened["pictures"] = np.zeros((5, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"expected the arrays `images` and `ans`, found pictures"):
        load("galaxy10", root=file)
    with h5py.File(file, "w") as opened:
        opened["images"], opened["ans"] = np.zeros((5, 3, 8, 8), np.uint8), np.zeros(5, np.uint8)
    with pytest.raises(ValueError, match=r"`images` is uint8 \(5, 3, 8, 8\)"):
        load("galaxy10", root=file)
    with h5py.File(file, "w") as opened:
        opened["images"], opened["ans"] = (
            np.zeros((5, 8, 8, 3), np.uint8),
            np.array([0, 1, 10, 2, 11]),
        )
    with pytest.raises(ValueError, match=r"between 0 and 9, but is not in row 2, 4"):
        load("galaxy10", root=file)
    truncate(file)
    with pytest.raises(ValueError, match=r"incomplete or broken .*: download it again"):
        load("galaxy10", root=file)


def test_rows_from_many_threads(tmp_path):
    images = write_galaxy10(tmp_path / "Galaxy10.h5", each=20, chunks=(7, 8, 8, 1))
    rows = hdf5.Rows(h5py.File(tmp_path / "Galaxy10.h5")["images"])
    order = np.random.default_rng(1).permutation(200)
    wrong: list[int] = []

    def read(part):
        wrong.extend(row for row in part if not np.array_equal(rows[int(row)], images[row]))

    threads = [threading.Thread(target=read, args=(part,)) for part in np.array_split(order, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert rows.block.cache_info().currsize <= 4


def write_table(file: Path, count: int = 20, **extra) -> np.ndarray:
    images = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 8, 8, 3))
    columns = {band: images[..., index] for index, band in enumerate("rgb")}
    Table(columns | extra).write(file, path="/data")
    return np.round((images + 0.5) * 255).astype(np.uint8)


def test_table_with_labels_beside_it(tmp_path, load):
    images = write_table(tmp_path / "valSet.hdf5")
    pd.DataFrame(np.arange(20) % 4).to_csv(
        tmp_path / "valSet.csv", index=False
    )  # as the published code writes it
    galaxies = load("table", root=tmp_path / "valSet.hdf5")
    assert galaxies.images.permute(0, 2, 3, 1).numpy().tolist() == images.tolist()
    assert galaxies.classes == ("0", "1", "2", "3")
    assert galaxies.labels.tolist() == [0, 1, 2, 3] * 5
    assert galaxies.ids[19] == "valSet-000019"


def test_table_with_ids_and_another_table_of_unlabelled_galaxies(tmp_path, load):
    write_table(tmp_path / "valSet.hdf5", id=ids_from(0, 20))
    more = write_table(tmp_path / "trainSet.hdf5", 30, id=ids_from(15, 30))
    labels = pd.DataFrame({"id": ids_from(0, 20)[::-1], "label": ["ball", "disc"] * 10})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    galaxies = load(
        "table",
        root=tmp_path / "valSet.hdf5",
        labels=tmp_path / "labels.csv",
        unlabelled_root=tmp_path / "trainSet.hdf5",
    )
    assert galaxies.ids.tolist() == ids_from(0, 45)
    assert galaxies.labels.tolist() == [1, 0] * 10 + [-1] * 25
    assert galaxies.images[20:].permute(0, 2, 3, 1).numpy().tolist() == more[5:].tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("label\n0\n1\n", r"2 rows for 20 galaxies"),
        ("redshift,label\na,0\n", r"no column id \(or objid, .*\) among 'redshift', 'label'\. Add"),
        (
            "id,label\nvalSet-000000,0\nvalSet-000002,1",
            r"18 images without a row in valSet.csv: valSet-000001, .* and 8 more",
        ),
        ("", r"valSet.csv: no rows; expected a header"),
        ("id,label\na,1,2\nb\n", r"the header has 2 cells, but line 2 has 3, line 3 has 1"),
    ],
)
def test_bad_labels(tmp_path, load, labels, message):
    write_table(tmp_path / "valSet.hdf5")
    (tmp_path / "valSet.csv").write_text(labels)
    with pytest.raises(ValueError, match=message):
        load("table", root=tmp_path / "valSet.hdf5")


def test_images_without_label_may_be_taken_as_unlabelled(tmp_path, load):
    write_table(tmp_path / "valSet.hdf5")
    rows = [f"valSet-{row:06d},{'10' if row % 2 else '9'}" for row in range(12)]
    (tmp_path / "valSet.csv").write_text("\n".join(["id,label", *rows, "valSet-000012,"]))
    galaxies = load("table", root=tmp_path / "valSet.hdf5", on_bad="skip")
    assert galaxies.classes == ("9", "10")  # numbers in the order of numbers
    assert galaxies.labels.tolist() == [0, 1] * 6 + [-1] * 8
    assert "7 images without a row in valSet.csv" in galaxies.notes[0]


def test_table_with_wrong_columns_or_values(tmp_path, load):
    Table({"r": np.zeros((5, 8, 8)), "G": np.zeros((5, 8, 8)), "b": np.zeros((5, 8, 8))}).write(
        tmp_path / "a.h5", path="data"
    )
    with pytest.raises(ValueError, match=r"a.h5: no column g. It has: r, G, b"):
        load("table", root=tmp_path / "a.h5")
    images = np.full((5, 8, 8), -0.4)
    images[:, 2:4] = 0.4
    images[2] = 0.7
    images[3, 0, 0] = np.nan
    Table({"r": images, "g": images, "b": images}).write(tmp_path / "b.h5", path="data")
    with pytest.raises(
        ValueError,
        match=r"2 of 5 .*b.h5 row 2 \(values from 0.7 to 0.7, expected -0.5 to 0.5\), b.h5 row 3",
    ):
        load("table", root=tmp_path / "b.h5")


# --- the mock survey ------------------------------------------------------------------------------


def test_simulated_survey_is_made_once(load, monkeypatch):
    made = []
    survey = mock_survey

    def counting(*args, **options):
        made.append(args)
        return survey(*args, **options)

    monkeypatch.setattr(survey_module, "mock_survey", counting)
    options = {"n_galaxies": 192, "image_size": 16, "survey_seed": 5}
    first, second = load("simulated", **options), load("simulated", **options, seed=1)
    assert len(made) == 1
    assert first.classes == galaxy_zoo_tree.CLASSES[4]
    assert torch.equal(first.images, second.images)
    direct = survey(192, image_size=16, seed=5)
    assert torch.equal(first.images, direct.images)
    assert first.votes is not None and torch.equal(first.votes, direct.votes)
    assert (
        first.labels.tolist()
        == galaxy_zoo_tree.hard_labels(direct.votes.numpy(), galaxy_zoo_tree.CLASSES[4]).tolist()
    )
    assert (first.labels == -1).any()  # ambiguous galaxies exist
    assert splits(first) != splits(second)


def test_cache_follows_thecode():
    """What simulate imports counts as its code, too; what it does not import does not."""
    assert code(survey_module) == code(survey_module)
    assert code(survey_module) != code(galaxy_zoo_tree)


# --- real galaxies --------------------------------------------------------------------------------


@pytest.mark.real
def test_real_class_folders(load):
    galaxies = load("folder", root=Path(str(REAL), "four_class"), image_size=64)
    assert torch.bincount(galaxies.labels).tolist() == [226, 236, 131, 216]


@pytest.mark.real
def test_real_unlabelled_galaxies_are_found_twice():
    """177 of them are also in the class folders: without the join they would leak."""
    root = Path(str(REAL))
    joined = join(
        sources.folder(root / "four_class"),
        sources.images(root / "galaxy_zoo_128"),
        "x",
    )
    assert len(joined.ids) == len(set(joined.ids)) == 809 + 6567 - 177


@pytest.mark.real
def test_real_galaxy_zoo(tmp_path, load):
    root = Path(str(REAL), "galaxy_zoo_2")
    found = galaxy_zoo.galaxy_zoo(root, n_classes=5)
    assert len(found.ids) == 900
    assert found.votes is not None and found.votes.shape == (700, 37)
    small = tmp_path / "zoo"
    for name in ("images_training_rev1", "images_test_rev1"):
        (small / name).mkdir(parents=True)
        for file in sorted((root / name).iterdir())[:60]:
            shutil.copy(file, small / name)
    shutil.copy(root / "training_solutions_rev1.csv", small)
    galaxies = load("galaxy_zoo", root=small, crop=212, image_size=64, on_bad="skip")
    assert galaxies.images.shape == (120, 3, 64, 64)
    centre, corner = (
        galaxies.images[:, :, 28:36, 28:36].float().mean(),
        galaxies.images[:, :, :8, :8].float().mean(),
    )
    assert centre > 3 * corner  # the galaxies are in the middle


@pytest.mark.real
def test_real_galaxy10(load):
    galaxies = load("galaxy10", root=Path(str(REAL), "Galaxy10_DECals_sample.h5"), image_size=64)
    assert torch.bincount(galaxies.labels).tolist() == [10] * 10


def test_a_part_can_be_of_several_splits_and_a_wrong_name_is_refused():
    sample = load_galaxies("simulated", n_galaxies=120, image_size=32, n_labels=20)
    both = sample.part("train", "unlabelled")
    assert set(both.ids) == set(sample.part("train").ids) | set(sample.part("unlabelled").ids)
    assert set(both.split) == {"train", "unlabelled"}
    with pytest.raises((ValueError, TypeError), match="unlabeled"):
        sample.part("unlabeled")


def write_volunteers(root: Path, ids: list[str]) -> Path:
    file = root / "gz2_votes.csv"
    pd.DataFrame(
        {"asset_id": ids, "total_classifications": [f"{30 + int(id) % 20}.0" for id in ids]}
    ).to_csv(file, index=False)
    return file


def test_votes_as_target_split_galaxies_of_no_class_and_move_none_of_a_class(tmp_path, load):
    root = write_zoo(tmp_path / "zoo")
    for seed in range(3):
        by_class, by_votes = (
            load("galaxy_zoo", root=root, target=target, seed=seed)
            for target in ("classes", "votes")
        )
        assert by_class.ids.tolist() == by_votes.ids.tolist()
        of_class = by_class.labels.numpy() >= 0
        assert (by_class.split[of_class] == by_votes.split[of_class]).all()
        voted = ~by_votes.votes.isnan().any(1).numpy()
        assert set(by_class.split[~of_class]) == {"unlabelled"} == set(by_votes.split[~voted])
        parts = by_votes.split[voted & ~of_class]
        assert [
            int((parts == split).sum()) for split in ("train", "val", "test", "unlabelled")
        ] == [6, 2, 2, 0]


def test_few_votes_are_nested_and_the_others_forgotten(load):
    options = {"n_galaxies": 200, "target": "votes", "image_size": 32}
    few, more, every = (load("simulated", n_labels=n, **options) for n in (20, 50, None))
    trained = [set(sample.part("train").ids) for sample in (few, more, every)]
    assert len(trained[0]) == 20 and len(trained[1]) == 50 and trained[0] < trained[1] < trained[2]
    assert len(set(few.part("train").labels.tolist())) == 5  # one of each class and of no class
    left = few.split == "unlabelled"
    assert (
        few.votes[left].isnan().all()
        and few.volunteers[left].isnan().all()
        and (few.labels[left] == -1).all()
    )
    for part in ("val", "test"):
        assert few.part(part).ids.tolist() == every.part(part).ids.tolist()
        assert few.part(part).votes.isfinite().all() and few.part(part).volunteers.isfinite().all()
    by_class = load("simulated", n_galaxies=200, image_size=32, n_labels=20)
    assert by_class.votes.isfinite().all()  # there votes are not what is learned


def test_mock_volunteers_are_those_who_voted(load):
    sample = load("simulated", n_galaxies=50, image_size=32)
    counts = sample.votes * sample.volunteers[:, None]
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    assert sample.cutout == {"crop": None}


def test_numbers_of_volunteers_come_from_a_file(tmp_path, load):
    root = write_zoo(tmp_path / "zoo", 20)
    file = write_volunteers(root, ids_from(100, 15) + ids_from(900, 3))
    sample = load("galaxy_zoo", root=root, volunteers=file, crop=6, val=0.0)
    expected = [30 + int(id) % 20 for id in ids_from(100, 15)]
    assert sample.volunteers[:15].tolist() == expected and sample.volunteers[15:].isnan().all()
    assert "number of volunteers unknown for 5 galaxies: not in gz2_votes.csv" in sample.notes
    assert sample.cutout == {"crop": 6}
    taken = sample.take(np.array([3, 16]))
    assert taken.volunteers[0] == expected[3] and taken.volunteers[1].isnan()


def test_wrong_files_of_volunteers_are_named(tmp_path, load):
    root = write_zoo(tmp_path / "zoo", 20)
    file = write_volunteers(root, ids_from(900, 3))
    for text, message in (
        (file.read_text(), r"none of 27 galaxies is in column asset_id"),
        (
            "asset_id,total_classifications\n0100,40\n0101,zero\n",
            r"gz2_votes.csv: column 'total_classifications' .* for 0101",
        ),
        ("asset_id,votes\n0100,40\n", r"no column volunteers"),
        ("asset_id,volunteers\n0100,40\n0100,41\n", r"duplicate asset_id '0100' \(rows 2, 3\)"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            load("galaxy_zoo", root=root, volunteers=file)
    with pytest.raises(ValueError, match="'volunteers' applies to galaxy_zoo, not to 'simulated'"):
        load("simulated", volunteers=file)

"""What `next` learns of galaxies from model files: each row is that of its galaxy."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from galaxymorph.apply import pool
from galaxymorph.data.load import load
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.learning import device, model_files, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder

CLASSES = ("round", "in-between", "edge-on", "spiral")
BODY = {"name": "cnn", "channels": [4, 8]}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Two seeds of one method, and their learners."""
    monkeypatch.setattr(device, "has_bf16", lambda where: False)
    monkeypatch.chdir(tmp_path)
    made = []
    for seed in range(2):
        torch.manual_seed(seed)
        learner = Classifier(encoder(**BODY), classes=4).eval()
        path = tmp_path / f"{seed}.safetensors"
        how = {"image_size": 32, "seen": [], "seen_labels": [], "cutout": {"crop": None}}
        model_files.write(path, learner, encoder=BODY, classes=CLASSES, head={}, **how)
        made.append((path, learner))
    return made


def test_features_are_those_of_each_image(models, tmp_path):
    path, learner = models[0]
    survey = mock_survey(7, image_size=32, seed=3)
    for k, image in zip((3, 1, 10, 7, 0, 5, 2), survey.images.numpy(), strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"g{k}.png")
    pool.write_features(path, [tmp_path], tmp_path / "f.csv", batch_size=3)
    table = pd.read_csv(tmp_path / "f.csv").set_index("id")
    expected = train.embed(learner.encoder, survey.images).numpy()
    for row, k in enumerate((3, 1, 10, 7, 0, 5, 2)):
        np.testing.assert_allclose(table.loc[f"g{k}"], expected[row], rtol=1e-3, atol=1e-4)


def test_of_a_run_no_test_galaxy_and_no_label_that_was_taken_away(models):
    galaxies = {"name": "simulated", "n_galaxies": 120, "image_size": 32}
    paths = [path for path, _ in models]
    table, chances, features, classes = pool.of_run(galaxies, paths, seed=4, n_labels=20)
    sample = load(**galaxies, seed=4, n_labels=20)
    kept = sample.take(sample.split != "test")
    assert table["id"].tolist() == kept.ids.tolist() and tuple(classes) == CLASSES
    assert (table["label"] != "").sum() == 20 + len(sample.part("val"))
    for row, (_, learner) in enumerate(models):
        expected = train.predict(learner, kept.images).numpy()
        np.testing.assert_allclose(chances[row], expected, atol=1e-4)
    expected = train.embed(models[0][1].encoder, kept.images).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_a_run_without_unlabelled_galaxies_says_what_to_do(models, tmp_path):
    survey = load("simulated", n_galaxies=90, image_size=32, seed=0)
    for id, label, image in zip(survey.ids, survey.labels.tolist(), survey.images, strict=True):
        if label >= 0:
            path = tmp_path / "galaxies" / CLASSES[label] / f"{id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.numpy().transpose(1, 2, 0)).save(path)
    galaxies = {"name": "folder", "root": str(tmp_path / "galaxies"), "image_size": 32}
    with pytest.raises(ValueError, match="no galaxy of the run is without a label: add some"):
        pool.of_run(galaxies, [models[0][0]], seed=0, n_labels=None)

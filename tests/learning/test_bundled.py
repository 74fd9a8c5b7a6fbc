"""The model in the package: what it knows, what it leaves alone, and where it comes from."""

import fnmatch
import hashlib
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.data.mock import others
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.learning import classifier, encoders, saved, train, votes

PROJECT = Path(__file__).parents[2]
CLASSES = galaxy_zoo_tree.CLASSES[4]


@pytest.fixture(scope="module")
def model():
    return saved.load(project.BUNDLED)


@pytest.fixture(scope="module")
def survey():
    return mock_survey(400, seed=5)


def test_it_is_small_and_the_one_that_its_card_describes():
    content = project.BUNDLED.read_bytes()
    assert len(content) <= 2e6
    card = project.BUNDLED.with_name("README.md").read_text()
    assert hashlib.sha256(content).hexdigest() in card


def test_it_classifies_galaxies_of_a_survey_that_it_has_not_seen(model, survey):
    learner, header = model
    labels = galaxy_zoo_tree.hard_labels(survey.votes.numpy(), CLASSES)
    judged = learner.judge(train.predict(learner, survey.images))
    known = labels >= 0
    right = judged.chances.argmax(1).numpy()[known] == labels[known]
    assert header["classes"] == list(CLASSES)
    assert right.mean() > 0.85  # chance: 0.3
    assert judged.sets.numpy()[known, labels[known]].mean() > 0.85  # 0.9 in a wider survey
    assert (judged.distance <= 1).float().mean() > 0.95
    error = (judged.votes - survey.votes).square().mean()
    assert error < 0.35 * (survey.votes - survey.votes.mean(0)).square().mean()


def test_it_keeps_silent_on_pictures_without_a_galaxy(model):
    learner, _ = model
    refused = []
    for kind in others.KINDS:
        pictures = torch.from_numpy(others.draw(kind, 30, seed=1))
        refused.append(
            (learner.judge(train.predict(learner, pictures)).distance > 1).float().mean()
        )
    assert np.mean(refused) >= 0.95


def test_what_starts_from_it_says_so_and_never_tests_on_what_it_has_seen(model, survey):
    encoder = encoders.encoder("pretrained/mock_cnn")
    assert encoder.protocol("fine-tuned", survey.ids.tolist()) == "fine-tuned, same simulator"
    assert encoder.protocol("frozen", ["587722", "587723"]) == "frozen"
    with pytest.raises(ValueError, match="labels of 1 of 2 test galaxies, the first 'mock-1000-"):
        encoder.protocol("fine-tuned", ["mock-1000-0000007", "mock-0-0000007"])


def test_all_files_of_the_package_that_are_no_code_are_in_the_wheel():
    listed = ["git", "ls-files", "galaxymorph"]
    done = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True)
    files = {name for name in done.stdout.split() if not name.endswith((".py", "/README.md"))}
    files.add(project.BUNDLED.relative_to(PROJECT).as_posix())
    packed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, each in packed["package-data"].items()
        for pattern in each
    ]
    assert [f for f in sorted(files) if not any(fnmatch.fnmatch(f, p) for p in patterns)] == []


def test_a_classifier_and_a_vote_regressor_can_start_from_its_heads(model, survey):
    learner, header = model
    encoder, made = encoders.encoder("pretrained/mock_cnn"), encoders.trained("pretrained/mock_cnn")
    expected = learner.judge(train.predict(learner, survey.images))
    whole = classifier.Classifier(encoder, classes=4)
    whole.start_from(*made, CLASSES)
    chances = train.predict(whole, survey.images)
    assert (chances - expected.chances).abs().max() < 0.01  # rounding in bfloat16, where it is used
    regressor = votes.VoteRegressor(encoder, **header["head"])
    regressor.start_from(*made)
    assert (train.predict(regressor, survey.images)[:, :37] - expected.votes).abs().max() < 0.01
    with pytest.raises(ValueError, match="those of its head are .*'round'.*not"):
        whole.start_from(*made, CLASSES[::-1])
    with pytest.raises(ValueError, match="its head is .*this one is"):
        votes.VoteRegressor(encoder, tree=False, loss="mse").start_from(*made)
    with pytest.raises(ValueError, match="encoder cnn is new"):
        encoders.trained("cnn")

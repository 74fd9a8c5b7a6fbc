"""Toy networks on mock galaxies; calibration is checked by hand-made outputs."""

import math

import numpy as np
import pytest
import torch

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.learning import encoders, train, votes
from galaxymorph.learning.votes_and_classes import VotesAndClasses

CLASSES = galaxy_zoo_tree.CLASSES[4]


@pytest.fixture(scope="module")
def survey():
    return mock_survey(240, image_size=32, seed=4)


@pytest.fixture(scope="module")
def labels(survey):
    return torch.from_numpy(galaxy_zoo_tree.hard_labels(survey.votes.numpy(), CLASSES))


def network(seed=0):
    torch.manual_seed(seed)
    return VotesAndClasses(encoders.encoder("cnn", channels=[4, 8]), classes=CLASSES)


def test_the_loss_ignores_galaxies_without_a_class_but_not_their_votes(survey, labels):
    learner = network().eval()
    images = survey.images[:40].float() / 255
    target = votes.targets(survey.votes[:40], survey.volunteers[:40].float())
    none = torch.full((40,), -1)
    alone = learner.measures(images, (none, target))
    raw = learner(images)
    plain = votes.VoteRegressor.measures(learner, images, target)
    assert alone["loss"].item() == pytest.approx(0.025 * plain["loss"].item(), rel=1e-4)
    some = labels[:40]
    both = learner.measures(images, (some, target))
    known = some >= 0
    entropy = -raw[known, -4:].log_softmax(1)[range(known.sum()), some[known]].mean().item()
    assert both["loss"].item() == pytest.approx(alone["loss"].item() + entropy, rel=1e-4)
    right = (raw[known, -4:].argmax(1) == some[known]).float().mean().item()
    assert both["accuracy"].item() == pytest.approx(right)


def test_training_learns_votes_and_classes(survey, labels):
    learner = network()
    part = survey.images, (labels, votes.targets(survey.votes, survey.volunteers.float()))
    rows = list(train.fit(learner, part, part, epochs=8, batch_size=16, learning_rate=1e-2))
    assert rows[-1]["val_accuracy"] > rows[0]["val_accuracy"] > 0
    assert rows[-1]["val_mse"] < rows[0]["val_mse"]


class Fixed(VotesAndClasses):
    """Outputs that are stored in the pixels: a logit for each class, and features."""

    def __init__(self):
        super().__init__(encoders.encoder("cnn", channels=[2, 4]), classes=CLASSES)

    def predict(self, images):
        logits = (images[:, 0, 0, :4] - 0.5) * 10
        chances = (logits / self.temperature + self.offset).softmax(1)
        return torch.cat([torch.zeros(len(images), 48), chances, images[:, 0, 1, :1]], 1)


def pictures(logits):
    images = torch.zeros(len(logits), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, :4] = ((logits / 10 + 0.5) * 255).round().clamp(0, 255).byte()
    return images


@pytest.fixture(scope="module")
def calibrated():
    """Outputs three times too sure, of classes that were drawn with the true probabilities."""
    generator = torch.Generator().manual_seed(1)
    true = torch.randn(6000, 4, generator=generator)
    labels = true.softmax(1).multinomial(1, generator=generator).squeeze(1)
    learner = Fixed()
    learner.calibrate(pictures(3 * true.clamp(-1.6, 1.6)), labels)
    return learner, true, labels


def test_the_temperature_is_that_by_which_the_network_is_too_sure(calibrated):
    learner, _, _ = calibrated
    assert learner.temperature.item() == pytest.approx(3.0, rel=0.12)
    assert learner.offset.sub(learner.offset.mean()).abs().max() < 0.2


def test_sets_cover_each_class_with_the_wanted_probability(calibrated):
    learner, _, _ = calibrated
    generator = torch.Generator().manual_seed(2)
    true = torch.randn(6000, 4, generator=generator)
    labels = true.softmax(1).multinomial(1, generator=generator).squeeze(1)
    judged = learner.judge(train.predict(learner, pictures(3 * true.clamp(-1.6, 1.6))))
    covered = judged.sets[range(6000), labels].float()
    for place in range(4):
        own = covered[labels == place]
        assert own.mean().item() == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / len(own)))
    assert (judged.sets.sum(1) >= 1).all()
    assert judged.sets.float().sum(1).mean() < 4


def test_the_limit_leaves_out_one_galaxy_in_a_hundred_and_all_noise(survey, labels):
    learner = network(seed=1).eval()
    learner.calibrate(survey.images, labels)
    distance = learner.judge(train.predict(learner, survey.images)).distance
    assert 0.985 <= (distance <= 1).float().mean().item() < 1.0
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), np.uint8))
    assert (learner.judge(train.predict(learner, noise)).distance > 1).all()


def test_predictions_begin_like_those_of_a_model_of_votes(survey):
    learner = network().eval()
    images = survey.images[:8].float() / 255
    both, plain = learner.predict(images), votes.VoteRegressor.predict(learner, images)
    assert both[:, :48].equal(plain)
    assert len(learner.outputs) == both.shape[1] == 48 + 4 + 1
    assert both[:, 48:52].sum(1).allclose(torch.ones(8))

"""MoCo against answers known another way: a double loop in NumPy, a deque, closed forms. Faults of
published codes stay out."""

import math
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

from galaxymorph.learning import device, train
from galaxymorph.learning.augment import Views
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.moco import MoCo, contrast


class Pixels(nn.Module):
    """An encoder of a few numbers: mean colours through a linear layer with BatchNorm."""

    num_features = 6

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6))

    def forward(self, images):
        return self.layers(images.mean((2, 3)))


class Recorded(Views):
    """Random views that remember what they were given and gave."""

    def __init__(self, **options):
        super().__init__(**options)
        self.given, self.gave = [], []

    def __call__(self, images, *, generator=None):
        self.given.append(images)
        self.gave.append(super().__call__(images, generator=generator))
        return self.gave[-1]


def moco(
    *, galaxies=1000, queue=16, views=None, seed=0, steps=100, network=None, **options
) -> MoCo:
    torch.manual_seed(seed)
    network = Pixels() if network is None else network
    return MoCo(
        network,
        views=views or Views(),
        galaxies=galaxies,
        queue=queue,
        steps=steps,
        dim=4,
        **options,
    )


def pixels(n: int, seed: int = 0, size: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def units(n: int, dim: int, seed: int) -> torch.Tensor:
    return nn.functional.normalize(
        torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1
    )


def test_infonce_is_that_of_a_double_loop():
    queries, keys, queue = units(5, 4, 0), units(5, 4, 1), units(7, 4, 2)
    same = torch.rand(5, 7, generator=torch.Generator().manual_seed(3)) < 0.3
    logits = contrast(queries, keys, queue, temperature=0.2, same=same)
    loss = nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.int64))
    expected = 0.0
    for i in range(5):
        own = math.exp(float(queries[i] @ keys[i]) / 0.2)
        total = own
        for j in range(7):
            if not same[i, j]:
                total += math.exp(float(queries[i] @ queue[j]) / 0.2)
        expected -= math.log(own / total) / 5
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert same.any()


def test_the_loss_of_a_training_step_is_infonce_of_its_two_views_against_the_queue_as_it_was():
    views = Recorded()
    model = moco(views=views, temperature=0.3, key_groups=1).train()
    queue = model.queue.clone()
    measured = model.measures(pixels(8), torch.arange(8))
    first, second = views.gave
    with torch.no_grad():
        queries, keys = (
            model(first),
            model.keys(second),
        )  # the first step's key encoder is the query encoder still
        logits = (
            np.concatenate(
                [(queries * keys).sum(1, keepdim=True).numpy(), (queries @ queue.T).numpy()], axis=1
            )
            / 0.3
        )
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[:, 0])
    assert float(measured["loss"].detach()) == pytest.approx(expected, rel=1e-4)
    assert float(measured["contrastive_accuracy"]) == pytest.approx(np.mean(logits.argmax(1) == 0))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_are_computed_in_full_precision_and_their_gradient_outlives_the_queue(precision):
    queries, keys, queue = units(5, 4, 0), units(5, 4, 1), units(7, 4, 2)
    with device.autocast(precision, torch.device("cpu")):
        logits = contrast(queries, keys, queue, temperature=0.1)
    expected = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ queue.T], 1) / 0.1
    torch.testing.assert_close(logits, expected)
    model = moco().train()
    with device.autocast(precision, torch.device("cpu")):
        loss = model.loss(pixels(4), torch.arange(4))
    loss.backward()  # the keys have taken their places in the queue meanwhile
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.parameters())


def test_the_queue_is_a_deque_for_any_batch_sizes():
    sizes = np.random.default_rng(0).integers(
        1, 40, 400
    )  # the queue holds 16: some batches are larger
    model, expected, start = moco(queue=16), deque(maxlen=16), 0
    for size in sizes.tolist():
        keys, numbers = units(size, 4, start), torch.arange(start, start + size)
        model._enqueue(keys, numbers)
        expected.extend(zip(numbers.tolist(), keys.tolist(), strict=True))
        start += size
        at = int(model.pointer)  # the oldest: the next place to be written
        order = [(at + i) % 16 for i in range(16)]
        if len(expected) == 16:
            assert model.queue_galaxy[order].tolist() == [number for number, _ in expected]
            assert model.queue[order].tolist() == [key for _, key in expected]


def test_the_key_encoder_follows_as_the_closed_form_says():
    m = 0.9
    model = moco(momentum=m)
    start = [value.detach().clone() for value in model.key_encoder.parameters()]
    with torch.no_grad():
        for value in model.encoder.parameters():
            value.add_(torch.randn_like(value))
    for _ in range(7):
        model._follow()
    for first, value, leader in zip(
        start, model.key_encoder.parameters(), model.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(value, m**7 * first + (1 - m**7) * leader.detach())


def test_momentum_rises_as_a_cosine_to_one():
    model = moco(momentum=0.9, momentum_schedule="cosine", steps=10)
    with torch.no_grad():
        model.key_encoder.layers[0].weight.zero_()
        model.encoder.layers[0].weight.fill_(1.0)
    expected = 0.0
    for step in range(12):
        m = 1 - 0.1 * (math.cos(math.pi * min(step, 10) / 10) + 1) / 2
        expected = m * expected + (1 - m)
        model._follow()
        assert model.key_encoder.layers[0].weight.flatten()[0].item() == pytest.approx(
            expected, abs=1e-6
        )


def test_both_views_differ_and_no_galaxy_is_turned_like_another():
    views = Recorded(zoom=0.0, shift=0.0, brightness=0.0, colour=0.0, noise=0.0)
    galaxy = pixels(1).expand(6, 3, 32, 32)
    moco(views=views).train().loss(galaxy, torch.arange(6))
    (first, second), (given, again) = views.gave, views.given
    assert torch.equal(given, galaxy) and torch.equal(again, galaxy)
    everything = torch.cat([galaxy[:1], first, second]).flatten(1)
    distances = torch.cdist(everything, everything) + 1e9 * torch.eye(len(everything))
    assert distances.min() > 0.5


def test_evaluation_changes_nothing_and_gives_the_same_twice():
    model = moco(momentum=0.5)
    model.train().loss(pixels(8), torch.arange(8))
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    first = model.measures(pixels(8, seed=1), torch.arange(8))
    second = model.measures(pixels(8, seed=1), torch.arange(8))
    assert first == second
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    model.train().loss(pixels(8), torch.arange(8))
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert {"queue", "queue_galaxy", "pointer", "step"} <= changed
    assert any(name.startswith("key_encoder") for name in changed)


def test_a_galaxy_is_never_its_own_negative():
    model = moco(queue=4)
    model.train().loss(
        pixels(4), torch.arange(4)
    )  # fills the queue with keys of these very galaxies
    alone = torch.zeros(1, dtype=torch.int64)
    same = contrast(
        units(1, 4, 0),
        units(1, 4, 1),
        model.queue,
        temperature=1.0,
        same=alone[:, None] == model.queue_galaxy,
    )
    assert same.isneginf().sum() == 1
    assert model.queue_galaxy.tolist() == [0, 1, 2, 3]
    only = moco(queue=1)
    only.queue_galaxy.fill_(5)
    assert (
        float(only.train().measures(pixels(2), torch.tensor([5, 5]))["loss"].detach()) == 0
    )  # no negative is left


def test_batchnorm_sees_a_key_in_other_company_than_its_query():
    model = moco(key_groups=2).train()
    batch = pixels(12)
    seen = []
    model.key_encoder.layers[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    keys = model.keys(batch)
    assert [len(part) for part in seen] == [6, 6]
    colours = batch.mean((2, 3))
    where = torch.cdist(torch.cat(seen), colours).argmin(1)
    assert sorted(where.tolist()) == list(range(12)) and where.tolist() != list(range(12))
    with torch.no_grad():  # each part by itself, and every key back in the place of its galaxy
        for half in where.split(6):
            part = nn.functional.normalize(
                model.key_projection(model.key_encoder(batch[half])), dim=1
            )
            torch.testing.assert_close(keys[half], part, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_odd_and_tiny_batches_are_parted_so_that_batchnorm_has_a_variance(n):
    model = moco(key_groups=4)
    model.train(n > 1)
    assert model.keys(pixels(n)).shape == (n, 4)


def test_features_come_from_before_the_projection_and_do_not_depend_on_the_batch():
    network = encoder("resnet18")
    model = moco(network=network)
    given = []
    model.projection.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    images = torch.randint(0, 255, (6, 3, 32, 32), dtype=torch.uint8)
    features = train.embed(network, images, precision="fp32")
    with torch.no_grad():
        model.eval()(images.float() / 255)
    torch.testing.assert_close(features, given[0])
    alone = torch.cat([train.embed(network, image[None], precision="fp32") for image in images])
    torch.testing.assert_close(features, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("queue", [10, 11, 0])
def test_a_queue_that_is_not_smaller_than_the_data_set_is_refused(queue):
    with pytest.raises(ValueError, match=rf"queue={queue} with 10 galaxies.*at most 9"):
        moco(galaxies=10, queue=queue)


def test_a_pretraining_that_was_stopped_goes_on_as_if_it_never_had(tmp_path):
    images = torch.randint(
        0, 255, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    data, val = (images, torch.arange(50)), (images[:10], torch.arange(10))

    def rows(model, **options):
        settings = dict(
            epochs=4, batch_size=16, learning_rate=1e-2, average=0.9, monitor=None, seed=3
        )
        return train.fit(model, data, val, **settings, **options)

    def told(history):
        return [
            {
                key: value
                for key, value in row.items()
                if key not in ("seconds", "images_per_second")
            }
            for row in history
        ]

    whole, stopped, resumed = (
        moco(queue=20, momentum=0.9, momentum_schedule="cosine", steps=16, seed=1) for _ in range(3)
    )
    expected = list(rows(whole))
    generator = rows(stopped, checkpoint=tmp_path / "moco.checkpoint")
    _ = [next(generator), next(generator)]
    generator.close()
    torch.rand(7)  # whatever happens to the random numbers meanwhile
    torch.manual_seed(99)
    assert told(rows(resumed, checkpoint=tmp_path / "moco.checkpoint")) == told(expected)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.long
def test_it_learns_to_tell_galaxies_apart():
    colours = torch.rand(64, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    images = (colours.expand(64, 3, 32, 32) * 255).byte()
    model = moco(
        queue=32, galaxies=64, momentum=0.9, views=Views(brightness=0.0, colour=0.0, noise=0.0)
    )
    data = images, torch.arange(64)
    first, *_, last = train.fit(
        model, data, data, epochs=30, batch_size=16, learning_rate=0.03, monitor=None
    )
    assert last["val_contrastive_accuracy"] > 0.9
    assert last["train_loss"] < 0.8 * first["train_loss"]

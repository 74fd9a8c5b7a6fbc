"""Costs against what can be counted by hand. Takes about 3 s."""

import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from galaxymorph.diagnostics import costs


def network():
    """Of 3 x 8 x 8: a convolution to 4 x 8 x 8, one with stride 2 and groups to 8 x 4 x 4, a linear
    layer to 5."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1, stride=2, groups=2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 5),
    )


def images(n):
    return torch.zeros((n, 3, 8, 8), dtype=torch.uint8)


def test_parameters_by_hand():
    model = network()
    assert costs.parameters(model) == 4 * 3 * 9 + 2 * 4 + (8 * 2 * 9 + 8) + (128 * 5 + 5)
    model[0].weight.requires_grad = False  # frozen ones are there, too
    assert costs.parameters(model) == 913
    shared = nn.Linear(3, 3)
    assert costs.parameters(nn.Sequential(shared, shared)) == 12


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("training", [True, False])
def test_flops_by_hand(n, training):
    model = network().train(training)
    before = model[1].running_mean.clone()
    multiply_adds = 64 * 4 * 3 * 9 + 16 * 8 * 2 * 9 + 128 * 5
    assert costs.flops(model, images(n)) == 2 * multiply_adds  # of one galaxy
    assert all(module.training is training for module in model.modules())
    assert torch.equal(model[1].running_mean, before)


def test_flops_of_a_resnet_are_those_that_torchvision_states():
    stated = models.ResNet18_Weights.IMAGENET1K_V1.meta
    found = costs.flops(models.resnet18(), torch.zeros(1, 3, 224, 224))
    assert found / 2e9 == pytest.approx(
        stated["_ops"], abs=0.001
    )  # which counts a multiply-add as 1
    assert costs.parameters(models.resnet18()) == stated["num_params"]


def test_flops_keep_what_is_in_eval_mode():
    """Frozen stages stay in eval mode while the others learn."""
    model = network().train()
    model[1].eval()
    costs.flops(model, images(1))
    assert model.training and model[0].training and not model[1].training


def test_flops_of_features_and_of_bytes():
    seen = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    model.register_forward_pre_hook(lambda module, given: seen.append(given[0].max().item()))
    assert costs.flops(model, images(2) + 255) == 2 * 192 * 2
    assert costs.flops(nn.Linear(6, 3), torch.ones(4, 6)) == 2 * 6 * 3
    assert seen == [1.0]  # as a network is shown them


def test_flops_of_attention_count():
    """Self-attention of 5 tokens of 8 numbers, 2 heads: in-projection, q k^T, its product with v,
    out-projection."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x):
            return self.attention(x, x, x, need_weights=True)[0]

    assert costs.flops(Model(), torch.randn(3, 5, 8)) == 2 * (
        5 * 8 * 24 + 2 * 5 * 5 * 4 + 2 * 5 * 5 * 4 + 5 * 8 * 8
    )


def test_speed_is_the_median_after_a_first_pass(monkeypatch):
    monkeypatch.setattr(costs, "LONG", 10.0)
    waits, seen = iter([0.5, 0.02, 0.3, 0.02]), []

    def predict(given):
        seen.append(len(given))
        time.sleep(next(waits))

    assert (
        4 / 0.12 < costs.speed(predict, images(4)) <= 4 / 0.02
    )  # not that of the first, nor of the slow one
    assert seen == [4] * 4


def test_a_long_pass_is_timed_once(monkeypatch):
    monkeypatch.setattr(costs, "LONG", 0.0)
    waits, seen = iter([0.0, 0.05]), []

    def predict(given):
        seen.append(len(given))
        time.sleep(next(waits))

    assert costs.speed(predict, images(4)) <= 4 / 0.05
    assert seen == [4, 4]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there, GPU tensors count")
@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the kernel's own count is Linux's"
)
def test_peak_memory_is_what_the_kernel_says():
    found = costs.peak_memory()
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    assert found == {
        "peak_memory_mib": pytest.approx(int(line.split()[1]) / 1024, rel=0.02),
        "peak_memory_of": "process",
    }


def test_all_of_a_network_and_of_what_is_none():
    model = network()
    found = costs.of(
        model, images(3), predict=lambda given: model(given / 255), training_seconds=12
    )
    assert list(found) == [
        "parameters",
        "flops",
        "training_seconds",
        "images_per_second",
        "peak_memory_mib",
        "peak_memory_of",
    ]
    assert (found["parameters"], found["training_seconds"]) == (913, 12.0)
    assert found["flops"] == costs.flops(model, images(1)) and found["images_per_second"] > 0
    forest = costs.of(None, images(3), predict=len)
    assert list(forest) == ["images_per_second", "peak_memory_mib", "peak_memory_of"]


def test_an_architecture_is_measured_once(tmp_path):
    torch.manual_seed(0)
    one, same = network(), network()
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    asked = []

    def measured(model, n=3):
        def predict(given):
            asked.append(model)
            return model(given / 255)

        found = costs.of(model, images(n), predict=predict, known=tmp_path)
        return {name: found[name] for name in ("parameters", "flops", "images_per_second")}

    first = measured(one)
    assert asked and first["flops"] == costs.flops(one, images(1))
    asked.clear()
    assert measured(same) == first and not asked
    assert measured(other)["flops"] == 2 * 3 * 64 * 5 and asked
    asked.clear()
    measured(one, n=4)  # a speed is of batches of that size
    assert asked
    for file in tmp_path.iterdir():
        file.write_text('{"flops": ')
    asked.clear()
    assert measured(same)["flops"] == first["flops"] and asked  # damaged: measured again

"""Model files give back the same network, with all that is needed to use it."""

import pytest
import torch
from safetensors.torch import save_file

from galaxymorph import weights
from galaxymorph.classifier import Classifier
from galaxymorph.encoders import encoder


def test_a_network_rebuilt_from_its_file_predicts_the_same(tmp_path):
    options = {"name": "resnet18"}
    network = (
        Classifier(encoder(**options), classes=3, class_weights=torch.ones(3)).to(memory_format=torch.channels_last).eval()
    )
    images = torch.rand(2, 3, 32, 32)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.1)  # BatchNorm's statistics have to travel, too
    weights.save(tmp_path / "run" / "step.safetensors", network, encoder=options, classes=["a", "b", "c"], image_size=32)

    state, header = weights.load(tmp_path / "run" / "step.safetensors")
    assert header["classes"] == ["a", "b", "c"] and header["image_size"] == 32 and "galaxymorph" in header
    again = Classifier(encoder(**header["encoder"]), classes=len(header["classes"])).eval()
    again.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(again.predict(images), network.predict(images))  # layouts differ, so do the last bits
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["step.safetensors"]


def test_what_is_no_model_file_is_refused_by_name(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=r"a\.safetensors: not a model file"):
        weights.load(tmp_path / "a.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"b\.safetensors: weights without a header"):
        weights.load(tmp_path / "b.safetensors")

"""Model files give back the same network, with all that is needed to use it."""

import functools
import hashlib
import http.server
import threading
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import galaxymorph
from galaxymorph.learning import model_files, saved
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder


def test_a_network_rebuilt_from_its_file_predicts_the_same(tmp_path):
    options = {"name": "resnet18"}
    network = (
        Classifier(encoder(**options), classes=3, class_weights=torch.ones(3))
        .to(memory_format=torch.channels_last)
        .eval()
    )
    images = torch.rand(2, 3, 32, 32)
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.add_(0.1)  # BatchNorm's statistics have to travel, too
    model_files.write(
        tmp_path / "run" / "step.safetensors",
        network,
        encoder=options,
        classes=["a", "b", "c"],
        image_size=32,
    )

    state, header = model_files.load(tmp_path / "run" / "step.safetensors")
    assert (
        header["classes"] == ["a", "b", "c"]
        and header["image_size"] == 32
        and "galaxymorph" in header
    )
    again = Classifier(encoder(**header["encoder"]), classes=len(header["classes"])).eval()
    again.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(
            again.predict(images), network.predict(images)
        )  # layouts differ, so do the last bits
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["step.safetensors"]


@pytest.mark.parametrize(("labels", "told"), [(True, ["a", "b", "z"]), (False, ["z"])])
def test_the_header_says_what_a_model_has_seen(tmp_path, labels, told):
    network = encoder("cnn", channels=[8, 16])
    network.seen, network.seen_labels = frozenset("xz"), frozenset("z")  # in an earlier training
    network.seen_surveys = frozenset([7])
    sample = types.SimpleNamespace(images=torch.zeros(1, 3, 32, 32).byte(), cutout={"crop": 40})
    model = Classifier(network, classes=2)
    model_files.save(
        tmp_path / "m.safetensors",
        model,
        sample=sample,
        learned_from=np.array(["b", "a"]),
        labels=labels,
        classes=("round", "edge-on"),
    )
    state, header = model_files.load(tmp_path / "m.safetensors")
    assert set(state) == set(model.state_dict())
    assert len(header.pop("checksum")) == 64
    assert header == {
        "galaxymorph": galaxymorph.__version__,
        "encoder": network.options,
        "image_size": 32,
        "cutout": {"crop": 40},
        "normalisation": network.normalisation,
        "seen": ["a", "b", "x", "z"],
        "seen_labels": told,
        "seen_surveys": [7],
        "classes": ["round", "edge-on"],
    }


def test_a_part_of_a_model_can_be_kept_alone(tmp_path):
    model = Classifier(encoder("cnn", channels=[8, 16]), classes=2)
    sample = types.SimpleNamespace(images=torch.zeros(1, 3, 32, 32).byte(), cutout={})
    path = tmp_path / "m.safetensors"
    model_files.save(path, model, sample=sample, learned_from=[], labels=False, part="encoder")
    state, _ = model_files.load(path)
    assert set(state) == {f"encoder.{name}" for name in model.encoder.state_dict()}


def test_what_is_no_model_file_is_refused_by_name(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=r"a\.safetensors: not a valid model file"):
        model_files.load(tmp_path / "a.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"b\.safetensors: weights without a header"):
        model_files.load(tmp_path / "b.safetensors")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder and the address that serves it; torch keeps what it downloads elsewhere."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *given):
            pass

    (tmp_path / "www").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield tmp_path / "www", f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_published_weights_are_checked_and_kept(server, tmp_path):
    folder, address = server
    torch.save({"x": torch.arange(3.0)}, folder / "w.pth")
    checksum = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()[:8]
    (folder / "w.pth").rename(folder / f"net-{checksum}.pth")
    assert model_files.fetch(f"{address}/net-{checksum}.pth")["x"].tolist() == [0, 1, 2]
    (folder / f"net-{checksum}.pth").unlink()
    assert model_files.fetch(f"{address}/net-{checksum}.pth")["x"].tolist() == [
        0,
        1,
        2,
    ]  # nothing is downloaded twice
    torch.save({"x": torch.zeros(3)}, folder / "other-00000000.pth")
    with pytest.raises(
        ValueError, match=r"other-00000000.pth: the downloaded file is not the expected one"
    ):
        model_files.fetch(f"{address}/other-00000000.pth")
    assert [path.name for path in (tmp_path / "hub" / "checkpoints").iterdir()] == [
        f"net-{checksum}.pth"
    ]
    with pytest.raises(
        model_files.Unavailable, match="weights not available: http.*gone-00000000.pth"
    ):
        model_files.fetch(f"{address}/gone-00000000.pth")


def test_without_a_network_published_weights_are_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(
        model_files.Unavailable, match="weights not available offline: http://127.0.0.1:9/w-0a.pth"
    ):
        model_files.fetch("http://127.0.0.1:9/w-0a.pth")  # nobody listens there


def test_a_model_without_an_encoder_says_what_to_do(tmp_path):
    with pytest.raises(TypeError, match="Linear has no attribute 'encoder': build it on encoders"):
        model_files.save(
            tmp_path / "x", torch.nn.Linear(2, 2), sample=None, learned_from=[], labels=True
        )


def test_a_model_is_loaded_without_drawing_random_numbers(tmp_path):
    network = Classifier(encoder("cnn"), classes=2)
    file = tmp_path / "model.safetensors"
    about = {"encoder": {"name": "cnn"}, "classes": ["a", "b"], "image_size": 32}
    model_files.write(file, network, **about)
    before = torch.get_rng_state()
    loaded, _ = saved.load(file)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name].cpu(), value), name
    assert torch.equal(loaded.encoder.mean.cpu(), network.encoder.mean)  # is not in the file
    assert torch.rand(3).std() > 0  # drawing works again

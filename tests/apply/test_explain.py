"""Maps from a model file alone: the right answer is explained, of the right galaxy, and wrong names
are named."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from galaxymorph import cli, galaxy_zoo_tree
from galaxymorph.apply import explain
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.diagnostics import gradcam, targets
from galaxymorph.learning import model_files, saved
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.votes import VoteRegressor

CLASSES = ("round", "spiral")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A model of vote fractions, one of classes, and one without a head."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = encoder("resnet18")
    votes, classes = VoteRegressor(network, loss="kl"), Classifier(network, classes=2)
    header = {
        "encoder": network.options,
        "image_size": 64,
        "cutout": {"crop": None},
        "seen": [],
        "seen_labels": [],
    }
    model_files.write(
        folder / "votes.safetensors",
        votes,
        answers=galaxy_zoo_tree.COLUMNS,
        head=votes.options,
        **header,
    )
    model_files.write(folder / "classes.safetensors", classes, classes=CLASSES, **header)
    model_files.write(
        folder / "none.safetensors", torch.nn.ModuleDict({"encoder": network}), **header
    )
    return {path.stem: path for path in folder.iterdir()}


def run(file: Path, out: Path, ids=("mock-0-0000003",), images=(), **options) -> list[str]:
    said: list[str] = []
    inspect.unwrap(explain.explain)(file, list(ids), list(images), out, say=said.append, **options)
    return said


@pytest.mark.long
def test_every_answer_of_a_question_has_its_map(files, tmp_path):
    said = run(
        files["votes"], tmp_path / "maps" / "bar.png", question="bar", layer="encoder.body.layer2"
    )
    assert [line.split(",")[0] for line in said[:-1]] == ["bar: yes", "bar: no"]
    assert said[-1].endswith("bar.png")
    with Image.open(tmp_path / "maps" / "bar.png") as picture:
        assert picture.width > 300


def test_the_score_is_that_of_the_answer(files):
    learner, header = saved.load(files["votes"])
    images = mock_survey(2, image_size=64).images
    raw, predicted = learner(images / 255), learner.predict(images / 255).detach().numpy()
    said = targets.answers(learner, header)
    assert list(said) == list(galaxy_zoo_tree.LABELS)
    for name in ("bar: yes", "edge on: no", "arms: can't tell"):
        expected = galaxy_zoo_tree.per_question(predicted)[:, said[name].column]
        np.testing.assert_allclose(said[name].target(raw).exp().detach(), expected, rtol=1e-4)
        np.testing.assert_allclose(said[name].score(raw).detach(), expected, rtol=1e-4)
        np.testing.assert_allclose(
            targets.shares(predicted, said[name].column), expected, rtol=1e-4
        )
    learner, header = saved.load(files["classes"])
    logits = learner(images / 255)
    torch.testing.assert_close(
        targets.answers(learner, header)["spiral"].target(logits), logits[:, 1]
    )
    torch.testing.assert_close(
        targets.answers(learner, header)["spiral"].score(logits),
        learner.predict(images / 255)[:, 1],
    )


def test_captions_tell_votes_and_prediction():
    votes, predicted = np.zeros((2, 37)), np.zeros((2, 37))
    votes[0, galaxy_zoo_tree.SLICES["bar"]], predicted[0, galaxy_zoo_tree.SLICES["bar"]] = (
        [0.3, 0.2],
        [0.1, 0.3],
    )
    predicted[1, galaxy_zoo_tree.SLICES["bar"]] = [0.2, -0.1]  # of plain outputs
    answer = targets.Answer(
        galaxy_zoo_tree.column("bar", "yes"), lambda raw: raw[:, 0], lambda raw: raw[:, 0]
    )
    assert targets.captions("bar: yes", answer, predicted, votes) == [
        "bar: yes 0.60, predicted 0.25",
        "bar: yes, predicted 1.00",
    ]
    answer = targets.Answer(1, lambda raw: raw[:, 1], lambda raw: raw[:, 1])
    assert targets.captions("spiral", answer, np.array([[0.9, 0.1]]), None) == [
        "spiral, predicted 0.10"
    ]


@pytest.mark.long
def test_galaxies_are_the_ones_asked_for(files, tmp_path, monkeypatch):
    """From files and from the mock survey, in the order asked for; the map is that of
    `gradcam.maps`."""
    survey = mock_survey(6, image_size=64)
    for id, image in zip(survey.ids, survey.images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{id}.png")
    drawn = []
    monkeypatch.setattr(
        explain.gradcam_plots, "overlay", lambda *given: drawn.append(given) or FakeFigure()
    )
    for images in ((), (tmp_path,)):
        run(
            files["classes"],
            tmp_path / "x.png",
            ("mock-0-0000005", "mock-0-0000002"),
            images,
            answer="spiral",
            methods=["hirescam"],
        )
    for pixels, heat, ids, texts in drawn:
        assert torch.equal(pixels, survey.images[[5, 2]]) and ids == [
            "mock-0-0000005",
            "mock-0-0000002",
        ]
        learner, _ = saved.load(files["classes"])
        expected = gradcam.maps(
            learner, survey.images[[5, 2]], lambda logits: logits[:, 1], method="hirescam"
        )
        torch.testing.assert_close(heat["spiral"], expected)
        assert texts["spiral"][0].startswith("hirescam\nspiral, predicted 0.")


class FakeFigure:
    def savefig(self, path: Path, **options: object) -> None:
        path.write_text("")


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("votes", {"question": "bars"}, "unknown question 'bars'; did you mean 'bar'"),
        ("votes", {}, "which question"),
        (
            "votes",
            {"question": "bar", "answer": "maybe"},
            "unknown answer 'maybe'.* Known: yes, no",
        ),
        ("classes", {"question": "bar"}, "predicts classes"),
        ("classes", {"answer": "spirals"}, "unknown class 'spirals'; did you mean 'spiral'"),
        ("none", {"answer": "spiral"}, "trained without labels"),
        ("classes", {"ids": ["587722"]}, "called mock-0-0000007"),
        ("classes", {"methods": ["cam"]}, "did you mean 'gradcam'"),
        ("classes", {"layer": "layer2"}, "the nearest that do"),
    ],
)
@pytest.mark.long
def test_wrong_names_are_named(files, tmp_path, file, options, message):
    with pytest.raises(ValueError, match=message):
        run(files[file], tmp_path / "x.png", **options)
    assert not (tmp_path / "x.png").exists()


def test_the_command_draws_and_says_what_is_wrong(files, tmp_path, capsys):
    out = tmp_path / "new" / "map.png"
    given = [
        "gradcam",
        "--model",
        str(files["classes"]),
        "--galaxy",
        "mock-0-0000003",
        "--out",
        str(out),
    ]
    assert cli.main([*given, "--answer", "spiral", "--method", "gradcam", "layercam"]) == 0
    assert (
        out.is_file()
        and "spiral, layercam, heat on the galaxy: mock-0-0000003" in capsys.readouterr().out
    )
    assert cli.main([*given, "--question", "bar"]) == 2
    assert "predicts classes, not answers" in capsys.readouterr().err
    assert (
        cli.main(
            ["gradcam", "--model", str(tmp_path / "none.safetensors"), "--galaxy", "mock-0-0000003"]
        )
        == 2
    )
    assert "no such model file" in capsys.readouterr().err

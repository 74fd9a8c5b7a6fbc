"""Files that version 0.1.0 wrote still load, and say the same."""

import json
from pathlib import Path

import pytest
import torch

from galaxymorph.evaluation.predictions import read_predictions, read_votes
from galaxymorph.learning import saved, train
from galaxymorph.learning.encoders import encoder

OLD = Path(__file__).parent / "fixtures" / "0.1.0"
OUTPUTS = json.loads((OLD / "outputs.json").read_text())  # by the code of 0.1.0


def images():
    row, column, band, galaxy = torch.meshgrid(
        torch.arange(32), torch.arange(32), torch.arange(3), torch.arange(2), indexing="ij"
    )
    values = (7 * row + 13 * column + 29 * band + 101 * galaxy) % 256
    return values.permute(3, 2, 0, 1).to(torch.uint8)


@pytest.mark.parametrize("name", ["cnn", "votes"])
def test_a_model_predicts_what_it_did(name):
    model, header = saved.load(OLD / f"{name}.safetensors")
    assert header["image_size"] == 32 and header["galaxymorph"] == "0.1.0"
    found = train.predict(model, images(), precision="fp32")[:, :5]
    torch.testing.assert_close(found, torch.tensor(OUTPUTS[name]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["cae", "moco"])
def test_an_encoder_gives_the_features_that_it_did(name):
    network = encoder(str(OLD / f"{name}.safetensors")).eval()
    with torch.no_grad():
        found = network(images().float() / 255)[:, :5]
    torch.testing.assert_close(found, torch.tensor(OUTPUTS[name]), atol=2e-5, rtol=0)
    assert len(network.seen) == OUTPUTS[f"{name}_seen"] and not network.seen_labels


def test_tables_are_read():
    predictions = read_predictions(OLD / "predictions.csv")
    assert len(predictions.ids) == len((OLD / "predictions.csv").read_text().splitlines()) - 1
    assert predictions.classes == ("round", "in-between", "edge-on", "spiral")
    assert predictions.has("train") and predictions.has("val") and predictions.has("test")
    votes = read_votes(OLD / "votes.csv")
    assert len(votes.ids) == 30 and votes.concentration is not None
    assert (votes.volunteers > 0).all() and (votes.true[:, :3].sum(1) - 1 < 1e-5).all()

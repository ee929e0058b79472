"""``labelkit teachers`` and ``labelkit teachers check``."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from labelkit.teachers import card_names, read_families
from tests.command import labelkit
from tests.teachers.support import random_teacher

CARD = Path(__file__).parents[2] / "teachers" / "efficientnet-lite0.toml"


def write_card(folder: Path, model: str) -> Path:
    """A card of a timm model with random weights in a file."""
    teacher = random_teacher(model)
    torch.save(teacher.model.state_dict(), folder / "weights.pth")
    path = folder / "mine.toml"
    path.write_text(
        f'model = "{model}"\nclasses = "imagenet-1k"\nsize = 96\nnative_size = 96\n'
        'mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\ninterpolation = "bilinear"\n'
        '[weights]\nfile = "weights.pth"\n'
    )
    return path


def test_the_list_names_every_card_and_the_three_kinds_of_families():
    run = labelkit("teachers")
    assert run.code == 0
    assert all(name in run.out for name in card_names())
    assert "resnet18" in run.out
    for kind in ("exact", "approximate", "refused", "predicts from its class token", "not run"):
        assert kind in run.out


def test_the_list_as_json():
    run = labelkit("teachers", "--json")
    facts = json.loads(run.out)
    assert [card["name"] for card in facts["cards"]] == card_names()
    assert len(facts["families"]) == len(read_families())
    misplaced = labelkit("teachers", "--json", "check", "efficientnet-lite0")
    assert misplaced.code == 2
    assert "put --json after check" in misplaced.err


def test_check_measures_a_card():
    run = labelkit("teachers", "check", "efficientnet-lite0", "--device", "cpu")
    assert run.code == 0
    for line in (
        "tf_efficientnet_lite0, 1,000 classes",
        "input 320x320 pixels",
        "grid 10x10, one cell per 32 pixels",
        "parameters 4.7 million",
        "cost 1.57 GFLOP per image",
        "map exact, gap",
        "golden matches the card",
    ):
        assert line in run.text


def test_check_as_json_and_in_silence():
    options = ("teachers", "check", "efficientnet-lite0", "--device", "cpu")
    facts = json.loads(labelkit(*options, "--json").out)
    assert (facts["grid"], facts["exact"], facts["golden"]) == ([10, 10], True, True)
    assert labelkit(*options, "--quiet").out == ""
    assert labelkit("teachers", "--quiet", *options[1:]).out == ""


def test_check_measures_weights_from_a_file(tmp_path):
    run = labelkit("teachers", "check", write_card(tmp_path, "test_mambaout"), "--device", "cpu")
    assert run.code == 0
    assert "grid 3x3" in run.text
    assert "approximate" in run.text
    assert "golden" not in run.text


def test_check_refuses_a_class_token_model_unless_forced(tmp_path):
    card = write_card(tmp_path, "test_vit")
    refused = labelkit("teachers", "check", card, "--device", "cpu")
    assert refused.code == 1
    assert "predicts from its class token" in refused.err
    forced = labelkit("teachers", "check", card, "--force", "--device", "cpu")
    assert forced.code == 0
    assert "approximate" in forced.text


def test_check_fails_if_the_prediction_does_not_match_the_card(tmp_path):
    text = CARD.read_text().replace("mean = [0.5, 0.5, 0.5]", "mean = [0.4, 0.4, 0.4]")
    (tmp_path / "other.toml").write_text(text)
    run = labelkit("teachers", "check", tmp_path / "other.toml", "--device", "cpu")
    assert run.code == 1
    assert "golden does not match the card" in run.text
    assert "does not predict what its card expects for the golden image" in run.err

"""``labelkit teachers`` and ``labelkit teachers check``."""

from __future__ import annotations

from pathlib import Path

from labelkit.teachers import card_names
from tests.command import labelkit

CARD = Path(__file__).parents[2] / "teachers" / "efficientnet-lite0.toml"


def test_the_list_names_every_card_and_the_three_kinds_of_families():
    run = labelkit("teachers")
    assert run.code == 0
    assert all(name in run.out for name in card_names())
    assert "resnet18" in run.out
    for kind in ("exact", "approximate", "refused", "answers from its class token", "not run"):
        assert kind in run.out


def test_check_measures_a_card_with_its_own_weights():
    run = labelkit("teachers", "check", "efficientnet-lite0", "--device", "cpu")
    assert run.code == 0
    for line in (
        "tf_efficientnet_lite0, its own weights, 1,000 classes",
        "input 320x320 pixels",
        "grid 10x10, a cell every 32 pixels",
        "parameters 4.7 million",
        "cost 1.57 GFLOP an image",
        "map exact, gap",
        "golden as its card says",
    ):
        assert line in run.text


def test_check_measures_a_timm_model_with_random_weights():
    run = labelkit("teachers", "check", "test_mambaout", "--size", 96, "--device", "cpu")
    assert run.code == 0
    assert "random weights" in run.text
    assert "grid 3x3" in run.text
    assert "approximate" in run.text
    assert "golden" not in run.text


def test_check_of_a_card_with_random_weights_compares_no_answer():
    run = labelkit("teachers", "check", CARD, "--random", "--size", 96, "--device", "cpu")
    assert run.code == 0
    assert "random weights" in run.text
    assert "golden" not in run.text


def test_check_refuses_a_class_token_model_unless_forced():
    refused = labelkit("teachers", "check", "test_vit", "--size", 96, "--device", "cpu")
    assert refused.code == 1
    assert "answers from its class token" in refused.err
    forced = labelkit("teachers", "check", "test_vit", "--size", 96, "--force", "--device", "cpu")
    assert forced.code == 0
    assert "approximate" in forced.text


def test_check_fails_if_the_answer_is_not_the_cards(tmp_path):
    text = CARD.read_text().replace("mean = [0.5, 0.5, 0.5]", "mean = [0.4, 0.4, 0.4]")
    (tmp_path / "other.toml").write_text(text)
    run = labelkit("teachers", "check", tmp_path / "other.toml", "--device", "cpu")
    assert run.code == 1
    assert "golden not as its card says" in run.text
    assert "does not answer the golden image" in run.err

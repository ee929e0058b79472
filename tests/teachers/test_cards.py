"""Cards are correct about timm's models, and about the weights that were run."""

from __future__ import annotations

import msgspec
import pytest
import timm
import torch

from labelkit.errors import TeacherError
from labelkit.hierarchy import read_class_list
from labelkit.teachers import EXACT_GAP, card_names, find_card, load_teacher
from labelkit.teachers.checking import golden_image, golden_prediction, matches_golden
from tests.teachers.support import random_teacher

CARDS = [find_card(name) for name in card_names()]
TESTED = [card for card in CARDS if card.tested]
HUB = [card for card in CARDS if card.weights is None]


def load(card):
    """A tested card's teacher; its weights come from a package that may not be installed."""
    try:
        return load_teacher(card, device="cpu")
    except TeacherError as error:
        if "needs the package" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_names_a_licence_and_a_known_class_list(card):
    assert card.licence
    assert len(read_class_list(card.classes)) >= 1000
    assert card.native_size <= card.size <= 1.5 * card.native_size


@pytest.mark.parametrize("card", HUB, ids=lambda card: card.name)
def test_a_card_without_a_weight_file_agrees_with_timm(card):
    """Preprocessing, length of the class list and licence are those that timm registers."""
    config = timm.get_pretrained_cfg(card.model, allow_unregistered=False)
    assert (card.mean, card.std) == (tuple(config.mean), tuple(config.std))
    assert (card.interpolation, card.native_size) == (config.interpolation, config.input_size[-1])
    assert card.licence.lower() == config.license
    assert len(read_class_list(card.classes)) == config.num_classes
    assert not card.tested


def test_the_three_lite_models_are_tested():
    assert [card.name for card in TESTED] == [f"efficientnet-lite{n}" for n in range(3)]


@pytest.mark.parametrize("card", TESTED, ids=lambda card: card.name)
def test_a_tested_card_is_exact_and_matches_its_golden_prediction(card):
    """With real weights, at the native size and at the card's size."""
    teacher = load(card)
    assert teacher.gap(card.native_size) < EXACT_GAP
    assert teacher.gap(card.size) < EXACT_GAP
    assert matches_golden(teacher, card.golden)
    assert golden_prediction(teacher).classes == card.golden.classes


def test_other_weights_or_preprocessing_do_not_match_the_golden_prediction():
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    golden = teacher.card.golden
    other = msgspec.structs.replace(teacher.card, mean=(0.485, 0.456, 0.406))
    assert not matches_golden(load_teacher(other, device="cpu"), golden)
    with torch.no_grad():
        teacher.model.get_parameter("classifier.weight").mul_(1.01)
    assert not matches_golden(teacher, golden)


def test_the_golden_image_has_colours_and_edges_at_any_size():
    for size in (224, 260):
        image = golden_image(size)
        assert image.shape == (1, 3, size, size)
        assert image.dtype == torch.uint8
        assert all(len(channel.unique()) > 100 for channel in image[0])


@pytest.mark.parametrize("name", ["resnet18", "test_vit2"])
def test_random_teachers_are_reproducible(name):
    teacher = random_teacher(name)
    assert teacher.card.name == name
    assert teacher.classes[999] == "class-999"
    again = random_teacher(name)
    assert teacher.weights_digest == again.weights_digest

"""Plain class names and the synsets that they may mean."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from labelkit.hierarchy import ClassList, NameMatch, definitions, match_names, settled
from labelkit.hierarchy.wordnet.names import MATCH_KINDS
from tests.hierarchy.support.published_names import CIFAR_10, CIFAR_100, FOOD_101

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from labelkit.hierarchy.wordnet.names import Candidate


def match(name: str) -> NameMatch:
    (found,) = match_names(ClassList.of([name]))
    assert found.class_id == name
    return found


def shown(name: str, *, names: int = 2) -> list[tuple[str, str]]:
    """How each candidate matches, and the first names of its chain."""
    return [(each.how, " < ".join(each.chain[:names])) for each in match(name).candidates]


def test_every_name_of_cifar_has_a_candidate() -> None:
    for names, count in ((CIFAR_10, 10), (CIFAR_100, 100)):
        matches = match_names(ClassList.of(names))
        assert len(matches) == count
        assert [each.class_id for each in matches] == names
        assert all(each.candidates for each in matches)


def test_most_names_of_cifar_100_match_as_a_whole() -> None:
    strongest = {name: match(name).candidates[0].how for name in CIFAR_100}
    by_parts = {name: how for name, how in strongest.items() if how != "whole name"}
    assert by_parts == {"aquarium_fish": "last word", "maple_tree": "first word"}


def test_food_101_has_eighteen_names_that_wordnet_lacks() -> None:
    without = [each.class_id for each in match_names(ClassList.of(FOOD_101)) if not each.candidates]
    assert without == [
        "beef_carpaccio", "beef_tartare", "bibimbap", "bruschetta", "cannoli", "ceviche", "churros",
        "edamame", "gyoza", "huevos_rancheros", "macarons", "panna_cotta", "pho", "poutine",
        "ramen", "spaghetti_bolognese", "takoyaki", "tuna_tartare",
    ]  # fmt: skip


def test_an_apple_is_a_fruit_or_a_tree() -> None:
    assert shown("apple", names=3) == [
        ("whole name", "apple < pome < fruit"),
        ("whole name", "apple < apple_tree < fruit_tree"),
    ]
    assert [each.wnid for each in match("apple").candidates] == ["n07739125", "n12633994"]


CRANES = ["Crane < writer", "Crane < poet", "Grus < constellation"]
SEEN_CRANES = ["crane < lifting_device", "crane < wading_bird"]


def test_candidates_in_imagenet_come_first() -> None:
    assert shown("crane") == [("whole name", crane) for crane in SEEN_CRANES + CRANES]


@contextmanager
def without_timm(folder: Path) -> Generator[None]:
    """Replace timm by an empty package, so that ImageNet's synsets are unknown."""
    (folder / "timm").mkdir()
    (folder / "timm" / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.delitem(sys.modules, "timm", raising=False)
        yield


def test_without_timm_senses_keep_the_order_of_wordnet(tmp_path: Path) -> None:
    with without_timm(tmp_path):
        assert shown("crane") == [("whole name", crane) for crane in CRANES + SEEN_CRANES]


def test_only_equally_strong_candidates_are_reordered(tmp_path: Path) -> None:
    """ImageNet's synsets first, then the other senses in order, for each kind of match."""
    classes = ClassList.of([*FOOD_101, *CIFAR_100, "glasses", "knives", "pet mice"])
    with without_timm(tmp_path):
        plain = match_names(classes)
    seen = definitions(each.wnid for match in plain for each in match.candidates)
    moved = 0
    for before, after in zip(plain, match_names(classes), strict=True):
        groups: list[Candidate] = []
        for how in MATCH_KINDS:
            group = [each for each in before.candidates if each.how == how]
            groups += [each for each in group if each.wnid in seen]
            groups += [each for each in group if each.wnid not in seen]
        assert list(after.candidates) == groups
        moved += before != after
    assert moved > 30


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pickup_truck", [("whole name", "pickup < truck")]),
        ("Pickup-Truck", [("whole name", "pickup < truck")]),
        ("lawn_mower", [("whole name", "lawn_mower < garden_tool")]),
        ("apple_pie", [("whole name", "apple_pie < pie")]),
        ("the rapist", [("spelled together", "therapist < expert"),
                        ("last word", "raper < criminal")]),
        ("knives", [("singular", "knife < edge_tool"), ("singular", "knife < weapon"),
                    ("singular", "tongue < projection")]),
        ("pet mice", [("last word", "mouse < rodent"),
                      ("last word", "mouse < electronic_device"),
                      ("last word", "shiner < bruise"), ("last word", "mouse < person")]),
        ("chicken quesadilla", [("last word", "quesadilla < burrito")]),
        ("spicy french fries", [("last word", "french_fries < potato")]),
        ("n02111889", [("whole name", "Samoyed < spitz")]),
        ("n99999999", []),
        ("bibimbap", []),
        ("...", []),
    ],
)  # fmt: skip
def test_expected_candidates_of_single_names(name: str, expected: list[tuple[str, str]]) -> None:
    assert shown(name) == expected


def test_a_sweet_pepper_is_a_plant_or_its_fruit() -> None:
    fruit, plant = match("sweet_pepper").candidates
    assert (fruit.wnid, plant.wnid) == ("n07720615", "n12901264")
    assert "vegetable" in fruit.chain
    assert "shrub" in plant.chain


def test_a_plural_comes_after_the_word_itself() -> None:
    """Glasses are spectacles first, and perhaps several of glass."""
    found = match("glasses").candidates
    assert (found[0].how, found[0].chain[0]) == ("whole name", "spectacles")
    assert {each.how for each in found[1:]} == {"singular"}
    assert "container" in found[1].chain


def test_a_synset_is_a_candidate_only_once() -> None:
    for name in CIFAR_100 + FOOD_101:
        wnids = [each.wnid for each in match(name).candidates]
        assert len(set(wnids)) == len(wnids)


def test_first_words_match_only_if_they_are_a_hyponym_of_the_last() -> None:
    """A maple tree is a maple; an aquarium fish is not an aquarium."""
    assert shown("maple_tree")[0] == ("first word", "maple < angiospermous_tree")
    assert {how for how, _ in shown("aquarium_fish")} == {"last word"}
    assert shown("aquarium_fish")[0] == ("last word", "fish < aquatic_vertebrate")


def test_a_chain_follows_the_parents_of_imagenet() -> None:
    samoyed = match("Samoyed").candidates[0]
    assert samoyed.chain[:5] == ("Samoyed", "spitz", "dog", "domestic_animal", "animal")
    assert samoyed.chain[-1] == "entity"


def test_only_one_sense_by_the_whole_name_is_settled() -> None:
    names = ["clock", "apple", "chicken quesadilla", "cup_cakes", "bibimbap", "n02111889"]
    assert settled(match_names(ClassList.of(names))) == {
        "clock": "n03046257",
        "n02111889": "n02111889",
    }


@pytest.mark.parametrize(
    ("name", "lemma"),
    [
        ("Pickup-Truck", "pickup_truck"),
        ("pickup  truck", "pickup_truck"),
        ("T shirts", "t-shirt"),
        ("T_Shirt", "t-shirt"),
        ("St Bernard", "st_bernard"),
        ("Crème-brûlée", "creme_brulee"),
        ("jack o lantern", "jack-o-lantern"),
        ("the rapist", None),
        ("tshirt", None),
        ("cup cake", None),
        ("man's laughter", None),
        ("stbernard", None),
        ("cremebrulee", None),
    ],
)
def test_a_name_is_settled_only_with_the_same_words_as_the_lemma(
    name: str, lemma: str | None
) -> None:
    """All separators are equivalent, but a missing or additional one is a difference."""
    found = match(name)
    if lemma is None:
        assert found.candidates[0].how == "spelled together"
        assert settled([found]) == {}
    else:
        assert {
            (each.how in {"whole name", "singular"}, each.lemma) for each in found.candidates
        } == {(True, lemma)}
        assert settled([found]) == {name: found.candidates[0].wnid}


@pytest.mark.parametrize(("names", "count"), [(CIFAR_10, 4), (CIFAR_100, 24), (FOOD_101, 42)])
def test_the_documented_numbers_of_names_are_settled(names: list[str], count: int) -> None:
    assert len(settled(match_names(ClassList.of(names)))) == count


def test_two_names_for_one_synset_are_not_settled() -> None:
    matches = match_names(ClassList.of(["airplane", "aeroplane", "clock"]))
    first = {each.candidates[0].wnid for each in matches[:2]}
    assert len(first) == 1
    assert settled(matches) == {"clock": "n03046257"}


def test_the_hash_seed_does_not_affect_matching() -> None:
    code = (
        "from labelkit.hierarchy import ClassList, match_names;"
        "from tests.hierarchy.support.published_names import FOOD_101;"
        "print(match_names(ClassList.of(FOOD_101)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1

"""Which classes and images a subset has, from a tree, numbers and label maps that are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.hierarchy import coarsen_to_ancestors
from labelkit.subsets import (
    LabelledImages,
    SubsetSettings,
    choose_classes,
    choose_subset,
    read_class_counts,
    read_labelled_images,
    score_images,
)
from tests.subsets.support import animals, draw, write_maps

if TYPE_CHECKING:
    from labelkit.manifests import ImageManifest

COUNTS = {"cat": 6, "cow": 3, "dog": 4, "oak": 5, "pet": 2}


def images(counts: dict[str, int] | None = None) -> LabelledImages:
    """Images that no test opens."""
    keys = {
        name: tuple(f"{name}/{number}.png" for number in range(count))
        for name, count in (counts or COUNTS).items()
    }
    return LabelledImages(Path("images"), keys)


def manifest_of(found: LabelledImages, **settings) -> ImageManifest:
    manifest = choose_subset(found, SubsetSettings(**settings)).manifest
    assert manifest is not None
    return manifest


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        ({"depth": (3, 3)}, ["cat", "dog"]),  # thing, animal, pet, cat
        ({"depth": (0, 2)}, ["cow", "oak", "pet"]),
        ({"below": ("pet",)}, ["cat", "dog", "pet"]),
        ({"below": ("oak", "pet")}, ["cat", "dog", "oak", "pet"]),
        ({"leaves": True}, ["cat", "cow", "dog", "oak"]),
        ({"leaves": True, "below": ("animal",)}, ["cat", "cow", "dog"]),
        ({"min_images": 4}, ["cat", "dog", "oak"]),
        ({"percentiles": (25, 75)}, ["cow", "dog", "oak"]),
        ({"percentiles": (50, 50)}, ["dog"]),
        ({"classes": 2, "class_order": "largest"}, ["cat", "oak"]),
        ({"per_class": 4}, ["cat", "dog", "oak"]),
    ],
)
def test_each_filter_keeps_its_classes(settings, classes: list[str]):
    found = choose_subset(images(), SubsetSettings(**settings), tree=animals())
    assert sorted(found.counts) == classes
    left_out = sorted(each for ids in found.dropped.values() for each in ids)
    assert left_out == sorted(set(COUNTS) - set(classes))
    if "per_class" not in settings:
        assert choose_classes(COUNTS, SubsetSettings(**settings), animals()).counts == found.counts


def test_oak_is_at_the_depth_that_its_levels_say():
    """The tree of the tests: an inner node with a single branch is no level."""
    tree = animals()
    depth = dict(zip(tree.classes, tree.depth.tolist(), strict=True))
    assert (depth["cat"], depth["pet"], depth["cow"], depth["oak"]) == (3, 2, 2, 1)


def test_images_of_a_class_are_nested_and_depend_on_the_seed():
    found = images({"cat": 50, "dog": 50})
    few, many = (set(manifest_of(found, per_class=n).keys) for n in (5, 20))
    assert few < many
    assert set(manifest_of(found, per_class=5, seed=1).keys) != few
    assert manifest_of(found, per_class=5).digest == manifest_of(found, per_class=5).digest
    assert manifest_of(found, per_class=5).settings == {"per_class": 5, "seed": 0}


def test_a_manifest_is_a_data_set_too(tmp_path: Path):
    found = read_labelled_images(draw(tmp_path / "images", {"cat": 9, "dog": 8}))
    first = manifest_of(found, per_class=6)
    first.save(tmp_path / "first.json")
    again = manifest_of(read_labelled_images(tmp_path / "first.json"), per_class=4)
    assert again == manifest_of(found, per_class=4)


def test_easy_and_hard_images_and_classes(tmp_path: Path):
    """The probability of the own class is 0.1 to 0.9 for cats; three of nine are below one half."""
    cats = {f"cat/{n}.png": [[n / 10, 1 - n / 10]] for n in range(1, 10)}
    dogs = {f"dog/{n}.png": [[0.2, 0.8]] for n in range(9)}
    file = write_maps(tmp_path / "maps.h5", cats | dogs, ("cat", "dog"))
    found = LabelledImages(tmp_path, {"cat": tuple(cats), "dog": tuple(dogs)})
    scores = score_images(file, found)
    assert scores.probability["cat/3.png"] == pytest.approx(0.3, abs=1e-5)
    assert scores.accuracy(tuple(cats)) == pytest.approx(5 / 9)

    def chosen(**settings) -> tuple[str, ...]:
        subset = choose_subset(found, SubsetSettings(**settings), maps=file)
        assert subset.manifest is not None
        return subset.manifest.keys

    easy = chosen(image_order="easy", per_class=2)
    assert [key for key in easy if key.startswith("cat")] == ["cat/8.png", "cat/9.png"]
    hard = chosen(image_order="hard", per_class=2)
    assert [key for key in hard if key.startswith("cat")] == ["cat/1.png", "cat/2.png"]
    assert all(key.startswith("cat") for key in chosen(classes=1, class_order="hard"))
    assert all(key.startswith("dog") for key in chosen(classes=1, class_order="easy"))


def test_images_whose_maps_hold_several_classes(tmp_path: Path):
    cat, dog, cow = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
    maps = {
        "cat/alone.png": [cat, cat, cat, cat],
        "cat/with-cow.png": [cat, cat, cow, cow],
        "cat/with-both.png": [cow, dog, cow, cow],
        "dog/alone.png": [dog, dog, dog, dog],
        "cow/alone.png": [cow, cow, cow, cow],
    }
    file = write_maps(tmp_path / "maps.h5", maps, ("cat", "dog", "cow"))
    found = LabelledImages(tmp_path, {"cat": tuple(sorted(maps)[:3]), "dog": ("dog/alone.png",)})

    def labelled(area: float, **more) -> dict[str, list[str]]:
        settings = SubsetSettings(several=2, area=area)
        images = LabelledImages(tmp_path, {**found.keys, **more})
        subset = choose_subset(images, settings, maps=file)
        manifest = subset.manifest
        assert manifest is not None
        names = [[manifest.classes[at] for at in labels] for labels in manifest.labels]
        return dict(zip(manifest.keys, names, strict=True))

    assert labelled(0.2) == {"cat/with-both.png": ["cat", "dog"]}
    with pytest.raises(DatasetError, match="no image holds 2 of the classes"):
        labelled(0.3)
    assert labelled(0.3, cow=("cow/alone.png",)) == {
        "cat/with-both.png": ["cat", "cow"],
        "cat/with-cow.png": ["cat", "cow"],
    }
    assert labelled(0.2, cow=("cow/alone.png",))["cat/with-both.png"] == ["cat", "cow", "dog"]


def test_coarse_labels_over_fine_images():
    coarsening = coarsen_to_ancestors(animals(), ["pet", "oak"])
    subset = choose_subset(images(), SubsetSettings(per_class=5), coarsening=coarsening)
    manifest = subset.manifest
    assert manifest is not None
    assert subset.dropped["in no coarse class"] == ["cow"]
    assert subset.counts == {"pet": 5, "oak": 5}
    labels = {"cat": "pet", "dog": "pet", "pet": "pet", "oak": "oak"}
    for key, (label,) in zip(manifest.keys, manifest.labels, strict=True):
        assert manifest.classes[label] == labels[key.split("/")[0]]


def test_what_is_wrong_is_named():
    with pytest.raises(ClassListMismatch, match="lacks: bird"):
        choose_subset(images({"bird": 3}), SubsetSettings(leaves=True), tree=animals())
    with pytest.raises(ClassListMismatch, match="lacks: mammal"):
        choose_subset(images(), SubsetSettings(below=("mammal",)), tree=animals())
    with pytest.raises(DatasetError, match="all 5 are fewer than 9 images"):
        choose_subset(images(), SubsetSettings(min_images=9))
    with pytest.raises(DatasetError, match="at depth 5 to 9: the classes are at 1 to 3, counted"):
        choose_subset(images(), SubsetSettings(depth=(5, 9)), tree=animals())
    assert (
        "not at depth 3"
        in choose_subset(images(), SubsetSettings(depth=(3, 3)), tree=animals()).dropped
    )
    with pytest.raises(DatasetError, match="7 classes are wanted, but only 5"):
        choose_subset(images(), SubsetSettings(classes=7))
    with pytest.raises(ValueError, match="need a tree"):
        choose_subset(images(), SubsetSettings(leaves=True))
    with pytest.raises(ValueError, match="need label maps"):
        choose_subset(images(), SubsetSettings(image_order="easy"))
    with pytest.raises(ValueError, match="need the images"):
        choose_classes(COUNTS, SubsetSettings(several=2))


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": (3, 2)},
        {"percentiles": (50, 101)},
        {"imbalance": 0.5},
        {"several": 0},
        {"area": 0},
        {"class_order": "hardest"},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        SubsetSettings(**settings)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("class,images\ncat,3\n\n# few\ndog,4\n", {"cat": 3, "dog": 4}),
        ("cat, big\t3\ndog\t4\n", {"cat, big": 3, "dog": 4}),
    ],
)
def test_a_table_of_numbers(tmp_path: Path, text: str, counts: dict[str, int]):
    (tmp_path / "counts").write_text(text)
    assert read_class_counts(tmp_path / "counts") == counts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat,3\ndog,many\n", "line 2 is 'dog,many'"),
        ("cat,3\ncat,4\n", "line 2: duplicate class 'cat'"),
        ("class,images\n", "no classes"),
    ],
)
def test_a_damaged_table(tmp_path: Path, text: str, message: str):
    (tmp_path / "counts").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_class_counts(tmp_path / "counts")

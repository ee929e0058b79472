"""Predictions come in the order of keys, one row per image, without keeping them in memory."""

from __future__ import annotations

import csv
import itertools
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from labelkit.data import read_image
from labelkit.errors import DatasetError, TrainingError
from labelkit.hierarchy import SemanticTree
from labelkit.train import (
    Classifier,
    load_classifier,
    predict_folder,
    read_recipe,
    train,
    write_predictions,
)
from labelkit.train.predictions import predict_levels
from labelkit.train.readable import full_batches, read_images
from tests.train.support import COLOURS, recipe_text, save_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Classifier:
    root = tmp_path_factory.mktemp("run")
    (root / "r.toml").write_text(recipe_text(photos, epochs=1))
    train(read_recipe(root / "r.toml", [f"run.output={root / 'run'}"]))
    return load_classifier(root / "run", device="cpu")


@pytest.fixture
def mixed(tmp_path: Path, photos: Path) -> Path:
    """Images at several depths, two of them unreadable, with names whose order is not os.walk's."""
    root = tmp_path / "mixed"
    source = sorted((photos / "val").rglob("*.png"))
    for number, key in enumerate(("b.png", "a/c.png", "a-b/d.png", "a/é/e, f.png", "z/y.png")):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source[number * 4], root / key)
    (root / "a" / "bad.png").write_bytes(b"<html>")
    (root / "zz.png").touch()
    (root / "notes.txt").touch()
    return root


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"workers": 2, "batch_size": 1}])
def test_the_table_has_a_row_for_every_image_in_the_order_of_keys(
    tmp_path: Path, mixed: Path, classifier: Classifier, options: dict[str, int]
) -> None:
    found = list(predict_folder(classifier, mixed, top_k=2, **options))
    write_predictions(tmp_path / "p.csv", classifier, iter(found), top_k=2)
    rows = table(tmp_path / "p.csv")
    keys = [path.relative_to(mixed).as_posix() for path in mixed.rglob("*.png")]
    assert [row["key"] for row in rows] == sorted(keys)
    bad = {row["key"]: row["unreadable"] for row in rows if row["unreadable"]}
    assert bad.keys() == {"a/bad.png", "zz.png"}
    assert bad["zz.png"] == "the file is empty"
    for each, row in zip(found, rows, strict=True):
        if each.unreadable:
            assert set(row.values()) == {each.key, "", each.unreadable}
            continue
        image = classifier.transform(torch.from_numpy(_pixels(mixed / each.key)))
        with torch.no_grad():
            shares = classifier.model(image[None]).softmax(1)[0]
        for place, at in enumerate(shares.argsort(descending=True)[:2].tolist(), start=1):
            assert row[f"class_{place}"] == row[f"name_{place}"] == classifier.classes[at]
            assert float(row[f"probability_{place}"]) == pytest.approx(float(shares[at]), abs=1e-5)


def _pixels(path: Path):
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1).copy()


def test_there_are_no_more_columns_than_classes(
    tmp_path: Path, mixed: Path, classifier: Classifier
) -> None:
    write_predictions(tmp_path / "p.csv", classifier, predict_folder(classifier, mixed))
    columns = table(tmp_path / "p.csv")[0].keys()
    numbered = [
        f"{name}_{place}" for place in (1, 2, 3) for name in ("class", "name", "probability")
    ]
    assert list(columns) == ["key", *numbered, "unreadable"]


def test_a_tree_of_several_levels_gives_one_class_for_each(tmp_path: Path, photos: Path) -> None:
    labels = f'kind = "semantic-softmax"\ntree = "{save_tree(tmp_path / "tree.json")}"'
    (tmp_path / "r.toml").write_text(recipe_text(photos, labels, epochs=3))
    train(read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"]))
    classifier = load_classifier(tmp_path / "run", device="cpu")
    write_predictions(tmp_path / "p.csv", classifier, predict_folder(classifier, photos / "val"))
    rows = table(tmp_path / "p.csv")
    groups = {row["class_level_0"] for row in rows}
    leaves = {row["class_level_1"] for row in rows}
    assert (groups, leaves) == ({"thing", "nothing"}, {"apple", "leaf", "sky"})
    assert all(0.5 <= float(row["probability_level_0"]) <= 1 for row in rows)  # one of two classes


def test_levels_have_separate_probabilities(tmp_path: Path) -> None:
    """By hand: thing and nothing are one level, the three colours the other."""
    tree = SemanticTree.load(save_tree(tmp_path / "tree.json"))
    logits = dict(zip(tree.classes, torch.tensor([[2.0], [1.0], [0.0], [5.0], [1.0]]), strict=True))
    classes, shares = predict_levels(torch.stack([*logits.values()], 1), tree)
    assert [tree.classes[at] for at in classes[0].tolist()] == ["thing", "leaf"]
    e = torch.e
    expected = torch.tensor([[e**2 / (e**2 + 1), e**5 / (e**5 + 2 * e)]])
    assert torch.allclose(shares, expected, atol=1e-6)


def test_independent_outputs_share_their_sigmoids(tmp_path: Path, photos: Path) -> None:
    """A multi-label run: the best class by its sigmoid, over the sum of the level's sigmoids."""
    labels = f'kind = "multi-label"\ntree = "{save_tree(tmp_path / "tree.json")}"'
    (tmp_path / "r.toml").write_text(recipe_text(photos, labels, epochs=1))
    train(read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"]))
    classifier = load_classifier(tmp_path / "run", device="cpu")
    found = next(iter(predict_folder(classifier, photos / "val")))
    image = classifier.transform(read_image(photos / "val" / found.key))
    with torch.no_grad():
        sigmoids = classifier.model(image[None])[0].sigmoid()
    for names, chance in zip((("thing", "nothing"), COLOURS), found.probabilities, strict=True):
        level = torch.stack([sigmoids[classifier.classes.index[name]] for name in names])
        assert chance == pytest.approx(float(level.max() / level.sum()), abs=1e-5)


def test_an_error_midway_leaves_the_old_table(
    tmp_path: Path, mixed: Path, classifier: Classifier
) -> None:
    (tmp_path / "p.csv").write_text("old")
    found = predict_folder(classifier, mixed, batch_size=1)

    def stopping():
        yield next(found)
        raise TrainingError("stop")

    with pytest.raises(TrainingError):
        write_predictions(tmp_path / "p.csv", classifier, stopping())
    assert (tmp_path / "p.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if ".tmp" in path.name] == []


def test_keys_are_taken_as_they_are_needed(mixed: Path, classifier: Classifier) -> None:
    """An endless folder would otherwise never give a batch."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield "b.png"

    batches = read_images(mixed, endless(), classifier.transform, batch_size=2)
    assert len([*itertools.islice(batches, 3)]) == 3
    assert taken <= 8


def test_full_batches_hold_the_same_images_in_order(mixed: Path, classifier: Classifier) -> None:
    keys = ["b.png", "zz.png", "a/c.png", "a/bad.png", "a-b/d.png", "zz.png", "z/y.png"]
    unreadable: dict[str, str] = {}
    for size in (1, 2, 3, 10):
        batches = read_images(mixed, keys, classifier.transform, batch_size=size)
        full = list(full_batches(batches, size, unreadable))
        assert [len(names) for _, names in full[:-1]] == [size] * (len(full) - 1)
        assert [key for _, names in full for key in names] == [keys[at] for at in (0, 2, 4, 6)]
        for images, names in full:
            for image, key in zip(images, names, strict=True):
                pixels = classifier.transform(torch.from_numpy(_pixels(mixed / key)))
                assert torch.equal(image, pixels)
    assert unreadable.keys() == {"zz.png", "a/bad.png"}


def test_an_image_that_vanished_stops_the_run(mixed: Path, classifier: Classifier) -> None:
    batches = read_images(mixed, ["b.png", "gone.png"], classifier.transform, batch_size=1)
    with pytest.raises(DatasetError, match=r"cannot read gone\.png: No such file"):
        list(batches)


def test_a_folder_without_images_and_a_wrong_number_are_refused(
    tmp_path: Path, classifier: Classifier
) -> None:
    with pytest.raises(DatasetError, match="holds no images"):
        predict_folder(classifier, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        predict_folder(classifier, tmp_path / "none")
    with pytest.raises(ValueError, match="top_k is 0"):
        predict_folder(classifier, tmp_path, top_k=0)

"""A run on a tar is the run on the folder that was packed."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from labelkit.errors import DatasetError
from labelkit.sources import open_source
from labelkit.train import evaluate_folder, load_classifier, predict_folder
from labelkit.train.image_reading import SourceImages, open_folder
from tests.sources.support import KINDS, draw_photos, pack
from tests.train.support import draw_folders, recipe_text, save_maps

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folders of colours, and each split as a tar."""
    root = draw_folders(tmp_path_factory.mktemp("sources"), train=6, val=2)
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}.tar", "w") as file:
            file.add(root / split, ".")
    return root


def trained(root: Path, name: str, labels: str, ending: str) -> Path:
    from labelkit.train import read_recipe, train

    text = recipe_text(root, labels, epochs=1)
    for split in ("train", "val"):
        text = text.replace(f'"{root}/{split}"', f'"{root}/{split}{ending}"')
    recipe = root / f"{name}.toml"
    recipe.write_text(text)
    train(read_recipe(recipe, [f"run.output={root}/runs/{name}"]))
    return root / "runs" / name


def test_the_run_of_a_tar_is_that_of_its_folder(root):
    maps = save_maps(root / "maps.h5", root / "train")
    labels = f'kind = "label-maps"\nmaps = "{maps}"'
    runs = [trained(root, f"run{ending}", labels, ending) for ending in ("", ".tar")]
    first, second = (load_file(run / "best.safetensors") for run in runs)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    classifier = load_classifier(str(runs[0]), device="cpu")
    folder, tar = (evaluate_folder(classifier, root / name) for name in ("val", "val.tar"))
    assert folder.metrics == tar.metrics
    assert folder.classes == tar.classes
    expected = list(predict_folder(classifier, root / "val"))
    assert [*predict_folder(classifier, open_source(root / "val.tar"))] == expected


def test_classes_come_from_the_labels_of_a_source(tmp_path):
    photos = draw_photos(tmp_path / "photos")
    folder = open_folder(KINDS["shards"](photos, tmp_path), "data.train")
    assert folder.classes == ["0", "1"]
    assert [label for _, label in folder.samples] == [0, 0, 1, 1]
    assert folder.samples[0][0].endswith("}.tar/things/coffee.png")
    image, _ = folder[0]
    assert image.shape == (3, 48, 64)


def test_images_without_a_class_are_refused(tmp_path):
    members = [("a/0.jpg", b"x"), ("1.jpg", b"x"), ("2.jpg", b"x")]
    with pytest.raises(DatasetError, match=r"data.train: .*: 1.jpg has no class \(and 1 other\)"):
        open_folder(str(pack(tmp_path / "t.tar", members)), "data.train")
    (tmp_path / "list.csv").write_text("path,label\n1.jpg,cat\n2.jpg,\n")
    with pytest.raises(DatasetError, match=r"list.csv, row 3: 2.jpg has no class: put it"):
        open_folder(str(tmp_path / "list.csv"), "data.train")
    with pytest.raises(DatasetError, match=r"data.val: .*holds no images"):
        open_folder(str(pack(tmp_path / "t.tar", [])), "data.val")


def test_unlabelled_images_come_in_the_order_of_their_keys(tmp_path):
    members = [("b/1.jpg", b"x"), ("a.jpg", b"x"), ("a-/1.jpg", b"x")]
    source = open_source(pack(tmp_path / "t.tar", members))
    images = SourceImages(source, labelled=False)
    assert [path.rpartition("t.tar/")[2] for path, _ in images.samples] == source.keys
    assert {label for _, label in images.samples} == {-1}

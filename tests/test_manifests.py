"""Manifests of images: what is written is read again, and nothing else is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from labelkit.errors import DatasetError
from labelkit.hierarchy import read_class_list
from labelkit.manifests import ImageManifest, read_manifest


def pets(root: Path) -> ImageManifest:
    keys = ("cat/1.jpg", "cat/é.jpg", "dog/1.jpg")
    return ImageManifest(root, ("cat", "dog"), keys, ((0,), (0, 1), (1,)), {"seed": 3})


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path):
    written = pets(tmp_path / "images")
    written.save(tmp_path / "pets.json")
    read = read_manifest(tmp_path / "pets.json")
    assert read == written
    assert read.settings == {"seed": 3}
    assert read.counts == (2, 1)
    assert read_class_list(tmp_path / "pets.json").ids == ("cat", "dog")


def test_the_digest_is_of_classes_keys_and_labels_in_compact_json(tmp_path: Path):
    content = [["cat", "dog"], ["cat/1.jpg", "cat/é.jpg", "dog/1.jpg"], [[0], [0, 1], [1]]]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    assert pets(tmp_path).digest == hashlib.sha256(text.encode()).hexdigest()
    assert pets(tmp_path).digest == pets(tmp_path / "elsewhere").digest


def test_a_manifest_moves_with_the_images_beside_it(tmp_path: Path):
    (tmp_path / "here" / "images").mkdir(parents=True)
    pets(tmp_path / "here" / "images").save(tmp_path / "here" / "pets.json")
    pets(tmp_path / "here" / "images").save(tmp_path / "far.json")
    (tmp_path / "here").rename(tmp_path / "there")
    assert read_manifest(tmp_path / "there" / "pets.json").images == tmp_path / "there" / "images"


def test_a_manifest_elsewhere_names_the_whole_path(tmp_path: Path):
    (tmp_path / "lists").mkdir()
    pets(tmp_path / "images").save(tmp_path / "lists" / "pets.json")
    (tmp_path / "lists" / "pets.json").rename(tmp_path / "pets.json")
    assert read_manifest(tmp_path / "pets.json").images == tmp_path / "images"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"dog/1.jpg"', '"dog/2.jpg"', "changed after it was written"),
        ('"version": 1', '"version": 2', "version 2, expected version 1"),
        ('"labelkit-images"', '"labelkit-tree"', "is a labelkit tree"),
        ('"keys": [', '"keys": {', "damaged"),
        ("[0,1]", "[0,7]", "changed after it was written"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path: Path, before: str, after: str, message: str):
    path = tmp_path / "pets.json"
    pets(tmp_path).save(path)
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(DatasetError, match=message):
        read_manifest(path)


@pytest.mark.parametrize(
    ("keys", "labels", "message"),
    [
        ((), (), "no images"),
        (("a", "b"), ((0,),), "2 keys and 1 labels"),
        (("b", "a"), ((0,), (0,)), "'a' follows 'b'"),
        (("a", "a"), ((0,), (0,)), "'a' follows 'a'"),
        (("a",), ((),), r"labels \[\]"),
        (("a",), ((2,),), r"labels \[2\]"),
        (("a",), ((-1,),), r"labels \[-1\]"),
    ],
)
def test_keys_and_labels_are_checked(keys, labels, message: str):
    with pytest.raises(DatasetError, match=message):
        ImageManifest(Path("images"), ("cat", "dog"), keys, labels)

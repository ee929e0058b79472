"""Coarsening files: the same bytes each time, everything is checked, and targets are translated."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from labelkit.data import ClassFolders
from labelkit.errors import ClassListError, CoarseningFileError, TreeFileError
from labelkit.hierarchy import (
    ClassList,
    Coarsening,
    SemanticTree,
    Taxonomy,
    coarsen,
    coarsen_to_ancestors,
    coarsen_to_depth,
    load_coarsening,
    read_class_list,
    save_coarsening,
)
from tests.command import labelkit
from tests.hierarchy.support.mutations import mutated
from tests.oracles.forests import Parents, forests, tree_of

PETS = SemanticTree(
    ClassList.of(["héron", "cat", "tabby", "bird", "rock"]),
    ("héron", "cat", "tabby", "bird", "rock"),
    np.array([3, -1, 1, -1, -1]),
    {"taxonomy": "pets", "rule": "first"},
)
COARSE = coarsen_to_ancestors(PETS, ["bird", "cat"])
ROOT = {"héron": "bird", "cat": "cat", "tabby": "cat", "bird": "bird"}


def same(one: Coarsening, other: Coarsening) -> bool:
    return (
        one.classes == other.classes
        and one.classes.name == other.classes.name
        and np.array_equal(one.index, other.index)
        and (one.how, one.names, one.sizes, one.left_out, one.digest)
        == (other.how, other.names, other.sizes, other.left_out, other.digest)
    )


def test_the_file_is_json_that_other_programs_can_read(tmp_path: Path) -> None:
    """The fine classes are the tree's; ``index`` points into ``classes``."""
    save_coarsening(COARSE, tmp_path / "coarse.json")
    fields = json.loads((tmp_path / "coarse.json").read_text(encoding="utf-8"))
    found = {
        fine: fields["classes"][at]
        for fine, at in zip(fields["tree"]["classes"], fields["index"], strict=True)
        if at >= 0
    }
    assert found == ROOT
    assert fields["how"] == "chosen ancestors"
    checksum = fields.pop("checksum")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert checksum == hashlib.sha256(text.encode()).hexdigest()


@given(forests(max_classes=12), st.integers(0, 4))
@settings(deadline=None, max_examples=50)
def test_what_was_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, parents: Parents, depth: int
) -> None:
    folder = tmp_path_factory.mktemp("coarse")
    tree = tree_of(parents)
    for coarse in (coarsen_to_depth(tree, depth), coarsen_to_ancestors(tree, ["c0"])):
        save_coarsening(coarse, folder / "one.json")
        loaded = load_coarsening(folder / "one.json")
        assert same(loaded, coarse)
        save_coarsening(loaded, folder / "two.json")
        assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()
        assert read_class_list(folder / "one.json") == coarse.classes


def test_loaded_coarsenings_of_one_tree_are_nested(tmp_path: Path) -> None:
    tree = SemanticTree.build(
        read_class_list("imagenet-1k"), Taxonomy.wordnet(), inner_levels="all"
    )
    for number in (100, 30):
        save_coarsening(coarsen(tree, number), tmp_path / f"{number}.json")
    fine, coarse = (load_coarsening(tmp_path / f"{number}.json") for number in (100, 30))
    assert np.array_equal(fine.then(coarse), coarsen(tree, 100).then(coarsen(tree, 30)))


def test_one_line_translates_the_targets_of_a_data_set(tmp_path: Path) -> None:
    """``for_folders`` takes the data set's own folder, hidden folders excluded."""
    save_coarsening(COARSE, tmp_path / "coarse.json")
    root = tmp_path / "photos"
    for name in ("tabby", "héron", "cat"):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / name / "a.png")
    (root / ".cache").mkdir()
    for folder in (root, str(root), read_class_list(root)):
        transform = load_coarsening(tmp_path / "coarse.json").for_folders(folder)
        photos = ClassFolders(root, target_transform=pickle.loads(pickle.dumps(transform)))  # noqa: S301 -- as torch's workers do
        for position, (path, _) in enumerate(photos.samples):
            assert COARSE.classes[photos[position][1]] == ROOT[path.split("/")[-2]]
    with pytest.raises(ClassListError, match="contains no folders"):
        COARSE.for_folders(root / "cat")
    with pytest.raises(FileNotFoundError):
        COARSE.for_folders(str(tmp_path / "nowhere"))


def changed(**fields: Any) -> bytes:
    """The file with other fields and a checksum that fits them, as an attacker would write it."""
    document = {**json.loads(written()), **fields}
    del document["checksum"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    document["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(document, ensure_ascii=False).encode()


def written() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_coarsening(COARSE, Path(folder, "c.json"))
        return Path(folder, "c.json").read_bytes()


DAMAGED = {
    "empty": (lambda: b"", "does not begin like one"),
    "cut short": (lambda: written()[:120], "is damaged"),
    "a tree": (lambda: written()[:-2].split(b'"tree": ')[1], "is a labelkit tree"),
    "a text": (lambda: b"cat\ndog\n", "does not begin like one"),
    "another version": (lambda: changed(version=2), "version 2, expected version 1"),
    "one byte": (lambda: written().replace(b'"cat"', b'"cut"', 1), "was changed after it was"),
    "another map": (lambda: changed(index=[1, 1, 1, 0, -1]), "'héron' is not below its coarse"),
    "too short a map": (lambda: changed(index=[0]), "it maps 1 classes onto 2"),
    "out of range": (lambda: changed(index=[0, 1, 1, 0, 2]), "it maps 5 classes onto 2"),
    "negative": (lambda: changed(index=[0, 1, 1, 0, -2]), "is damaged"),
    "unknown classes": (lambda: changed(classes=["bird", "dog"]), "the tree has no 'dog'"),
    "twice": (lambda: changed(classes=["cat", "cat"]), "duplicate class id 'cat'"),
    "another digest": (lambda: changed(digest="0"), "its digest is not that of"),
    "other names": (lambda: changed(names=["a", "b"]), "its names are not those"),
    "one field more": (lambda: changed(more=1), "is damaged"),
    "another tree": (
        lambda: changed(tree={**json.loads(written())["tree"], "parent": [3, -1, 1, -1, 3]}),
        "was changed after it was written",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    make, message = DAMAGED[name]
    path = tmp_path / "coarse.json"
    path.write_bytes(make())
    with pytest.raises(CoarseningFileError) as caught:
        load_coarsening(path)
    assert message in str(caught.value)
    assert "labelkit" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_file_is_the_same_coarsening_or_refused(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "coarse.json"
    path.write_bytes(mutated(written(), f"coarse {seed}"))
    with contextlib.suppress(CoarseningFileError):
        assert same(load_coarsening(path), COARSE)
    with contextlib.suppress(CoarseningFileError, ClassListError, TreeFileError):
        assert read_class_list(path) == COARSE.classes
    run = labelkit("inspect", path)
    assert run.code == 0 or len(run.err.splitlines()) == 1


def test_an_existing_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "coarse.json"
    path.write_text("before")
    broken = SemanticTree(PETS.classes, ("\ud800", *PETS.names[1:]), PETS.parent)
    with pytest.raises(CoarseningFileError, match="invalid Unicode"):
        save_coarsening(coarsen_to_depth(broken, 0), path)
    assert path.read_text() == "before"
    save_coarsening(COARSE, path)
    assert same(load_coarsening(path), COARSE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["coarse.json"]

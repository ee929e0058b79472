"""A file of another kind than expected: the message says what it is and what takes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelkit.convert import import_tree
from labelkit.errors import LabelkitError
from labelkit.hierarchy import (
    ClassList,
    SemanticTree,
    Taxonomy,
    coarsen,
    load_coarsening,
    read_class_list,
    read_name_file,
    read_taxonomy,
    save_coarsening,
)
from labelkit.label_maps import LabelMapFile
from tests.command import labelkit

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[1] / "label_maps" / "golden" / "cell.h5"
MAPS = "is a label-map file, or other HDF5: look at it with labelkit inspect"
TREE = "is a labelkit tree"
COARSE = "is a coarsening from labelkit coarsen"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree and a label-map file, each under every suffix that the other kinds have."""
    monkeypatch.chdir(tmp_path)
    taxonomy = Taxonomy.from_edges([("cat", "pet"), ("dog", "pet")])
    tree = SemanticTree.build(ClassList.of(["cat", "dog", "pet"]), taxonomy)
    tree.save("tree.json")
    save_coarsening(coarsen(tree, 1), "coarse.json")
    for suffix in ("json", "h5", "csv", "pth", "tsv", "toml", "txt"):
        shutil.copy(GOLDEN, f"maps.{suffix}")
        if suffix != "json":
            shutil.copy("tree.json", f"tree.{suffix}")
            shutil.copy("coarse.json", f"coarse.{suffix}")
    return tmp_path


@pytest.mark.parametrize(
    ("read", "path", "kind"),
    [
        (SemanticTree.load, "maps.json", MAPS),
        (LabelMapFile.open, "tree.h5", TREE),
        (import_tree, "maps.json", MAPS),
        (import_tree, "maps.csv", MAPS),
        (import_tree, "maps.pth", MAPS),
        (import_tree, "tree.csv", TREE),
        (import_tree, "tree.pth", TREE),
        (read_class_list, "maps.txt", MAPS),
        (read_taxonomy, "maps.csv", MAPS),
        (read_taxonomy, "tree.json", TREE),
        (read_name_file, "maps.tsv", MAPS),
        (read_name_file, "tree.tsv", TREE),
        (load_coarsening, "tree.json", TREE),
        (load_coarsening, "maps.h5", MAPS),
        (SemanticTree.load, "coarse.json", COARSE),
        (LabelMapFile.open, "coarse.h5", COARSE),
        (import_tree, "coarse.json", COARSE),
        (import_tree, "coarse.csv", COARSE),
        (import_tree, "coarse.pth", COARSE),
        (read_taxonomy, "coarse.json", COARSE),
        (read_name_file, "coarse.tsv", COARSE),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_loader_says_what_the_file_is(
    read: Callable[[str], object], path: str, kind: str
) -> None:
    with pytest.raises(LabelkitError) as caught:
        read(path)
    assert path in str(caught.value)
    assert kind in str(caught.value)
    assert "labelkit inspect" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["verify", "tree.h5"], TREE),
        (["merge", "tree.h5", "maps.h5", "-o", "m.h5"], TREE),
        (["train", "tree.toml"], TREE),
        (["train", "maps.toml"], MAPS),
        (["convert", "maps.json", "-o", "x.csv"], MAPS),
        (["convert", "tree.h5", "-o", "x.csv"], "tree.h5 is a labelkit tree: rename it to end in"),
        (["build-tree", "maps.h5", "-o", "x.json"], MAPS),
        (["build-tree", "tree.json", "--taxonomy", "maps.csv", "-o", "x.json"], MAPS),
        (["match-names", "maps.h5", "-o", "x.tsv"], MAPS),
        (["verify", "coarse.h5"], COARSE),
        (["train", "coarse.toml"], COARSE),
        (["convert", "coarse.json", "-o", "x.csv"], COARSE),
        (["coarsen", "maps.h5", "--depth", "0", "-o", "x.json"], MAPS),
        (["coarsen", "coarse.json", "--depth", "0", "-o", "x.json"], COARSE),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_command_says_what_the_file_is(arguments: list[str], kind: str) -> None:
    run = labelkit(*arguments)
    assert run.code in {1, 2}
    assert kind in run.err
    assert not Path(arguments[-1]).exists() or arguments[-1] in {
        "tree.h5",
        "tree.toml",
        "maps.toml",
        "coarse.h5",
        "coarse.toml",
    }


@pytest.mark.usefixtures("folder")
def test_inspect_opens_all_under_any_name() -> None:
    assert "Coarsening coarse.txt" in labelkit("inspect", "coarse.txt").text
    assert "Tree tree.h5" in labelkit("inspect", "tree.h5").text
    assert labelkit("inspect", "maps.json").code == 0

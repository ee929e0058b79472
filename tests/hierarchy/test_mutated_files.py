"""Damaged trees and taxonomies: refused in one line, or read unchanged; never a traceback."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import ClassListError, TaxonomyError, TreeFileError
from labelkit.hierarchy import ClassList, SemanticTree, read_class_list, read_taxonomy
from tests.command import labelkit
from tests.hierarchy.support.mutations import mutated
from tests.hierarchy.support.trees import PETS, tree_with_levels

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = range(40)
TREES = {
    "names": PETS,
    "levels": tree_with_levels(),
    "ranks": SemanticTree.of(["a", "b", "c"], [-1, 0, 0], ranks=["genus", "species"]),
}
TAXONOMIES = {
    "edges.csv": "child,parent,name\ntabby,cat,tabby cat\nmanx,cat,\ncat,animal,\ndog,animal,\n",
    "edges.tsv": "child\tparent\ntabby\tcat\ncat\tanimal\ndog\tanimal\n",
    "edges.txt": "animal cat\nanimal dog\ncat tabby\nn02084071 n02112826\n",
    "columns.csv": "class,genus,species\nAves,Morus,bassanus\nAves,Sula,s\u00fcla\nAves,Sula,x\n",
    "labels.json": '{"animal": {"cat": {}, "dog": ["spitz", "poodle"]}, "thing": null}',
    "nodes.json": '{"id": "a", "children": [{"id": "c", "name": "cat"}, {"id": "d"}]}',
}


def content(tree: SemanticTree) -> tuple[object, ...]:
    arrays = (tree.parent.tolist(), tree.inner.tolist(), tree.level.tolist())
    return tree.classes.ids, tree.names, arrays, tree.source, tree.ranks


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_tree_file_is_the_same_tree_or_refused(
    name: str, seed: int, tmp_path: Path
) -> None:
    path, tree = tmp_path / "tree.json", TREES[name]
    tree.save(path)
    path.write_bytes(mutated(path.read_bytes(), f"{name} {seed}"))
    with contextlib.suppress(TreeFileError):
        assert content(SemanticTree.load(path)) == content(tree)
    with contextlib.suppress(TreeFileError, ClassListError):
        assert read_class_list(path).ids == tree.data_classes.ids
    with pytest.raises(TaxonomyError):
        read_taxonomy(path)
    run = labelkit("inspect", path)
    assert run.code in {0, 1}
    assert run.code == 0 or len(run.err.splitlines()) == 1


@pytest.mark.parametrize("name", TAXONOMIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_taxonomy_gives_a_tree_that_can_be_saved_or_is_refused(
    name: str, seed: int, tmp_path: Path
) -> None:
    """A taxonomy has no checksum: what is still valid is read as it stands."""
    path = tmp_path / name
    path.write_bytes(mutated(TAXONOMIES[name].encode(), f"{name} {seed}"))
    with contextlib.suppress(TaxonomyError, ClassListError):
        taxonomy = read_taxonomy(path)
        tree = SemanticTree.build(taxonomy.leaves(), taxonomy, inner_levels="all")
        tree.save(tmp_path / "tree.json")
        assert content(SemanticTree.load(tmp_path / "tree.json")) == content(tree)


def test_mutations_change_a_file() -> None:
    original = b'{"a": ["b", 1],\n"c": 2}'
    changed = [mutated(original, str(seed)) != original for seed in range(100)]
    assert sum(changed) > 90


@pytest.mark.parametrize(
    "lines", ['"format": "labelkit-tree",\n"version": 1\n}', "{", '{\n"digest": "1",', '"a\\"b": 1']
)
def test_pieces_of_a_tree_file_are_no_class_list(lines: str, tmp_path: Path) -> None:
    """Each of these lines could be a class id."""
    path = tmp_path / "tree.json"
    path.write_text(lines)
    with pytest.raises(ClassListError, match="is JSON"):
        read_class_list(path)


def test_a_name_that_utf8_cannot_express_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text('{"id": "a", "children": [{"id": "b", "name": "\\ud800"}, {"id": "c"}]}')
    with pytest.raises(
        TaxonomyError, match=r"\$\.children\[0\]\.name: the name .* not valid Unicode"
    ):
        read_taxonomy(path)
    tree = SemanticTree(ClassList.of(["a"]), ("\ud800",), PETS.parent[1:2])
    with pytest.raises(TreeFileError, match="invalid Unicode near"):
        tree.save(tmp_path / "tree.json")
    assert not (tmp_path / "tree.json").exists()


def test_a_taxonomy_whose_file_name_is_not_utf8_gives_a_tree(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"p\xffts.csv")
    path.write_text("child,parent\ncat,pet\ndog,pet\n")
    taxonomy = read_taxonomy(path)
    SemanticTree.build(taxonomy.leaves(), taxonomy).save(tmp_path / "tree.json")
    assert SemanticTree.load(tmp_path / "tree.json").source["taxonomy"] == "p?ts.csv"

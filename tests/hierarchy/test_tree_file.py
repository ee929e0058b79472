"""Tree files: the same bytes each time, and everything is checked on loading."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings

from labelkit.errors import TreeFileError
from labelkit.hierarchy import (
    ClassList,
    SemanticTree,
    Taxonomy,
    is_tree_file,
    read_class_list,
)
from tests.oracles.forests import Parents, forests, tree_of

if TYPE_CHECKING:
    from pathlib import Path

PETS = SemanticTree(
    ClassList.of(["cat", "animal", "héron"], "pets.txt"),
    ("cat", "animal", "héron\n"),
    np.array([1, -1, 1]),
    {"taxonomy": "pets", "rule": "first", "class_list": "pets.txt"},
)
GOLDEN = """\
{
"format": "labelkit-tree",
"version": 1,
"classes": ["cat","animal","héron"],
"names": ["cat","animal","héron\\n"],
"parent": [1,-1,1],
"digest": "%s",
"source": {"taxonomy":"pets","rule":"first","class_list":"pets.txt"},
"checksum": "CHECKSUM"
}
""".replace("%s", PETS.classes.digest)
# The checksum's input: all other fields in alphabetical order, without spaces.
CHECKED = (
    '{"classes":["cat","animal","héron"],"digest":"%s","format":"labelkit-tree",'
    '"names":["cat","animal","héron\\n"],"parent":[1,-1,1],'
    '"source":{"class_list":"pets.txt","rule":"first","taxonomy":"pets"},"version":1}'
).replace("%s", PETS.classes.digest)
GOLDEN = GOLDEN.replace("CHECKSUM", hashlib.sha256(CHECKED.encode()).hexdigest())


def same(one: SemanticTree, other: SemanticTree) -> bool:
    return (one.classes, one.names, one.source, one.classes.name) == (
        other.classes,
        other.names,
        other.source,
        other.classes.name,
    ) and all(
        np.array_equal(ours, theirs)
        for ours, theirs in (
            (one.parent, other.parent),
            (one.inner, other.inner),
            (one.level, other.level),
        )
    )


def test_a_tree_file_is_these_bytes(tmp_path: Path) -> None:
    PETS.save(tmp_path / "tree.json")
    assert (tmp_path / "tree.json").read_text(encoding="utf-8") == GOLDEN
    assert same(SemanticTree.load(tmp_path / "tree.json"), PETS)


def test_any_layout_of_the_json_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(json.loads(GOLDEN), indent=4, sort_keys=True))
    assert same(SemanticTree.load(path), PETS)


@given(forests())
@settings(deadline=None)
def test_a_saved_tree_loads(tmp_path_factory: pytest.TempPathFactory, parents: Parents) -> None:
    path = tmp_path_factory.mktemp("trees") / "tree.json"
    tree = tree_of(parents)
    tree.save(path)
    assert SemanticTree.load(path).parent.tolist() == list(parents)


def test_a_large_tree_survives_saving_and_loading(tmp_path: Path) -> None:
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    tree.save(tmp_path / "one.json")
    loaded = SemanticTree.load(str(tmp_path / "one.json"))
    assert same(loaded, tree)
    loaded.save(str(tmp_path / "two.json"))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_inner_nodes_and_their_levels_are_kept(tmp_path: Path) -> None:
    taxonomy = Taxonomy.from_edges(
        [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("x", "z"), ("y", "z"), ("e", "z")]
    )
    tree = SemanticTree.build(ClassList.of([*"abcde"], "letters"), taxonomy, inner_levels=1)
    tree.save(tmp_path / "tree.json")
    document = json.loads((tmp_path / "tree.json").read_text())
    assert document["version"] == 1
    assert document["classes"] == ["a", "b", "c", "d", "e", "x", "y"]
    assert document["inner"] == [5, 6]
    assert document["level"] == [1, 1, 1, 1, 1, 0, 0]
    loaded = SemanticTree.load(tmp_path / "tree.json")
    assert same(loaded, tree)
    assert loaded.counts == (2, 5)
    assert loaded.classes.name == "letters + inner"
    assert loaded.data_classes == ClassList.of([*"abcde"])
    assert loaded.data_classes.name == "letters"
    by_level = loaded.ordered_by_level()
    by_level.save(tmp_path / "by_level.json")
    loaded = SemanticTree.load(tmp_path / "by_level.json")
    assert same(loaded, by_level)
    assert list(loaded.classes) == ["x", "y", "a", "b", "c", "d", "e"]
    assert loaded.inner.tolist() == [0, 1]
    assert loaded.data_classes.name == "letters, ordered by level"


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(GOLDEN), **fields}).encode()


def without(field: str) -> bytes:
    document = json.loads(GOLDEN)
    del document[field]
    return json.dumps(document).encode()


DAMAGED = {
    "empty": (b"", "not a labelkit tree"),
    "cut short": (GOLDEN.encode()[:90], "not a labelkit tree"),
    "two documents": (GOLDEN.encode() * 2, "not a labelkit tree"),
    "not JSON": (b"\x89HDF\r\n", "not a labelkit tree"),
    "a list": (b"[1, 2]", "Expected `object`, got `array`"),
    "not UTF-8": (GOLDEN.encode("latin-1"), "not a labelkit tree"),
    "nested without end": (b'{"x":' + b"[" * 200_000, "not a labelkit tree"),
    "another format": (
        b'{"format": "geojson", "version": 1}',
        "is 'geojson' version 1, expected 'labelkit-tree' version 1",
    ),
    "a later version": (
        changed(version=2, extra={"new": []}),
        "is 'labelkit-tree' version 2, expected 'labelkit-tree' version 1",
    ),
    "a field too many": (changed(extra=1), "unknown field `extra`"),
    "a field too few": (without("names"), "missing required field `names`"),
    "no version": (without("version"), "missing required field `version`"),
    "a number for a class": (changed(classes=["cat", 3, "x"]), r"Expected `str`, got `int`"),
    "a fraction for a parent": (changed(parent=[1.5, -1, 1]), r"Expected `int`"),
    "a truth for a parent": (changed(parent=[True, -1, 1]), r"Expected `int`"),
    "a parent below -1": (changed(parent=[-2, -1, 1]), r"Expected `int` >= -1"),
    "a parent beyond int64": (changed(parent=[10**30, -1, 1]), r"Expected `int`"),
    "a parent that is no class": (changed(parent=[3, -1, 1]), "parent of 'cat' is 3"),
    "a parent too few": (changed(parent=[1, -1]), "3 classes, 3 names and 2 parents"),
    "a name too many": (changed(names=list("abcd")), "3 classes, 4 names and 3 parents"),
    "a class twice": (changed(classes=["cat", "cat", "x"]), "duplicate class id 'cat'"),
    "an inner node that is none": (changed(inner=[3]), "inner nodes must be unique, ascending"),
    "nothing but inner nodes": (changed(inner=[0, 1, 2]), "all classes are inner nodes"),
    "a level beyond all": (changed(level=[1, 0, 2**31 - 1]), "without a gap"),
    "a level too few": (changed(level=[1, 0]), "2 levels for 3 classes"),
    "a level above its parent's": (changed(level=[0, 1, 2]), "'cat' is on level 0 and its parent"),
    "no classes": (changed(classes=[], names=[], parent=[]), "is empty"),
    "its own parent": (changed(parent=[0, -1, 1]), "'cat' is its own ancestor"),
    "a cycle": (changed(parent=[1, 0, 1]), "is its own ancestor"),
    "another class": (
        changed(classes=["cow", "animal", "héron"]),
        f"gives the digest {PETS.classes.digest} .*, which have [0-9a-f]{{64}}",
    ),
    "another order": (
        changed(classes=["animal", "cat", "héron"]),
        "gives the digest .*, which have",
    ),
}


INNER = {"inner": [0], "level": [1, 0, 1]}
CHANGED = {
    "another parent": changed(parent=[2, -1, 1]),
    "another root": changed(parent=[1, -1, -1]),
    "another name": changed(names=["dog", "animal", "héron\n"]),
    "swapped names": changed(names=["animal", "cat", "héron\n"]),
    "another rule": changed(source={"taxonomy": "pets", "rule": "longest"}),
    "no source": changed(source={}),
    "another inner node": changed(inner=[0]),
    "other levels": changed(level=[2, 0, 1]),
    "inner nodes and levels": changed(**INNER),
    "another checksum": changed(checksum="0" * 64),
}


@pytest.mark.parametrize("content", CHANGED.values(), ids=CHANGED.keys())
def test_a_changed_file_is_refused_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    """Each of these is a valid tree, only not the one that was written."""
    path = tmp_path / "tree.json"
    path.write_bytes(content)
    message = "tree.json was changed after it was written: it gives the checksum [0-9a-f]{64}, but"
    with pytest.raises(TreeFileError, match=message) as caught:
        SemanticTree.load(path)
    assert "rebuild it: labelkit build-tree" in str(caught.value)
    assert "SemanticTree.of(...).save(path)" in str(caught.value)


def test_a_file_without_a_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    for content in (without("checksum"), changed(checksum="")):
        path.write_bytes(content)
        with pytest.raises(TreeFileError, match=r"no checksum.*rebuild it: labelkit build-tree"):
            SemanticTree.load(path)


def test_a_program_may_edit_a_tree_and_save_it_again(tmp_path: Path) -> None:
    """As the error message says."""
    path = tmp_path / "tree.json"
    PETS.save(path)
    fields = json.loads(path.read_text(encoding="utf-8"))
    names, source = fields["names"], fields["source"]
    SemanticTree.of(fields["classes"], [2, -1, 1], names=names, source=source).save(path)
    assert SemanticTree.load(path).parent.tolist() == [2, -1, 1]


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused_with_a_reason(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "tree.json"
    path.write_bytes(content)
    with pytest.raises(TreeFileError, match=message) as caught:
        SemanticTree.load(path)
    assert str(path) in str(caught.value)
    assert "labelkit build-tree" in str(caught.value)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SemanticTree.load(tmp_path / "tree.json")


def test_a_failed_save_leaves_only_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tree.json"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        PETS.save(path)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


def test_a_link_is_followed_and_permissions_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    PETS.save(link)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == GOLDEN
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_disk_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No such file or directory.*nowhere/tree\.json"):
        PETS.save(tmp_path / "nowhere" / "tree.json")


def test_a_saved_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    PETS.save(tmp_path / "tree.json")
    assert (tmp_path / "tree.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


BEGINNINGS = [GOLDEN.encode(), GOLDEN.encode()[:40], changed(version=9)]
OTHER_BEGINNINGS = [
    b"",
    b'{"format": "labelkit-tree-house"}',
    b'{"classes": [], "format": "labelkit-tree"}',
    b"\x89HDF\r\n\x1a\n",
]


@pytest.mark.parametrize("content", BEGINNINGS)
def test_a_tree_file_is_recognized_by_its_beginning(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert is_tree_file(tmp_path / "file")


@pytest.mark.parametrize("content", OTHER_BEGINNINGS)
def test_other_files_are_not_recognized(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not is_tree_file(tmp_path / "file")

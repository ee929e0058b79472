"""The published ``.pth`` layout: what its own code makes of ours, and what we refuse to read."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelkit.convert import published, read_published, write_published
from labelkit.errors import TreeFileError
from labelkit.hierarchy import ClassList, SemanticTree
from tests.hierarchy.support.trees import PETS, named_tree, tree_with_levels


@pytest.mark.parametrize("name", ["imagenet-21k-p", "imagenet-21k-p-winter21"])
def test_class_ten_has_the_published_chain(tmp_path: Path, name: str) -> None:
    write_published(named_tree(name), tmp_path / "tree.pth")
    content = torch.load(tmp_path / "tree.pth", weights_only=True)
    assert content["class_tree_list"][10] == [10, 9, 66, 65, 144]
    assert content["class_list"][10] == list(content["class_description"])[10] == "n00288384"


def test_the_published_construction_gives_our_levels(tmp_path: Path) -> None:
    """Depth from a chain's length, classes by depth, and each class's target on each level."""
    tree = named_tree("imagenet-21k-p")
    write_published(tree, tmp_path / "tree.pth")
    content = torch.load(tmp_path / "tree.pth", weights_only=True)
    chains = content["class_tree_list"]
    depth = torch.tensor([len(chain) - 1 for chain in chains])
    for level, classes in enumerate(tree.levels):
        assert torch.nonzero(depth == level).flatten().tolist() == classes.tolist()
    target = torch.full((len(chains), int(depth.max()) + 1), -1)
    for class_, chain in enumerate(chains):
        for steps_up, member in enumerate(chain):
            target[class_, len(chain) - 1 - steps_up] = member
    assert np.array_equal(target.numpy(), tree.chain_table)
    assert np.array(list(content["class_description"].values())).tolist() == list(tree.names)


def test_parents_are_ids_of_classes_that_have_one(tmp_path: Path) -> None:
    write_published(PETS, tmp_path / "pets.pt")
    ids = PETS.classes.ids
    content = torch.load(tmp_path / "pets.pt", weights_only=True)
    assert content["child_2_parent"] == {ids[0]: ids[2], ids[2]: ids[1], ids[3]: ids[1]}


def test_equal_trees_give_equal_bytes_whatever_their_strings_share(tmp_path: Path) -> None:
    """A pickle tells one string used twice from two equal ones, unless we do not let it."""
    shared = "a cat"
    again = shared[:2] + shared[2:]
    assert shared is not again
    for name, text in (("one.pth", shared), ("two.pth", again)):
        tree = SemanticTree(ClassList.of([shared]), (text,), np.array([-1]))
        write_published(tree, tmp_path / name)
    assert (tmp_path / "one.pth").read_bytes() == (tmp_path / "two.pth").read_bytes()


def test_levels_that_are_no_depths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TreeFileError, match=r"zoo\.pth: .*'hen' has depth 1 and level 2"):
        write_published(tree_with_levels(), tmp_path / "zoo.pth")
    assert not list(tmp_path.iterdir())


IDS = ["cat", "pet", "car"]


def content(**changes: Any) -> dict[str, Any]:
    return {
        "class_list": IDS,
        "child_2_parent": {"cat": "pet"},
        "class_tree_list": [[0, 1], [1], [2]],
        "class_description": {"cat": "Cat", "pet": "Pet", "car": "Car"},
    } | changes


def written(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "tree.pth"
    torch.save(value, path)
    return path


@pytest.mark.parametrize(
    "above",
    [
        {"cat": "pet"},
        {},
        {"cat": "kitten", "kitten": "pet", "pet": "thing", "car": "thing"},
        {"cat": "pet", "x": "y", "y": "x", "car": "x"},
    ],
)
def test_parents_may_lead_over_ids_that_are_no_classes(
    tmp_path: Path, above: dict[str, str]
) -> None:
    tree = read_published(written(tmp_path, content(child_2_parent=above)))
    assert tree.parent.tolist() == [1, -1, -1]
    assert tree.names == ("Cat", "Pet", "Car")


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "it is a list, expected a dict of class_list"),
        ({"model": 1}, "it is a dict of 'model'"),
        (content(class_list=("cat", "pet", "car")), "class_list is a tuple"),
        (content(class_list=["cat", "pet", 3]), r"class_list\[2\] is a int"),
        (content(class_list=["cat", "pet", "pet"]), "duplicate class id 'pet'"),
        (content(class_list=["cat", "pet", ""]), "'' is missing"),
        (content(class_list=[], class_tree_list=[], class_description={}), "is empty"),
        (content(class_tree_list=[[0, 1], [1]]), "2 chains for 3 ids"),
        (content(class_tree_list={0: [0]}), "no list for 3 ids"),
        (content(class_tree_list=[[0, 1], [1], [1]]), r"\[2\] is not a list .* begins with 2"),
        (content(class_tree_list=[[0, 1], [1], []]), r"class_tree_list\[2\] is not a list"),
        (content(class_tree_list=[[0, 1.0], [1], [2]]), r"class_tree_list\[0\] is not a list"),
        (content(class_tree_list=[[False, 1], [1], [2]]), r"class_tree_list\[0\] is not a list"),
        (content(class_tree_list=[[0, 3], [1], [2]]), r"class_tree_list\[0\] leads to 3"),
        (content(class_tree_list=[[0, -1], [1], [2]]), r"class_tree_list\[0\] leads to -1"),
        (content(class_tree_list=[[0, 1], [1, 2], [2]]), r"\[0, 1\], but its parent's is \[1, 2\]"),
        (content(class_tree_list=[[0, 0], [1], [2]]), r"\[0\] is \[0, 0\]"),
        (content(class_tree_list=[[0, 1], [1, 0], [2]]), r"\[0\] is \[0, 1\]"),
        (content(class_tree_list=[LOOP, [1], [2]]), "refers to itself"),
        (content(class_description={"cat": "Cat", "pet": "Pet", "x": ""}), "'car' is missing"),
        (content(class_description=dict.fromkeys([*IDS, "x"], "")), "4 entries for 3"),
        (content(class_description={"cat": "Cat", "pet": "Pet", "car": None}), "is a NoneType"),
        (content(child_2_parent={"cat": ["pet"]}), "values of child_2_parent.* is a list"),
        (content(child_2_parent={"cat": "car"}), "leads 'cat' to 'car', .* to 'pet'"),
        (content(child_2_parent={"car": "x", "x": "pet"}), "leads 'car' to 'pet', .* to 'no class"),
        (content(child_2_parent={"cat": "x"}), "leads 'cat' to 'no class', .* to 'pet'"),
    ],
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, value: object, message: str
) -> None:
    with pytest.raises(TreeFileError, match=message) as caught:
        read_published(written(tmp_path, value))
    assert str(caught.value).startswith(str(tmp_path / "tree.pth"))


class Touch:
    """A pickle that leaves a file behind when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def refused_as(path: Path, message: str) -> None:
    """The whole message: what is wrong, what to do next, and nothing of torch's own advice."""
    with pytest.raises(TreeFileError) as caught:
        read_published(path)
    assert str(caught.value).startswith(f"{path} {message}")
    assert str(caught.value).endswith(". Get another copy of the file, or build the tree: labelkit "
                                      "build-tree")  # fmt: skip
    assert str(caught.value).isprintable()
    assert not any(word in str(caught.value) for word in ("weights_only", "False", "trust"))


@pytest.mark.parametrize(
    "text", [b"hello world\n", b"e\n", b"1", b"id,parent\ncat,\n", b'{"format": 1}', b""]
)
def test_a_text_file_is_no_torch_file(tmp_path: Path, text: bytes) -> None:
    """To torch itself the first is "101", and the second "pop from empty list"."""
    path = tmp_path / "tree.pth"
    path.write_bytes(text)
    refused_as(path, "is not a PyTorch file. ")


@pytest.mark.parametrize("zipped", [True, False])
def test_half_a_file_is_damaged(tmp_path: Path, *, zipped: bool) -> None:
    path = tmp_path / "tree.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused_as(path, "is damaged")


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path: Path, *, zipped: bool) -> None:
    path = tmp_path / "tree.pth"
    value = content(class_list=Touch(tmp_path / "touched"))
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    refused_as(
        path,
        "contains builtins.getattr, expected only lists, numbers and strings: refused, since "
        "loading such a file could run code",
    )
    for protocol, name in ((2, "builtins.getattr"), (4, "pathlib.Path.touch")):
        path.write_bytes(pickle.dumps(value, protocol))
        refused_as(path, f"contains {name}, expected only lists, numbers and strings")
    assert not (tmp_path / "touched").exists()


def test_a_file_that_unpacks_to_too_much_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x00" * 2_000_000)
    monkeypatch.setattr(published, "LARGEST", 1_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(TreeFileError, match=r"bomb\.pth .* 2,000,000 bytes, more than"):
        read_published(path)

"""Every format: what goes out comes in again, whole, in its order, and with the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.convert import TREE_FORMATS, export_tree, import_tree
from labelkit.errors import TreeFileError
from labelkit.hierarchy import ClassList, SemanticTree
from tests.hierarchy.support.trees import PETS, named_tree, same, tree_with_levels
from tests.oracles.forests import Parents, forests

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = sorted(TREE_FORMATS)
IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=4
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=4)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("list_name", ["imagenet-21k-p", None])
def test_a_tree_comes_back_as_it_was(tmp_path: Path, suffix: str, list_name: str | None) -> None:
    tree = named_tree(list_name) if list_name else PETS
    path = tmp_path / f"tree{suffix}"
    export_tree(tree, path)
    back = import_tree(str(path))
    assert same(back, tree)
    if list_name:
        assert back.classes.name == list_name == back.source["class_list"]
    export_tree(back, tmp_path / f"again{suffix}")
    if suffix != ".json":  # which also says how the tree was made
        assert path.read_bytes() == (tmp_path / f"again{suffix}").read_bytes()


@given(forests(), st.data(), st.sampled_from(SUFFIXES))
@settings(deadline=None, max_examples=100)
def test_any_forest_comes_back(
    tmp_path_factory: pytest.TempPathFactory, parents: Parents, data: st.DataObject, suffix: str
) -> None:
    count = len(parents)
    ids = data.draw(st.lists(IDS, min_size=count, max_size=count, unique=True))
    names = data.draw(st.lists(NAMES, min_size=count, max_size=count))
    tree = SemanticTree(ClassList.of(ids), tuple(names), np.array(parents))
    path = tmp_path_factory.mktemp("forest") / f"tree{suffix.upper()}"
    export_tree(tree, path)
    assert same(import_tree(path), tree)


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_levels_and_inner_nodes_are_kept(tmp_path: Path, suffix: str) -> None:
    tree = tree_with_levels()
    export_tree(tree, tmp_path / f"zoo{suffix}")
    back = import_tree(tmp_path / f"zoo{suffix}")
    assert same(back, tree)
    assert back.data_classes == tree.data_classes


def test_a_table_names_its_file_as_the_source(tmp_path: Path) -> None:
    export_tree(PETS, tmp_path / "pets.csv")
    assert import_tree(tmp_path / "pets.csv").source["taxonomy"] == "imported from pets.csv"


@pytest.mark.parametrize("suffix", [".xml", ".graphml", ".dot", ""])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, suffix: str) -> None:
    for run in (lambda path: export_tree(PETS, path), import_tree):
        with pytest.raises(
            ValueError,
            match=rf"suffix '\{suffix}'.*\.json .*\.pth .*\.csv" if suffix else "suffix ''",
        ):
            run(tmp_path / f"tree{suffix}")
    assert not list(tmp_path.iterdir())


def renamed(class_id: str, name: str) -> SemanticTree:
    return SemanticTree(ClassList.of(["a", class_id]), ("a", name), np.array([-1, 0]))


def test_half_a_character_is_refused_in_a_table(tmp_path: Path) -> None:
    with pytest.raises(TreeFileError, match=r"tree\.csv: invalid Unicode near .*n\\ud800"):
        export_tree(renamed("b", "n\ud800"), tmp_path / "tree.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 50, b"PK\x03\x04 no zip", b"\x80\x02}q\x00.", b"id,parent\n"],
)
def test_nonsense_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"nonsense{suffix}"
    path.write_bytes(content)
    with pytest.raises(TreeFileError, match=f"nonsense{suffix}"):
        import_tree(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_half_a_file_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"half{suffix}"
    export_tree(PETS, path)
    content = path.read_bytes()
    for length in range(1, len(content) - 2, max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        if suffix == ".csv" and content[length : length + 1] in {b"\n", b""}:
            continue  # a table of whole rows
        with pytest.raises(TreeFileError, match=f"half{suffix}"):
            import_tree(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError):
        import_tree(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(TreeFileError, match=rf"folder{suffix} is a folder, expected a file"):
        import_tree(tmp_path / f"folder{suffix}")

"""Trees as CSV: the bytes of one, and tables that were edited by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.convert import read_csv_tree, write_csv_tree
from labelkit.errors import TreeFileError
from labelkit.hierarchy import ClassList, SemanticTree, read_taxonomy
from tests.hierarchy.support.trees import PETS, same, tree_with_levels

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = (
    "index,id,name,parent,depth,level,inner\n"
    '0,tabby,"tabby\n\'cat\'","chat:1, x\t<&>",2,2,false\n'
    '1,"an ""animal""","animal\r\n",,0,0,false\n'
    '2,"chat:1, x\t<&>",,"an ""animal""",1,1,false\n'
    '3,héron \\, héron; ,"an ""animal""",1,1,false\n'
    "4,-1,\U0001f426 ]]>,,0,0,false\n"
)


def test_a_table_is_these_bytes(tmp_path: Path) -> None:
    write_csv_tree(PETS, tmp_path / "pets.csv")
    assert (tmp_path / "pets.csv").read_bytes().decode() == GOLDEN


def test_a_table_needs_ids_and_parents_only(tmp_path: Path) -> None:
    path = tmp_path / "edited.csv"
    path.write_bytes(b"\xef\xbb\xbfparent, id ,colour\r\npet,cat,red\r\n\r\n,pet,\r\n")
    tree = read_csv_tree(path)
    assert tree.classes.ids == tree.names == ("cat", "pet")
    assert tree.parent.tolist() == [1, -1]


def test_rows_may_stand_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "sorted.csv"
    path.write_text("id,parent,index,inner\na,b,2,\nb,c,1,TRUE\nc,,0,FALSE\n")
    tree = read_csv_tree(path)
    assert tree.classes.ids == ("c", "b", "a")
    assert tree.parent.tolist() == [-1, 0, 1]
    assert tree.inner.tolist() == [1]


def test_the_table_is_a_taxonomy_too(tmp_path: Path) -> None:
    tree = tree_with_levels()
    write_csv_tree(tree, tmp_path / "zoo.csv")
    taxonomy = read_taxonomy(tmp_path / "zoo.csv")
    assert taxonomy.ids == tree.classes.ids
    assert taxonomy.parent.tolist() == tree.parent.tolist()


HOSTILE = st.text(st.sampled_from("ab\r\n\t,\";' \\\x00\x1c\x85\u2028\ufeff=#é"), max_size=6)


@given(st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=5))
@settings(deadline=None, max_examples=300)
def test_any_texts_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    texts = ["".join(text.splitlines()) for text, _ in rows]
    ids = [f"{text}{at}" for at, text in enumerate(texts)]
    tree = SemanticTree(
        ClassList.of(ids), tuple(name for _, name in rows), np.arange(len(rows)) - 1
    )
    path = tmp_path_factory.mktemp("csv") / "tree.csv"
    write_csv_tree(tree, path)
    assert same(read_csv_tree(path), tree)


def test_a_bare_carriage_return_stays_in_its_name(tmp_path: Path) -> None:
    tree = SemanticTree(ClassList.of(["a", "b"]), ("\r", "x\ry"), np.array([-1, 0]))
    write_csv_tree(tree, tmp_path / "tree.csv")
    assert read_csv_tree(tmp_path / "tree.csv").names == ("\r", "x\ry")


@pytest.mark.parametrize(
    ("class_id", "name", "what"),
    [("cat", "x" * 131_073, "name of class 'cat'"), ("é" * 131_073, "", "id of class 'é")],
)
def test_a_text_too_long_for_a_cell_is_refused_before_it_is_written(
    tmp_path: Path, class_id: str, name: str, what: str
) -> None:
    path = tmp_path / "tree.csv"
    tree = SemanticTree(ClassList.of([class_id]), (name,), np.array([-1]))
    with pytest.raises(TreeFileError, match=rf"{what}.* has 131,073 characters.* write \.json$"):
        write_csv_tree(tree, path)
    assert not path.exists()
    tree = SemanticTree(ClassList.of([class_id[:-1] or "c"]), (name[:-1],), np.array([-1]))
    write_csv_tree(tree, path)
    assert same(read_csv_tree(path), tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "child,parent\ncat,pet\n",
            "has no column 'id', only child, parent.*build-tree --taxonomy",
        ),
        ("id,name\ncat,Cat\n", "has no column 'parent'"),
        ("id,id,parent\n", "line 1 must name every column once"),
        ("\n", "line 1 must name every column once"),
        ("id,parent\n", "has no rows"),
        ("id,parent\ncat,pet\n", "the parent 'pet' of 'cat' is not one of the nodes"),
        ("id,parent\ncat,\npet\n", "line 3 has 1 cells, the header 2"),
        ('id,parent\ncat,"x"y\n', "is not valid CSV"),
        ("id,parent\ncat," + "x" * 200_000, "field limit.* quote unclosed"),
        ("id,parent\ncat,\ncat,\n", "duplicate class id 'cat'"),
        ("id,parent\n,\n", "an id must be one non-empty line"),
        ("id,parent\na,b\nb,a\n", "is its own ancestor"),
        ("id,parent,index\na,,one\n", "integers .*'one'"),
        ("id,parent,index\na,," + "9" * 5000 + "\n", "integers"),
        ("id,parent,index\na,,1\n", "'a' has the index 1"),
        ("id,parent,level\na,," + "9" * 30 + "\n", "is not a tree"),
        ("id,parent,level\na,,-1\n", "is not a tree"),
        ("id,parent,depth\na,,1\n", "'a' has the depth 1, but 0 by its parents"),
        ("id,parent,inner\na,,maybe\n", "inner is 'maybe', expected true or false"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(TreeFileError, match=message) as caught:
        read_csv_tree(path)
    assert str(caught.value).startswith(str(path))


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("id,parent\ncafé,\n".encode("latin-1"))
    with pytest.raises(TreeFileError, match=r"latin\.csv, line 2: not valid UTF-8"):
        read_csv_tree(path)

"""Edge lists and tables of columns as people have them; broken ones refused by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelkit.hierarchy import read_taxonomy
from tests.oracles.forests import Parents, forests
from tests.taxonomy_files import forest_rows, parents, refusal, written


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


PETS = {"cat": ("pet", "animal"), "animal": (), "pet": ("animal",)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", "child,parent\ncat,pet\ncat,animal\nanimal,\npet,animal\n"),
        ("swapped.csv", "parent,child\npet,cat\nanimal,cat\n,animal\nanimal,pet\n"),
        ("more.csv", "rank,Parent,Child\ns,pet,cat\ns,animal,cat\nk,,animal\ng,animal,pet\n"),
        ("id.csv", "id,parent\ncat,pet\ncat,animal\nanimal,\npet,animal\n"),
        ("tabs.tsv", "child\tparent\ncat\tpet\ncat\tanimal\nanimal\t\npet\tanimal\n"),
        ("tabs.txt", "child\tparent\ncat\tpet\ncat\tanimal\nanimal\t\npet\tanimal"),
        ("commas.txt", "#\tnote\nchild,parent\ncat,pet\ncat,animal\nanimal,\npet,animal"),
        ("crlf.csv", b"\xef\xbb\xbfchild,parent\r\ncat,pet\r\ncat,animal\r\nanimal,\r\npet,animal"),
        (
            "spaces.csv",
            ' child , parent\n# a, note\n\n cat ,"pet"\n,\ncat, animal\nanimal, \npet,animal\n',
        ),
        ("mac.csv", "child,parent\rcat,pet\rcat,animal\ranimal,\rpet,animal\r"),
    ],
)
def test_edge_lists_look_many_ways(name: str, content: str | bytes) -> None:
    taxonomy = read_taxonomy(written(name, content))
    assert parents(taxonomy) == PETS
    assert taxonomy.ids == ("cat", "animal", "pet")
    assert taxonomy.source["taxonomy"] == name
    assert read_taxonomy(name, title="pets").source["taxonomy"] == "pets"


def test_without_a_header_the_child_stands_first() -> None:
    path = written("pets.csv", "cat,animal\nanimal,\n")
    assert parents(read_taxonomy(path, form="edges")) == {"cat": ("animal",), "animal": ()}
    assert "two columns" in refusal(path)
    assert "state the form" in refusal(path)


def test_names_are_read_and_empty_ones_are_not() -> None:
    path = written("pets.csv", 'child,name,parent\nc1,"cat, tabby",a\nc1,,b\na,"say ""a""",\n')
    taxonomy = read_taxonomy(path)
    assert dict(zip(taxonomy.ids, taxonomy.names, strict=True)) == {
        "c1": "cat, tabby",
        "a": 'say "a"',
        "b": "b",
    }


EDGES = "child,parent\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (EDGES + "cat,animal\n,animal\n", "line 3 has no child"),
        (EDGES + "# x\ncat,cat\n", "line 3: 'cat' is its own parent"),
        (EDGES + "cat,\ndog,\ncat,pet\n", "'cat' has a parent on one of the lines 2 and 4"),
        (EDGES + "cat,pet\ncat,animal\ncat,\n", "on one of the lines 2 and 4"),
        (EDGES + "a,b\nb,c\nc,a\n", "cycle"),
        (EDGES + "a,b\nb\n", "line 3 has 1 cells, line 1 has 2"),
        (EDGES + "a,b\nb,c,d\n", "line 3 has 3 cells, line 1 has 2"),
        (EDGES + 'a,b\nb,"c\nd,e\n', "line 3: a quoted cell does not end on its line"),
        (EDGES + 'a,b\nb,"c\nd",e\n', "line 3: a quoted cell does not end on its line"),
        (EDGES + 'a,b\nb,"c"d\n', "line 3: ',' expected after '\"'"),
        (EDGES + "a,b\nb," + "c" * 200_000, "line 3: field larger than field limit"),
        (EDGES + "a,b\nb,\x00\n", r"line 3: control character '\x00'"),
        (EDGES + "a,b\u2028c\n", r"line 2: control character '\u2028'"),
        ((EDGES + "a,b\nb,caf\xe9\n").encode("latin-1"), "line 3: no text in UTF-8"),
        ("\ufeff".encode("utf-16") + EDGES.encode("utf-16"), "line 1: no text in UTF-8"),
        (EDGES, "holds no class"),
        ("", "is empty"),
        ("\ufeff\n  \n", "is empty"),
        ("# child,parent\n", "nothing but comments"),
        ("child;parent\na;b\n", "one column, separated by commas"),
        ("child,parent,name\na,b,x\na,c,y\n", "'a' is named 'x' on line 2 and 'y' on line 3"),
    ],
)  # fmt: skip
def test_a_broken_edge_list_is_refused_with_its_line(content: str | bytes, message: str) -> None:
    assert message in refusal(written("broken.csv", content))


def test_a_separator_in_doubt_is_refused() -> None:
    assert "line 2 has neither a tab nor a comma" in refusal(
        written("is_a.txt", "# x\nanimal cat\n")
    )
    assert "line 1 has both tabs and commas" in refusal(written("two.txt", "a,\tb\n"), form="edges")


def test_columns_that_no_header_explains_are_no_edges() -> None:
    for header in ("child,above\n", "cat,animal,x\n", "name,parent\n"):
        path = written("odd.csv", header + header.replace("child", "cat"))
        assert "which does not say which column holds the child" in refusal(path, form="edges")


def test_a_folder_or_a_missing_file_is_no_taxonomy() -> None:
    assert "is a folder" in refusal(Path())
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_taxonomy("nowhere.csv")


SPECIES = """\
kingdom,phylum,class,order,family,genus,species
Plantae,Tracheophyta,Magnoliopsida,Rosales,Moraceae,Morus,Morus alba
Animalia,Chordata,Aves,Suliformes,Sulidae,Morus,Morus bassanus
Animalia,Chordata,Aves,Suliformes,Sulidae,Sula,Sula sula
"""


def test_a_table_of_ranks_becomes_a_tree_of_its_species() -> None:
    """The genus Morus is a mulberry and a gannet: two nodes, told apart by their paths."""
    taxonomy = read_taxonomy(written("species.csv", SPECIES))
    mulberry = "Plantae/Tracheophyta/Magnoliopsida/Rosales/Moraceae/Morus"
    gannet = "Animalia/Chordata/Aves/Suliformes/Sulidae/Morus"
    assert taxonomy.parents_of("Morus alba") == (mulberry,)
    assert taxonomy.parents_of("Morus bassanus") == (gannet,)
    assert taxonomy.parents_of(gannet) == ("Sulidae",)
    assert taxonomy.parents_of("Animalia") == ()
    assert taxonomy.names[taxonomy.index[gannet]] == "Morus"
    assert taxonomy.ids[:3] == ("Morus alba", "Morus bassanus", "Sula sula")
    assert len(taxonomy.ids) == 3 + 6 + 6 + 1


def test_columns_are_picked_and_ordered_by_name() -> None:
    path = written("species.csv", SPECIES)
    coarse = read_taxonomy(path, columns=["kingdom", "class", "order"])
    assert parents(coarse) == {
        "Rosales": ("Magnoliopsida",),
        "Suliformes": ("Aves",),
        "Magnoliopsida": ("Plantae",),
        "Aves": ("Animalia",),
        "Plantae": (),
        "Animalia": (),
    }
    assert "has no column 'clade'; its header has: kingdom, phylum" in refusal(
        path, columns=["kingdom", "clade"]
    )
    two = read_taxonomy(written("two.csv", "b,a\nx,y\n"), form="columns", columns=("a", "b"))
    assert parents(two) == {"x": ("y",), "y": ()}


def test_an_empty_cell_skips_its_rank() -> None:
    table = "a,b,c\nx,,leaf\n,,lone\nx,y,other\n"
    assert parents(read_taxonomy(written("gaps.csv", table))) == {
        "leaf": ("x",),
        "lone": (),
        "other": ("y",),
        "x": (),
        "y": ("x",),
    }


def test_class_ids_keep_their_text_and_inner_nodes_give_way() -> None:
    table = "family,genus,species\nF,bison,bison\nmusk,musk,musk\nF,musk,ovibos\n"
    taxonomy = read_taxonomy(written("same.csv", table))
    assert parents(taxonomy) == {
        "bison": ("F/bison",),
        "musk": ("musk/musk",),
        "ovibos": ("F/musk",),
        "F": (),
        "F/bison": ("F",),
        "/musk": (),
        "musk/musk": ("/musk",),
        "F/musk": ("F",),
    }
    assert taxonomy.names[taxonomy.index["/musk"]] == "musk"


RANKS = "family,genus,species\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (RANKS + "F,G,s\nF,G,\n", "line 3 has no class: its column 'species' is empty"),
        (RANKS + "F,G,s\n#\nF,H,s\n", "'s' stands at two places (lines 2 and 4): F > G, and F > H"),
        (RANKS + "F,G,s\nF,H,t\nF,G,s\n", "'s' stands twice (lines 2 and 4)"),
        (RANKS + "F,G,s,\n", "line 2 has 4 cells, line 1 has 3"),
        (RANKS, "holds no class"),
        ("a,b,a\nF,G,s\n", "line 1 has 'a' twice in its header"),
        ("a,,b\nF,G,s\n", "line 1 has an empty name in its header"),
        ("a,b,c\nF/G,y,s\nF,y,t\nF,G/y,u\nH,G/y,v\n", "id 'F/G/y'"),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_with_its_lines(content: str, message: str) -> None:
    assert message in refusal(written("broken.csv", content))


@pytest.mark.parametrize("columns", [["a"], [], "ab", ["a", "a"]])
def test_columns_must_be_names(columns: Any) -> None:
    with pytest.raises(ValueError, match="two or more different names"):
        read_taxonomy("any.csv", columns=columns)


def test_columns_go_with_one_form_only() -> None:
    with pytest.raises(ValueError, match="not with 'edges'"):
        read_taxonomy("any.csv", form="edges", columns=["a", "b"])
    with pytest.raises(ValueError, match="expected one of edges, columns, nested"):
        read_taxonomy("any.csv", form="tree")  # pyright: ignore[reportArgumentType]


@given(forests(), st.sampled_from(["csv", "tsv"]), st.sampled_from([1, -1]))
@settings(deadline=None, max_examples=60)
def test_any_forest_comes_back_from_edges(
    tmp_path_factory: pytest.TempPathFactory, rows: Parents, suffix: str, order: int
) -> None:
    sign = "," if suffix == "csv" else "\t"
    pairs = [("child", "parent")]
    pairs += [(child, "".join(above)) for child, above in forest_rows(rows).items()]
    path = tmp_path_factory.mktemp("edges") / f"forest.{suffix}"
    path.write_text("".join(f"{sign.join(pair[::order])}\n" for pair in pairs))
    taxonomy = read_taxonomy(path)
    assert parents(taxonomy) == forest_rows(rows)
    assert taxonomy.ids == tuple(f"n{at}" for at in range(len(rows)))


CELLS = st.text("ab ", max_size=2).map(str.strip)
ROWS = st.tuples(CELLS, CELLS, CELLS, CELLS.filter(bool))


@given(st.lists(ROWS, min_size=1, max_size=8, unique_by=lambda row: row[-1]))
@settings(deadline=None, max_examples=200)
def test_in_any_table_each_class_lies_under_the_cells_before_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("columns") / "table.csv"
    path.write_text("".join(f"{','.join(row)}\n" for row in [("w", "x", "y", "z"), *rows]))
    taxonomy = read_taxonomy(path)
    assert taxonomy.ids[: len(rows)] == tuple(row[-1] for row in rows)
    for row in rows:
        at, names = taxonomy.index[row[-1]], list[str]()
        while at >= 0:
            names.append(taxonomy.names[at])
            at = int(taxonomy.parent[at])
        assert names == [cell for cell in reversed(row) if cell]

"""Tables of columns, coarse to fine: read, or refused with the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st

from labelkit.hierarchy import read_taxonomy
from tests.hierarchy.support.taxonomy_files import parents, refusal, written

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SPECIES = """\
kingdom,phylum,class,order,family,genus,species
Plantae,Tracheophyta,Magnoliopsida,Rosales,Moraceae,Morus,Morus alba
Animalia,Chordata,Aves,Suliformes,Sulidae,Morus,Morus bassanus
Animalia,Chordata,Aves,Suliformes,Sulidae,Sula,Sula sula
"""


def test_a_table_of_ranks_becomes_a_tree_of_its_species() -> None:
    """The genus Morus is a mulberry and a gannet: two nodes with different paths."""
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


def test_columns_are_selected_and_ordered_by_name() -> None:
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


def test_class_ids_keep_their_text_and_inner_nodes_get_their_path() -> None:
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
        (RANKS + "F,G,s\nF,G,\n", "line 3: the last column 'species' is empty. The header has no"),
        (RANKS + "F,G,s\n#\nF,G,\nF,H,\n", "line 4: the last column 'species' is empty"),
        (RANKS + "F,G,\nH,I,t\nF,J,\n", "for an edge list name two columns child and parent"),
        (RANKS + "F,G,s\n#\nF,H,s\n",
         "class 's' is at two places (lines 2 and 4): F > G, and F > H"),
        (RANKS + "F,G,s\nF,H,t\nF,G,s\n", "duplicate class 's' (lines 2 and 4)"),
        (RANKS + "F,G,s,\n", "line 2 has 4 cells, line 1 has 3"),
        (RANKS, "contains no classes"),
        ("a,b,a\nF,G,s\n", "line 1 has the duplicate name 'a' in its header"),
        ("a,,b\nF,G,s\n", "line 1 has an empty name in its header"),
        ("a,b,c\nF/G,y,s\nF,y,t\nF,G/y,u\nH,G/y,v\n", "id 'F/G/y'"),
    ],
)  # fmt: skip
def test_an_invalid_table_is_refused_with_its_lines(content: str, message: str) -> None:
    assert message in refusal(written("broken.csv", content))


@pytest.mark.parametrize(
    ("content", "options", "cell", "lines"),
    [
        (SPECIES.split("\n", 1)[1] + "Plantae,T,M,R,M,Ficus,x\n", {}, "Plantae", (1, 4)),
        ("# mine\nA,b,c\n\nB,d,e\nA,b,f\n", {}, "A", (2, 5)),
        ("a,dog,c\nb,dog,d\n", {"form": "columns"}, "dog", (1, 2)),
        ("n,a,dog,c\nn,b,dog,d\n", {"columns": ["dog", "c"]}, "dog", (1, 2)),
    ],
)
def test_a_table_without_a_header_is_refused(
    content: str, options: dict[str, Any], cell: str, lines: tuple[int, int]
) -> None:
    """Its first row would be taken for the header, and a class would be lost."""
    path = written("bare.csv", content)
    assert refusal(path, **options).endswith(
        f"line {lines[0]} looks like data, since {cell!r} is repeated in the same column on line "
        f"{lines[1]}: add a header with the ranks, or rename that column"
    )


def test_a_column_name_may_occur_in_other_columns() -> None:
    path = written("free.csv", "rank,genus,species\nrank,Sula,genus\nx,Sula,b\n")
    read = read_taxonomy(path, columns=["genus", "species"])
    assert read.parents_of("genus") == ("Sula",)


def test_an_empty_class_with_an_explicit_form_has_a_short_message() -> None:
    path = written("gap.csv", RANKS + "F,G,s\nF,G,\n")
    for options in ({"form": "columns"}, {"columns": ["family", "species"]}):
        message = refusal(path, **options)
        assert message.endswith("line 3: the last column 'species' is empty. Fill it in, or remove "
                                "the line")  # fmt: skip


NUMBERED = "id,kingdom,genus,name\n1,A,Sula,Sula sula\n2,A,Morus,Morus alba\n"


def test_a_first_column_of_running_numbers_is_refused() -> None:
    """Every row would become a separate tree; that needs an explicit form."""
    path = written("numbered.csv", NUMBERED + "3,A,Sula,Sula nebouxii\n")
    assert refusal(path).endswith(
        "column 'id' differs in every row, so it is not a coarse rank: choose the columns with "
        "--columns kingdom,genus,name, or pass the form (--form columns)"
    )
    assert read_taxonomy(path, columns=["kingdom", "name"]).parents_of("Sula sula") == ("A",)
    assert read_taxonomy(path, form="columns").parents_of("3/A") == ("3",)
    assert read_taxonomy(written("few.csv", NUMBERED)).parents_of("Morus") == ("2/A",)
    again = read_taxonomy(written("again.csv", NUMBERED + "1,A,Sula,b\n"))
    assert again.parents_of("Sula") == ("1/A",)


@pytest.mark.parametrize("columns", [["a"], [], "ab", ["a", "a"]])
def test_columns_must_be_names(columns: Any) -> None:
    with pytest.raises(ValueError, match="two or more different names"):
        read_taxonomy("any.csv", columns=columns)


def test_columns_go_with_one_form_only() -> None:
    with pytest.raises(ValueError, match="not with 'edges'"):
        read_taxonomy("any.csv", form="edges", columns=["a", "b"])
    with pytest.raises(ValueError, match="expected one of edges, columns, nested"):
        read_taxonomy("any.csv", form="tree")  # pyright: ignore[reportArgumentType]


CELLS = st.text("ab ", max_size=2).map(str.strip)
ROWS = st.tuples(CELLS, CELLS, CELLS, CELLS.filter(bool))


@given(st.lists(ROWS, min_size=1, max_size=8, unique_by=lambda row: row[-1]))
@settings(deadline=None, max_examples=200)
def test_in_any_table_each_class_is_below_the_cells_to_its_left(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("columns") / "table.csv"
    path.write_text("".join(f"{','.join(row)}\n" for row in [("w", "x", "y", "z"), *rows]))
    taxonomy = read_taxonomy(path, form="columns")
    assert taxonomy.ids[: len(rows)] == tuple(row[-1] for row in rows)
    for row in rows:
        at, names = taxonomy.index[row[-1]], list[str]()
        while at >= 0:
            names.append(taxonomy.names[at])
            at = int(taxonomy.parent[at])
        assert names == [cell for cell in reversed(row) if cell]

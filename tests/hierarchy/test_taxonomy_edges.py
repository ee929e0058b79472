"""Edge lists: read in every layout, or refused with the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from labelkit.hierarchy import read_taxonomy
from tests.hierarchy.support.taxonomy_files import forest_rows, parents, refusal, written
from tests.oracles.forests import Parents, forests


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
        ("excel.csv", "child;parent\ncat;pet\ncat;animal\nanimal;\npet;animal\n"),
        ("excel.txt", "id;Parent-Class\ncat;pet\ncat;animal\nanimal;\npet;animal\n"),
        ("sql.csv", "id,PARENT_ID\ncat,pet\ncat,animal\nanimal,\npet,animal\n"),
        ("camel.csv", "parentId,childId\npet,cat\nanimal,cat\n,animal\nanimal,pet\n"),
        ("by_name.csv", "id,Parent Name,name\n1,pet,cat\n1,animal,cat\n2,,animal\n3,animal,pet\n"),
        ("both.csv", "id,parent name,parent-id\ncat,x,pet\ncat,x,animal\nanimal,,\npet,x,animal\n"),
    ],
)
def test_all_layouts_of_edge_lists_are_read(name: str, content: str | bytes) -> None:
    taxonomy = read_taxonomy(written(name, content))
    assert parents(taxonomy) == PETS
    assert taxonomy.ids == ("cat", "animal", "pet")
    assert taxonomy.source["taxonomy"] == name
    assert read_taxonomy(name, title="pets").source["taxonomy"] == "pets"


def test_without_a_header_the_child_comes_first() -> None:
    path = written("pets.csv", "cat,animal\nanimal,\n")
    assert parents(read_taxonomy(path, form="edges")) == {"cat": ("animal",), "animal": ()}
    assert "two columns" in refusal(path)
    assert "pass the form" in refusal(path)


def test_names_are_read_and_empty_ones_are_not() -> None:
    path = written("pets.csv", 'child,name,parent\nc1,"cat, tabby",a\nc1,,b\na,"say ""a""",\n')
    taxonomy = read_taxonomy(path)
    assert dict(zip(taxonomy.ids, taxonomy.names, strict=True)) == {
        "c1": "cat, tabby",
        "a": 'say "a"',
        "b": "b",
    }


@pytest.mark.parametrize(
    ("name", "content", "form", "read_as"),
    [
        ("a.csv", "child,parent\ncat,pet\n", None, "edges: child, parent"),
        ("a.csv", "Parent_ID,x,ID\npet,y,cat\n", None, "edges: child ID, parent Parent_ID"),
        ("a.csv", "id,parent,name\nc,pet,cat\n", None, "edges: child id, parent, name"),
        ("a.tsv", "sku\tcategory\nc\t\n", "edges",
         "edges without a header: the first row is child sku, parent category"),
        ("a.csv", "k,g,s\na,b,c\n", None, "columns: k > g > s"),
        ("a.csv", "1,2,3,4,5,6,7,8,9\na,b,c,d,e,f,g,h,i\n", "columns",
         "columns: 1 > 2 > 3 > ... > 9"),
        ("a.json", {"a": ["b"]}, None, "nested: labels within labels"),
        ("a.json", ["x", {"id": "a"}], None, "nested: nodes with children"),
        ("a.json", [{"LabelName": "a"}, "x"], None, "nested: Open Images"),
    ],
)  # fmt: skip
def test_the_source_says_how_a_file_was_read(
    name: str, content: Any, form: Any, read_as: str
) -> None:
    taxonomy = read_taxonomy(written(name, content), form=form)
    assert taxonomy.source["read_as"] == read_as
    assert taxonomy.with_rule("longest").source["read_as"] == read_as


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
        ((EDGES + "a,b\nb,caf\xe9\n").encode("latin-1"), "line 3: not valid UTF-8"),
        (EDGES.encode("utf-16"), "looks like UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)"),
        (EDGES.encode("utf-16-le"), "looks like UTF-16"),
        (EDGES.encode("utf-16-be"), "looks like UTF-16"),
        (EDGES, "contains no classes"),
        ("", "is empty"),
        ("\ufeff\n  \n", "is empty"),
        ("# child,parent\n", "contains only comments"),
        ('"child;parent"\na;b\n', "one column, with commas as separators"),
        ('"child;parent"\na;b\n', "separated by semicolons? Save with commas or tabs"),
        ("child;parent;a, b\na;b;c\n", "separated by semicolons? Save with commas or tabs"),
        ("child;a, b\na;b, c\n", "separated by semicolons? Save with commas or tabs"),
        ("child;parent\na;b;c\n", "line 2 has 3 cells, line 1 has 2"),
        ("child,parent,name\na,b,x\na,c,y\n", "'a' is named 'x' on line 2 and 'y' on line 3"),
    ],
)  # fmt: skip
def test_an_invalid_edge_list_is_refused_with_its_line(content: str | bytes, message: str) -> None:
    assert message in refusal(written("broken.csv", content))


def test_an_ambiguous_separator_is_refused() -> None:
    assert "line 2 has neither a tab nor a comma" in refusal(
        written("is_a.txt", "# x\nanimal wild cat\n")
    )
    assert "line 1 has both tabs and commas" in refusal(written("two.txt", "a,\tb\n"), form="edges")


# A corgi and a Samoyed below spitz or dog, and a node that WordNet lacks, as in BREEDS.
WNIDS = [
    ("n02084071", "n02112826"),
    ("n02084071", "dummy1"),
    ("dummy1", "n02111277"),
    ("n02083346", "n02084071"),
    ("n01317541", "n02084071"),
    ("n02111626", "n02111889"),
]
LETTERS = [("animal", "cat"), ("animal", "dog"), ("cat", "tabby"), ("cat", "manx")]


def spaced(pairs: list[tuple[str, str]], sign: str = " ") -> str:
    return "".join(f"{sign.join(pair)}\n" for pair in pairs)


@pytest.mark.parametrize("pairs", [WNIDS, WNIDS[:1], LETTERS], ids=["graph", "one edge", "tree"])
def test_the_order_of_words_between_spaces_is_detected(pairs: list[tuple[str, str]]) -> None:
    """BREEDS' class_hierarchy.txt and WordNet's is_a.txt have the parent first."""
    above: dict[str, tuple[str, ...]] = {}
    for parent, child in pairs:
        above[child] = (*above.get(child, ()), parent)
    swapped = [(child, parent) for parent, child in pairs]
    reason = "as in WordNet" if pairs[0][0][0] == "n" else "each child has one parent"
    for content in (
        spaced(pairs),
        spaced(swapped),
        spaced(pairs, "   "),
        "# x\n\n" + spaced(pairs),
    ):
        taxonomy = read_taxonomy(written("hierarchy.txt", content))
        assert {node: up for node, up in parents(taxonomy).items() if up} == above
        assert taxonomy.source["read_as"].endswith(f"({reason})")
    assert taxonomy.source["read_as"].startswith(
        f"edges without a header: the first row is parent {pairs[0][0]}, child {pairs[0][1]}"
    )


BOTH = ["a b\nb c\n", "a b\na c\nd c\n"]


@pytest.mark.parametrize("content", BOTH, ids=["a chain", "repetition in both"])
def test_an_ambiguous_order_is_refused_until_it_is_given(content: str) -> None:
    path = written("hierarchy.txt", content)
    message = refusal(path)
    assert "may have the parent or the child first: line 1 is 'a', 'b'" in message
    assert "--edges parent-child or --edges child-parent" in message
    assert parents(read_taxonomy(path, edges="parent-child"))["b"] == ("a",)
    assert parents(read_taxonomy(path, edges="child-parent"))["a"][0] == "b"


def test_a_given_order_holds_for_every_delimiter_and_decides_ambiguous_headers() -> None:
    for name, content in (
        ("a.csv", "a,b\nb,c\n"),
        ("a.tsv", "a\tb\nb\tc\n"),
        ("b.csv", "from,to\na,b\nb,c\n"),
        ("a.txt", "Source Target\na b\nb c\n"),
        ("c.csv", "parent,child\na,b\nb,c\n"),
    ):
        taxonomy = read_taxonomy(written(name, content), edges="parent-child")
        assert parents(taxonomy) == {"b": ("a",), "c": ("b",), "a": ()}
    assert "line 1 names the columns in the order parent-child, but the order given is" in refusal(
        Path("c.csv"), edges="child-parent"
    )


def test_edges_upside_down_without_a_header_are_refused() -> None:
    """By default the child comes first in tables with commas or tabs."""
    for rows in (WNIDS[:1], [("root", f"class {at}") for at in range(10)], [("", "a"), ("a", "b")]):
        path = written("upside_down.csv", spaced(rows, ","))
        message = refusal(path, form="edges")
        assert "line 1 seems to be a parent" in message
        assert "--edges parent-child" in message
        child = rows[0][1]
        assert parents(read_taxonomy(path, edges="parent-child"))[child] == tuple(
            filter(None, rows[0][:1])
        )
    small = written("small.csv", "cat,pet\ncat,animal\n")
    assert parents(read_taxonomy(small, form="edges"))["cat"] == ("pet", "animal")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a b\na c d\n", "line 2 has 3 words, but the lines before have two"),
        ("a.txt", "# x\n\na b\nc\n", "line 4 has 1 words"),
        ("a.txt", "a b\nb\tc\td\n", "line 2 has 3 words"),
        ("a.csv", "a b\na c\n", "or .txt if they are spaces"),
        ("a.txt", "a b\na a\na c\n", "line 2: 'a' is its own parent"),
    ],
)
def test_invalid_lines_between_spaces_are_refused(name: str, content: str, message: str) -> None:
    assert message in refusal(written(name, content))


def test_an_order_goes_only_with_edges() -> None:
    path = written("a.csv", "k,s\na,b\n")
    for options in ({"edges": "up"}, {"edges": "child-parent", "form": "columns"},
                    {"edges": "child-parent", "columns": ["k", "s"]}):  # fmt: skip
        with pytest.raises(ValueError, match="edges"):
            read_taxonomy(path, **options)  # type: ignore[arg-type]


def test_columns_without_a_clear_header_are_refused() -> None:
    for header in ("child,above\n", "cat,animal,x\n", "below,Parent ID\n"):
        path = written("odd.csv", header + header.replace("child", "cat"))
        assert "which does not say which column is the child" in refusal(path, form="edges")


@pytest.mark.parametrize(
    "heading",
    [
        "from,to", "Target,Source", "hyponym,hypernym", "SuperClass,sub class", "source,target,n",
        "sub-class,rank,Super_Class",
    ],
)  # fmt: skip
def test_an_ambiguous_header_is_refused(heading: str) -> None:
    """Read as data it would add a class named "from", and its direction is unknown."""
    row = heading.translate(str.maketrans("aeiou", "xxxxx"))
    message = refusal(written("odd.csv", f"{heading}\n{row}\n"), form="edges")
    assert "line 1 is a header" in message
    assert message.endswith("name the columns child and parent")


def test_one_word_of_an_ambiguous_header_may_be_a_class() -> None:
    path = written("words.csv", "source,water\ntarget,plan\n")
    assert parents(read_taxonomy(path, form="edges"))["source"] == ("water",)


def test_a_folder_or_a_missing_file_is_refused() -> None:
    assert "is a folder" in refusal(Path())
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_taxonomy("nowhere.csv")


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

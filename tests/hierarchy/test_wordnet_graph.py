"""The packed graph equals WordNet's data.noun, and ImageNet's table matches it."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from labelkit.errors import TaxonomyError
from labelkit.hierarchy import ClassList, class_names
from labelkit.hierarchy.wordnet.copies import read_data_noun
from labelkit.hierarchy.wordnet.graph import DATA, ParentTable, load_graph, packaged_graph
from scripts import make_noun_graph
from tests.oracles.wordnet_parents import DICT_FOLDER, hypernyms_by_wnid, needs_wordnet

PACKED = DATA / "noun_graph.bin"


@needs_wordnet
def test_wordnet_gives_the_shipped_bytes() -> None:
    header, content = make_noun_graph.pack(read_data_noun(DICT_FOLDER / "data.noun"))
    shipped_header, _, packed = PACKED.read_bytes().partition(b"\n")
    assert header == shipped_header + b"\n"
    assert content == zlib.decompress(packed)
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng compresses to other bytes
        assert zlib.compress(content, 9) == packed


@needs_wordnet
def test_hypernyms_keep_the_order_of_their_line() -> None:
    graph = packaged_graph()
    expected = hypernyms_by_wnid()
    assert list(graph.ids) == list(expected)
    assert {wnid: list(graph.hypernyms(wnid)) for wnid in graph.ids} == expected


def test_instance_hypernyms_are_separate() -> None:
    """Einstein (n10954498) is an instance of a physicist, and has no hypernym."""
    graph = packaged_graph()
    at = graph.index["n10954498"]
    instance_of = graph.instance_hypernym[graph.instance_start[at] : graph.instance_start[at + 1]]
    assert graph.lemmas[at] == "Einstein"
    assert graph.hypernyms("n10954498") == ()
    assert [graph.lemmas[above] for above in instance_of] == ["physicist"]


def test_the_graph_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        packaged_graph().hypernym[0] = 1


def test_every_parent_of_the_table_is_a_hypernym_but_not_the_first() -> None:
    table, graph = ParentTable.load(), packaged_graph()
    assert len(table.parent_of) == 672
    assert table.not_in(graph) == []
    assert not [
        child for child, parent in table.parent_of.items() if graph.hypernyms(child)[0] == parent
    ]


def test_parents_that_are_not_hypernyms_are_found(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("# a comment\nchild\tparent\nn02084071\tn00001740\nn99999999\tn00001740\n")
    strangers = ParentTable.load(path).not_in(packaged_graph())
    assert strangers == [("n02084071", "n00001740"), ("n99999999", "n00001740")]


def test_the_last_line_for_a_child_counts(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\nc\td\na\te\n")
    assert ParentTable.load(path).parent_of == {"a": "e", "c": "d"}


def test_a_table_line_without_two_columns_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\nc d\n")
    with pytest.raises(TaxonomyError, match="line 2"):
        ParentTable.load(path)


def test_names_are_first_lemmas_with_underscores_or_the_id() -> None:
    classes = ClassList.of(["n01484850", "my cat", "n01440764"])
    assert class_names(classes) == ("great_white_shark", "my cat", "tench")


HEADER, _, STREAM = PACKED.read_bytes().partition(b"\n")
CONTENT = zlib.decompress(STREAM)
FIRST_POINTER = 2 * 82_115
WILD = CONTENT[:FIRST_POINTER] + b"\xff\xff\xff\x00" + CONTENT[FIRST_POINTER + 4 :]
DAMAGED = {
    "empty": b"",
    "another file": b"PK\x03\x04 not a graph",
    "a later version": HEADER.replace(b"graph 1 ", b"graph 2 ") + b"\n" + STREAM,
    "cut short": HEADER + b"\n" + STREAM[:-1000],
    "one bit flipped": HEADER
    + b"\n"
    + STREAM[:400_000]
    + bytes([STREAM[400_000] ^ 1])
    + STREAM[400_001:],
    "another length": HEADER.replace(b" 82115 ", b" 82114 ") + b"\n" + STREAM,
    "a line too many": HEADER + b"\n" + zlib.compress(CONTENT + b"\nx", 1),
    "a pointer to no synset": HEADER + b"\n" + zlib.compress(WILD, 1),
    "no numbers": b"labelkit-noun-graph 1 x y z\n" + STREAM,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_graph_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "noun_graph.bin"
    path.write_bytes(content)
    with pytest.raises(TaxonomyError, match=r"noun_graph\.bin.*reinstall labelkit"):
        load_graph(path)


def test_a_copy_reads_as_the_original(tmp_path: Path) -> None:
    copy = shutil.copy(PACKED, tmp_path / "copy.bin")
    graph = load_graph(Path(copy))
    assert graph.ids == packaged_graph().ids
    assert np.array_equal(graph.hypernym, packaged_graph().hypernym)

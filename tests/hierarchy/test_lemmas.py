"""The packed lemmas equal WordNet's index.noun, and match the synsets of data.noun."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.wordnet.graph import DATA, packaged_graph
from labelkit.hierarchy.wordnet.names import load_lemmas, packaged_lemmas
from scripts import make_noun_lemmas
from tests.oracles.wordnet_parents import DICT_FOLDER, needs_wordnet

if TYPE_CHECKING:
    from pathlib import Path

PACKED = DATA / "noun_lemmas.bin"


@needs_wordnet
def test_wordnet_gives_the_shipped_bytes() -> None:
    header, content = make_noun_lemmas.pack(DICT_FOLDER)
    shipped_header, _, packed = PACKED.read_bytes().partition(b"\n")
    assert header == shipped_header + b"\n"
    assert content == zlib.decompress(packed)
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng compresses to other bytes
        assert zlib.compress(content, 9) == packed


@needs_wordnet
def test_every_lemma_has_the_synsets_whose_words_it_is_among() -> None:
    """An oracle from the other file: data.noun lists each synset's words."""
    expected: dict[str, set[str]] = {}
    for line in (DICT_FOLDER / "data.noun").read_text(encoding="ascii").splitlines():
        if not line.startswith("  "):
            fields = line.split(" ")
            for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
                expected.setdefault(word.lower(), set()).add(f"n{fields[0]}")
    found, ids = packaged_lemmas(), packaged_graph().ids
    senses = {lemma: found.senses(at) for at, lemma in enumerate(found.lemmas)}
    assert {lemma: {ids[at] for at in row} for lemma, row in senses.items()} == expected
    assert sum(map(len, senses.values())) == sum(map(len, expected.values())) == 146_312


def test_senses_are_in_the_order_of_wordnet() -> None:
    found, graph = packaged_lemmas(), packaged_graph()
    mouse = [graph.ids[at] for at in found.senses(found.lemmas.index("mouse"))]
    assert mouse == ["n02330245", "n14289387", "n10335563", "n03793489"]  # rodent, bruise ...


def test_the_lemmas_are_sorted_and_the_plurals_are_there() -> None:
    found = packaged_lemmas()
    assert list(found.lemmas) == sorted(found.lemmas)
    assert found.singulars["mice"] == ("mouse",)
    assert found.singulars["axes"] == ("ax", "axis")
    assert found.singulars["involucra"] == ("involucre", "involucrum")  # on two lines of noun.exc
    assert all(found.singulars.values())


@pytest.mark.parametrize(
    ("name", "lemmas"),
    [
        ("ICE cream", ["ice_cream"]),
        ("Ice-Cream", ["ice_cream"]),
        (" ice__cream ", ["ice_cream"]),
        ("T shirt", ["t-shirt"]),
        ("cup cake", ["cupcake"]),
        ("day bed", ["day_bed"]),  # the day-bed for patients
        ("daybed", ["daybed"]),
        ("Jack O'Lantern", ["jack-o'-lantern", "jack-o-lantern"]),
        ("Crème brûlée", ["creme_brulee"]),
        ("no such thing", []),
        ("...", []),
        ("", []),
    ],
)
def test_case_separators_and_accents_are_ignored(name: str, lemmas: list[str]) -> None:
    found = packaged_lemmas()
    assert [found.lemmas[at] for at in found.spelled(name)] == lemmas


HEADER, _, STREAM = PACKED.read_bytes().partition(b"\n")
CONTENT = zlib.decompress(STREAM)
FIRST_SENSE = 117_798
WILD = CONTENT[:FIRST_SENSE] + b"\xff\xff\xff\x00" + CONTENT[FIRST_SENSE + 4 :]
DAMAGED = {
    "empty": b"",
    "the graph": (DATA / "noun_graph.bin").read_bytes(),
    "a later version": HEADER.replace(b"lemmas 1 ", b"lemmas 2 ") + b"\n" + STREAM,
    "cut short": HEADER + b"\n" + STREAM[:-1000],
    "another length": HEADER.replace(b" 117798 ", b" 117797 ") + b"\n" + STREAM,
    "a number less": HEADER.rpartition(b" ")[0] + b"\n" + STREAM,
    "a line too many": HEADER + b"\n" + zlib.compress(CONTENT + b"\nx y", 1),
    "a sense of no synset": HEADER + b"\n" + zlib.compress(WILD, 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_lemmas_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "noun_lemmas.bin"
    path.write_bytes(content)
    with pytest.raises(TaxonomyError, match=r"noun_lemmas\.bin.*reinstall labelkit"):
        load_lemmas(path)

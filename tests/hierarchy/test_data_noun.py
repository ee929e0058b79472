"""A ``data.noun`` file reads as it was written, or is refused with its name and line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from labelkit.errors import TaxonomyError
from labelkit.hierarchy import open_wordnet
from tests.hierarchy.support.small_wordnet import (
    ID,
    LICENCE,
    LINE,
    SMALL,
    TEXT,
    data_noun,
    same,
    write_dict_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.hierarchy.wordnet.graph import SynsetGraph


def named(graph: SynsetGraph) -> dict[str, list[str]]:
    """First lemma -> hypernyms, by first lemma, in their order."""
    lemma = dict(zip(graph.ids, graph.lemmas, strict=True))
    return {lemma[wnid]: [lemma[above] for above in graph.hypernyms(wnid)] for wnid in graph.ids}


def test_a_small_dictionary_reads_as_it_was_written(tmp_path: Path) -> None:
    graph = open_wordnet(write_dict_folder(tmp_path / "own"))
    assert named(graph) == {
        lemmas.split()[0]: [name for name in above if not name.startswith("@i")]
        for lemmas, (above, _) in SMALL.items()
    }
    instance_of = np.diff(graph.instance_start)
    assert [graph.lemmas[at] for at in instance_of.nonzero()[0]] == ["Felix", "Laika"]
    assert [graph.lemmas[at] for at in graph.instance_hypernym] == ["cat", "dog"]
    assert graph.version == "3.0"


@pytest.mark.parametrize("version", ["3.0", "3.1", "2021", "unknown"])
def test_the_version_comes_from_the_licence(version: str, tmp_path: Path) -> None:
    folder = write_dict_folder(tmp_path / "own", data_noun(version=version).encode())
    assert open_wordnet(folder).version == version.replace("unknown", "")


def test_line_endings_and_trailing_blank_lines_are_ignored(tmp_path: Path) -> None:
    """CRLF moves every line, so byte offsets no longer equal the ids: only first fields count."""
    text = data_noun()
    plain = open_wordnet(write_dict_folder(tmp_path / "plain", text.encode()))
    for at, other in enumerate([text.replace("\n", "\r\n"), text + "\n", text + "\r\n\r\n"]):
        graph = open_wordnet(write_dict_folder(tmp_path / str(at), other.encode()))
        assert same(graph, plain)


def edited(old: str, new: str) -> bytes:
    text = data_noun()
    assert old in text
    return text.replace(old, new, 1).encode()


DAMAGED = {
    "torn within a gloss": (
        TEXT[:-8].encode(),
        rf"line {LINE['Laika']}: the file is truncated here",
    ),
    "torn within pointers": (
        TEXT[: TEXT.index(" | it does")].encode(),
        "the file is truncated here",
    ),
    "torn after a line": (
        "".join(TEXT.splitlines(keepends=True)[:-4]).encode(),
        rf"line {LINE['plant']}: n{ID['plant']} points to n{ID['herb']}, which is not",
    ),
    "a line cut short": (
        edited(" n 0000 | a small cat", "\n"),
        rf"line {LINE['kitten']}: not a synset of data.noun",
    ),
    "a pointer less than said": (
        edited(f" @ {ID['cat']} n 0000 | a small", " | a small"),
        rf"line {LINE['kitten']}: not a synset .* do not match",
    ),
    "no gloss": (edited(" | a small cat", ""), rf"line {LINE['kitten']}: not a synset"),
    "letters for numbers": (
        edited(" n 01 herb", " n zz herb"),
        rf"line {LINE['herb']}: not a synset",
    ),
    "a short id": (edited(f"\n{ID['herb']} ", "\n123 "), rf"line {LINE['herb']}: not a synset"),
    "a blank line between": (edited("\n", "\n\n"), r"line 2: not a synset"),
    "an id twice": (
        edited(f"\n{ID['herb']} ", f"\n{ID['pet']} "),
        rf"line {LINE['herb']}: n{ID['pet']} is also on line {LINE['pet']}",
    ),
    "a pointer to nowhere": (
        edited(f"@ {ID['cat']} n 0000 | a small", "@ 99999999 n 0000 | a small"),
        rf"line {LINE['kitten']}: n{ID['kitten']} points to n99999999, which is not in the file",
    ),
    "a circle": (
        edited(
            f"@ {ID['pet']} n 0000 @ {ID['animal']}", f"@ {ID['kitten']} n 0000 @ {ID['animal']}"
        ),
        (
            rf"line {LINE['cat']}: n{ID['cat']} is its own hypernym.* "
            rf"n{ID['cat']} > n{ID['kitten']} > n{ID['cat']}"
        ),
    ),
    "a synset above itself": (
        edited(f"@ {ID['thing']} n 0000 ~ {ID['herb']}", f"@ {ID['plant']} n 0000 ~ {ID['herb']}"),
        rf"line {LINE['plant']}: .* n{ID['plant']} > n{ID['plant']}",
    ),
    "bytes that are not text": (
        data_noun().encode().replace(b"it barks", b"it \xff\xfe"),
        rf"line {LINE['dog']}: not valid UTF-8",
    ),
    "verbs": (data_noun().replace(" 03 n ", " 03 v ").encode(), "line 3: not a synset"),
    "empty": (b"", "contains no synsets"),
    "a licence only": (LICENCE.encode(), "contains no synsets"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused_by_name_and_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    folder = write_dict_folder(tmp_path / "own", content)
    with pytest.raises(TaxonomyError, match=rf"data\.noun.*{message}.*Use an intact copy"):
        open_wordnet(folder)

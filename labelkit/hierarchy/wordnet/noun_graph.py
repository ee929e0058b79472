"""WordNet 3.0's nouns as packed with labelkit: ids, hypernym pointers, first lemmas.

``scripts/make_noun_graph.py`` writes the file from WordNet's own ``data.noun``. It is one line of
ASCII, ``labelkit-noun-graph 1 N H I``, and a zlib stream that holds, one after the other:

    N x uint8    hypernyms (``@``) per synset
    N x uint8    instance hypernyms (``@i``) per synset
    H x uint32   hypernyms as synset positions, in the order of ``data.noun`` (little endian)
    I x uint32   instance hypernyms, likewise
    2N lines     the ids, then the first lemmas (UTF-8, joined by line feeds)
"""

# N synsets, H hypernym pointers, I instance hypernym pointers

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.arrays import IntArray, read_only, row_starts
from labelkit.hierarchy.wordnet.packed_file import read_packed, split_content

if TYPE_CHECKING:
    from labelkit.hierarchy.class_list import ClassList

MAGIC = b"labelkit-noun-graph"
VERSION = 1
WORDNET_VERSION = "3.0"
DATA = Path(__file__).with_name("data")


@dataclass(frozen=True, eq=False)
class SynsetGraph:
    """Noun synsets in WordNet's order, with their hypernyms in the order of ``data.noun``.

    Synset ``i`` has the hypernyms ``hypernym[hypernym_start[i]:hypernym_start[i + 1]]``, and the
    instance hypernyms (of names such as Einstein, which are no classes) likewise.
    """

    ids: tuple[str, ...]
    lemmas: tuple[str, ...]
    hypernym_start: IntArray
    hypernym: IntArray
    instance_start: IntArray
    instance_hypernym: IntArray
    version: str
    """WordNet's version, such as ``3.0``; empty where a copy's licence does not name it."""

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Wnid -> position."""
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def hypernyms(self, wnid: str) -> tuple[str, ...]:
        """The hypernyms of a noun in WordNet's order; none for a wnid that is not in the graph."""
        at = self.index.get(wnid)
        if at is None:
            return ()
        row = self.hypernym[self.hypernym_start[at] : self.hypernym_start[at + 1]]
        return tuple(self.ids[above] for above in row)


@functools.cache
def noun_graph() -> SynsetGraph:
    """The packaged graph of WordNet 3.0, read once per process."""
    return read_noun_graph(DATA / "noun_graph.bin")


def read_noun_graph(path: Path) -> SynsetGraph:
    """Read a packed graph.

    Raises:
        TaxonomyError: the file is damaged or of another version.
    """
    return read_packed(path, MAGIC, VERSION, _unpack)


def _unpack(content: bytes, numbers: list[int]) -> SynsetGraph:
    synsets, hypernyms, instances = numbers
    sections = (("u1", synsets), ("u1", synsets), ("<u4", hypernyms), ("<u4", instances))
    arrays, lines = split_content(content, sections)
    starts = row_starts(arrays[0]), row_starts(arrays[1])
    found = len(lines), int(starts[0][-1]), int(starts[1][-1])
    if found != (2 * synsets, hypernyms, instances):
        raise ValueError(f"it holds {found} lines and pointers")
    if max(arrays[2].max(initial=0), arrays[3].max(initial=0)) >= synsets:
        raise ValueError("a pointer leads outside")
    return SynsetGraph(
        ids=tuple(lines[:synsets]),
        lemmas=tuple(lines[synsets:]),
        hypernym_start=starts[0],
        hypernym=read_only(arrays[2]),
        instance_start=starts[1],
        instance_hypernym=read_only(arrays[3]),
        version=WORDNET_VERSION,
    )


@dataclass(frozen=True)
class ParentTable:
    """ImageNet's one parent for each noun where it is not the first hypernym."""

    parent_of: dict[str, str]

    @classmethod
    def read(cls, path: Path = DATA / "imagenet_parent.tsv") -> ParentTable:
        """Read tab-separated child and parent; the last line for a child counts.

        Lines that begin with ``#`` and the heading ``child parent`` are skipped.

        Raises:
            TaxonomyError: a line has not two columns.
        """
        parent_of: dict[str, str] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            columns = line.split("\t")
            if line.startswith("#") or columns == ["child", "parent"]:
                continue
            if len(columns) != 2:
                raise TaxonomyError(f"{path.name}, line {number}: not 'child TAB parent': {line!r}")
            parent_of[columns[0]] = columns[1]
        return cls(parent_of)

    @property
    def digest(self) -> str:
        """SHA-256 of the rows, sorted by child, as tab-separated lines."""
        rows = (f"{child}\t{parent}" for child, parent in sorted(self.parent_of.items()))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def not_in(self, graph: SynsetGraph) -> list[tuple[str, str]]:
        """The rows whose parent is no hypernym of the child in ``graph``: none for a good table."""
        return [
            (child, parent)
            for child, parent in self.parent_of.items()
            if parent not in graph.hypernyms(child)
        ]


def class_names(classes: ClassList) -> tuple[str, ...]:
    """Each class's first WordNet lemma, as ``great_white_shark``; its id where it is no wnid."""
    graph = noun_graph()
    index = graph.index
    return tuple(
        graph.lemmas[index[class_id]] if class_id in index else class_id for class_id in classes
    )

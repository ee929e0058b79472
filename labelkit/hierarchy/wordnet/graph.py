"""WordNet 3.0's noun synsets as packed with labelkit: ids, hypernyms, first lemmas.

``scripts/make_noun_graph.py`` writes the file from WordNet's own ``data.noun``. It is one line of
ASCII, ``labelkit-noun-graph 1 N H I``, and a zlib stream that holds, in this order:

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
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from labelkit.errors import TaxonomyError
from labelkit.files import read_utf8
from labelkit.hierarchy.forest import IntArray, read_only, row_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from labelkit.hierarchy.class_list import ClassList

MAGIC = b"labelkit-noun-graph"
VERSION = 1
WORDNET_VERSION = "3.0"
DATA = Path(__file__).with_name("data")

Content = TypeVar("Content")


@dataclass(frozen=True, eq=False)
class SynsetGraph:
    """Noun synsets in WordNet's order, with their hypernyms in the order of ``data.noun``.

    Synset ``i`` has the hypernyms ``hypernym[hypernym_start[i]:hypernym_start[i + 1]]``, and its
    instance hypernyms (of names such as Einstein, which are not classes) likewise.
    """

    ids: tuple[str, ...]
    lemmas: tuple[str, ...]
    hypernym_start: IntArray
    hypernym: IntArray
    instance_start: IntArray
    instance_hypernym: IntArray
    version: str
    """WordNet's version, such as ``3.0``; empty if a copy's licence does not state it."""

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Wnid -> position."""
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def hypernyms(self, wnid: str) -> tuple[str, ...]:
        """The hypernyms of a synset in WordNet's order; empty for an unknown wnid."""
        at = self.index.get(wnid)
        if at is None:
            return ()
        row = self.hypernym[self.hypernym_start[at] : self.hypernym_start[at + 1]]
        return tuple(self.ids[above] for above in row)


@functools.cache
def packaged_graph() -> SynsetGraph:
    """The WordNet 3.0 that is included in labelkit, read once per process."""
    return load_graph(DATA / "noun_graph.bin")


def load_graph(path: Path) -> SynsetGraph:
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
        raise ValueError("a pointer is out of range")
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
    """ImageNet's parent of each synset for which it is not the first hypernym."""

    parent_of: dict[str, str]

    @classmethod
    def load(cls, path: Path = DATA / "imagenet_parent.tsv") -> ParentTable:
        """Read tab-separated rows of child and parent; the last row of a child counts.

        Lines that start with ``#`` and the header ``child parent`` are skipped.

        Raises:
            TaxonomyError: a line does not have two columns.
        """
        parent_of: dict[str, str] = {}
        for number, line in enumerate(read_utf8(path, TaxonomyError).splitlines(), start=1):
            columns = line.split("\t")
            if line.startswith("#") or columns == ["child", "parent"]:
                continue
            if len(columns) != 2:
                raise TaxonomyError(
                    f"{path.name}, line {number}: expected 'child TAB parent', found {line!r}"
                )
            parent_of[columns[0]] = columns[1]
        return cls(parent_of)

    @property
    def digest(self) -> str:
        """SHA-256 of the rows, sorted by child, as tab-separated lines."""
        rows = (f"{child}\t{parent}" for child, parent in sorted(self.parent_of.items()))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def not_in(self, graph: SynsetGraph) -> list[tuple[str, str]]:
        """The rows whose parent is not a hypernym of the child: none for a valid table."""
        return [
            (child, parent)
            for child, parent in self.parent_of.items()
            if parent not in graph.hypernyms(child)
        ]


def class_names(classes: ClassList) -> tuple[str, ...]:
    """Each class's first WordNet lemma, as ``great_white_shark``; the id if it is not a wnid."""
    graph = packaged_graph()
    index = graph.index
    return tuple(
        graph.lemmas[index[class_id]] if class_id in index else class_id for class_id in classes
    )


def read_packed(
    path: Path, magic: bytes, version: int, unpack: Callable[[bytes, list[int]], Content]
) -> Content:
    """Read a packed file: a line ``magic version number ...``, then a zlib stream.

    Args:
        path: the file.
        magic: the first word of its first line.
        version: the second; any other is refused.
        unpack: turns the content of the stream and the other numbers of the line into the result,
            and raises ValueError if they contradict each other.

    Raises:
        TaxonomyError: the file is damaged or of another version.
    """
    header, _, packed = path.read_bytes().partition(b"\n")
    found, *numbers = header.split(b" ")
    if [found, *numbers[:1]] != [magic, b"%d" % version]:
        raise TaxonomyError(
            f"{path.name} begins with {header[:40]!r}, expected '{magic.decode()} {version}': "
            "reinstall labelkit"
        )
    try:
        return unpack(zlib.decompress(packed), list(map(int, numbers[1:])))
    except (ValueError, zlib.error) as error:
        raise TaxonomyError(f"{path.name} is damaged ({error}): reinstall labelkit") from error


def split_content(
    content: bytes, sections: Sequence[tuple[str, int]]
) -> tuple[list[npt.NDArray[np.integer]], list[str]]:
    """The leading arrays of a packed file, given as type and length, and the lines after them.

    Raises:
        ValueError: the content ends early, or the lines are not valid UTF-8.
    """
    arrays: list[npt.NDArray[np.integer]] = []
    offset = 0
    for dtype, count in sections:
        arrays.append(np.frombuffer(content, dtype, count, offset))
        offset += arrays[-1].nbytes
    return arrays, content[offset:].decode().split("\n")

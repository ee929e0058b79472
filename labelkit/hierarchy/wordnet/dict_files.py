"""WordNet's own ``data.noun``, read line by line into a noun graph.

A line is a synset (see wndb(5WN)), with its fields parted by single blanks:

    id lexfile n W  (word lex_id) x W  P  (symbol id pos source/target) x P | gloss

W is hexadecimal, P decimal. The lines of the licence above begin with two blanks. A synset's id is
the first field of its line: copies with CRLF line ends, or edited ones, have other byte offsets.
"""

# N synsets, P pointers of one kind

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.arrays import IntArray, read_only, row_starts
from labelkit.hierarchy.wordnet.noun_graph import SynsetGraph

if TYPE_CHECKING:
    from pathlib import Path

REMEDY = "Take a whole copy of WordNet, or use the nouns that come with labelkit"
COPYRIGHT = re.compile(r"Word[Nn]et (\d+(?:\.\d+)*) Copyright")
LICENCE = "  "


class Noun(NamedTuple):
    """One line: its wnid, first lemma, and pointers in the order of the line, as wnids."""

    wnid: str
    lemma: str
    hypernyms: list[str]
    instance_hypernyms: list[str]
    hyponyms: list[str]


@dataclass
class Pointers:
    """The pointers of one kind: how many each synset has, and all of them in one row."""

    counts: list[int] = field(default_factory=list[int])
    targets: list[str] = field(default_factory=list[str])

    def add(self, targets: list[str]) -> None:
        """Append the next synset's pointers."""
        self.counts.append(len(targets))
        self.targets += targets


def read_data_noun(path: Path) -> SynsetGraph:
    """Read a ``data.noun`` file of any WordNet version, with LF or CRLF line ends.

    Raises:
        TaxonomyError: the file is torn or no ``data.noun``; the message names file and line.
        OSError: the file cannot be read.
    """
    return parse_data_noun(path.read_bytes(), str(path))


def parse_data_noun(content: bytes, file: str) -> SynsetGraph:
    """The noun graph of a ``data.noun`` file's bytes.

    Args:
        content: the whole file.
        file: what the file is called in messages.

    Raises:
        TaxonomyError: a line is malformed or torn, an id stands twice, a pointer leads nowhere, or
            hypernyms run in a circle; the message names file, line and what to do.
    """
    table = _Table(file)
    lines = _lines(content, file)
    for number, line in enumerate(lines, start=1):
        if not line.startswith(LICENCE):
            table.add(number, line)
    return table.graph(_version(lines))


def parse_noun(line: str) -> Noun:
    """Parse one line without its line end.

    Raises:
        ValueError: the line is malformed or ends early.
        IndexError: likewise.
    """
    before_gloss, gloss, _ = line.partition(" | ")
    fields = before_gloss.split(" ")
    wnid = fields[0]
    if not gloss or len(wnid) != 8 or not wnid.isdecimal() or fields[2] != "n":
        raise ValueError("not an id of eight digits, a number, 'n' ... and a gloss")
    start = 5 + 2 * int(fields[3], 16)
    symbols, targets = fields[start::4], fields[start + 1 :: 4]
    if not fields[4] or len(fields) - start != 4 * int(fields[start - 1]):
        raise ValueError("the numbers of words and pointers do not fit the line")
    above: list[str] = []
    instance_of: list[str] = []
    below: list[str] = []
    for symbol, target in zip(symbols, targets, strict=True):
        if symbol == "~":
            below.append("n" + target)
        elif symbol == "@":
            above.append("n" + target)
        elif symbol == "@i":
            instance_of.append("n" + target)
    return Noun("n" + wnid, fields[4], above, instance_of, below)


def _lines(content: bytes, file: str) -> list[str]:
    """The lines without their ends; blank ones at the end, as WordNet 3.1 has one, left out."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise TaxonomyError(
            f"{file}, line {number}: no text in UTF-8 ({error.reason}). {REMEDY}"
        ) from error
    lines = text.rstrip("\r\n").split("\n")
    if text and not text.endswith("\n"):
        raise TaxonomyError(f"{file}, line {len(lines)}: the file ends within it. {REMEDY}")
    return lines if text else []


def _version(lines: list[str]) -> str:
    licence = (line for line in lines if line.startswith(LICENCE))
    return next((found[1] for found in map(COPYRIGHT.search, licence) if found), "")


@dataclass
class _Table:
    """The synsets of one file by columns, and the numbers of their lines for messages."""

    file: str
    numbers: list[int] = field(default_factory=list[int])
    ids: list[str] = field(default_factory=list[str])
    lemmas: list[str] = field(default_factory=list[str])
    above: Pointers = field(default_factory=Pointers)
    instance_of: Pointers = field(default_factory=Pointers)
    below: Pointers = field(default_factory=Pointers)

    def add(self, number: int, line: str) -> None:
        """Append the synset of a line."""
        try:
            noun = parse_noun(line)
        except (ValueError, IndexError) as error:
            raise TaxonomyError(
                f"{self.file}, line {number}: no synset of data.noun ({error}): {line[:60]!r}. "
                f"{REMEDY}"
            ) from error
        self.numbers.append(number)
        self.ids.append(noun.wnid)
        self.lemmas.append(noun.lemma)
        self.above.add(noun.hypernyms)
        self.instance_of.add(noun.instance_hypernyms)
        self.below.add(noun.hyponyms)

    def graph(self, version: str) -> SynsetGraph:
        """The synsets with their pointers as positions."""
        if not self.ids:
            raise TaxonomyError(f"{self.file} holds no synsets: it is no data.noun. {REMEDY}")
        position = self._positions()
        self._require_targets(self.below, position)
        graph = SynsetGraph(
            ids=tuple(self.ids),
            lemmas=tuple(self.lemmas),
            hypernym_start=row_starts(self.above.counts),
            hypernym=self._linked(self.above, position),
            instance_start=row_starts(self.instance_of.counts),
            instance_hypernym=self._linked(self.instance_of, position),
            version=version,
        )
        self._require_no_circle(graph)
        return graph

    def _wrong(self, at: int, what: str) -> TaxonomyError:
        return TaxonomyError(
            f"{self.file}, line {self.numbers[at]}: {self.ids[at]} {what}. {REMEDY}"
        )

    def _positions(self) -> dict[str, int]:
        position: dict[str, int] = {}
        for at, wnid in enumerate(self.ids):
            if position.setdefault(wnid, at) != at:
                raise self._wrong(at, f"stands in line {self.numbers[position[wnid]]} too")
        return position

    def _linked(self, pointers: Pointers, position: dict[str, int]) -> IntArray:
        self._require_targets(pointers, position)
        return read_only([position[wnid] for wnid in pointers.targets])

    def _require_targets(self, pointers: Pointers, position: dict[str, int]) -> None:
        if position.keys() >= set(pointers.targets):
            return
        row = next(row for row, wnid in enumerate(pointers.targets) if wnid not in position)
        at = int(np.searchsorted(row_starts(pointers.counts), row, side="right")) - 1
        raise self._wrong(at, f"points to {pointers.targets[row]}, which is not in the file")

    def _require_no_circle(self, graph: SynsetGraph) -> None:
        """Take away the pointers to synsets with nothing above them until none is left."""
        below = np.repeat(np.arange(len(graph.ids)), np.diff(graph.hypernym_start))
        above = graph.hypernym
        while len(below):
            has_above = np.zeros(len(graph.ids), dtype=bool)
            has_above[below] = True
            stays = has_above[above]
            if stays.all():
                parent = dict(zip(below.tolist(), above.tolist(), strict=True))
                raise self._wrong(*_circle(parent, graph.ids))
            below, above = below[stays], above[stays]


def _circle(parent: dict[int, int], ids: tuple[str, ...]) -> tuple[int, str]:
    """A synset of a circle and what is wrong with it, where every parent has a parent."""
    passed: dict[int, None] = {}
    at = min(parent)
    while at not in passed:
        passed[at] = None
        at = parent[at]
    circle = list(passed)[list(passed).index(at) :]
    shown = " > ".join(ids[step] for step in circle[:6]) + (" > ..." if len(circle) > 6 else "")
    return at, f"is its own hypernym: the pointers run in a circle, {shown} > {ids[at]}"

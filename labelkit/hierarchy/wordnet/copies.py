"""Read any copy of WordNet: a ``data.noun`` file, alone, in a folder, in an archive, or in NLTK.

A line of ``data.noun`` is a synset (see wndb(5WN)), with its fields separated by single spaces:

    id lexfile n W  (word lex_id) x W  P  (symbol id pos source/target) x P | gloss

W is hexadecimal, P decimal. The lines of the licence at the top begin with two spaces. A synset's
id is the first field of its line, not its byte offset: copies with CRLF line endings, or edited
ones, have other offsets.
"""

# N synsets, P pointers of one kind

from __future__ import annotations

import contextlib
import io
import re
import socket
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labelkit.errors import TaxonomyError, first_line
from labelkit.files import decode_utf8
from labelkit.hierarchy.forest import IntArray, read_only, row_starts
from labelkit.hierarchy.wordnet.graph import SynsetGraph, packaged_graph

if TYPE_CHECKING:
    from collections.abc import Generator

NLTK = "nltk"
FILE = "data.noun"
NLTK_PLACES = (f"corpora/wordnet/{FILE}", "corpora/wordnet.zip")
PLACES = (FILE, f"dict/{FILE}", f"wordnet/{FILE}", "wordnet.zip", *NLTK_PLACES)
LARGEST_MEMBER = 256 * 2**20  # bytes
TIMEOUT = 30.0  # seconds
REMEDY = "Use an intact copy of WordNet, or the one included in labelkit"
COPYRIGHT = re.compile(r"Word[Nn]et (\d+(?:\.\d+)*) Copyright")
LICENCE = "  "


def open_wordnet(copy: str | Path | None = None) -> SynsetGraph:
    """The noun synsets of a copy of WordNet.

    *None* means WordNet 3.0 as packed with labelkit.

    A *path* leads to WordNet's ``dict`` folder, to a folder that contains one (as ``dict``,
    ``wordnet`` or NLTK's ``corpora/wordnet``), to a ``data.noun`` file, or to NLTK's
    ``wordnet.zip``, which is read without being unpacked. Line endings may be LF or CRLF.

    The *word* ``nltk`` means WordNet in NLTK's data folders; if it is not there, NLTK downloads it
    into its own folder. Write ``./nltk``, or pass a ``Path``, for a file or a folder of that name.

    Only WordNet 3.0 has ImageNet's wnids. Other versions number their synsets differently; check
    the graph's ``version``.

    Raises:
        FileNotFoundError: no such file or folder.
        TaxonomyError: it contains no WordNet, or a damaged one; or NLTK could not download it.
        OSError: it cannot be read.
    """
    if copy is None:
        return packaged_graph()
    if copy == NLTK:
        return _read(_in_nltk() or _downloaded_by_nltk())
    path = Path(copy)
    if not path.exists():
        raise FileNotFoundError(
            f"no WordNet in {str(copy)!r}: no such file or folder. Pass WordNet's dict folder, its "
            f"data.noun, NLTK's wordnet.zip, or the word {NLTK}"
        )
    found = path if not path.is_dir() else _first_file(path, PLACES)
    if found is None:
        raise TaxonomyError(
            f"{path} contains no WordNet (no {', no '.join(PLACES)}). Pass the folder that "
            f"contains {FILE}, or the word {NLTK}"
        )
    return _read(found)


def _first_file(folder: Path, places: tuple[str, ...]) -> Path | None:
    paths = (folder / place for place in places)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> SynsetGraph:
    return _read_archive(path) if zipfile.is_zipfile(path) else read_data_noun(path)


def _read_archive(path: Path) -> SynsetGraph:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                member for member in archive.infolist() if member.filename.split("/")[-1] == FILE
            ]
            if len(members) != 1:
                raise TaxonomyError(
                    f"{path} contains {len(members)} files named {FILE}, expected one. {REMEDY}"
                )
            (member,) = members
            if member.file_size > LARGEST_MEMBER:
                raise TaxonomyError(
                    f"{path}: its {FILE} has {member.file_size:,} bytes, WordNet's has about 15 "
                    f"million. {REMEDY}"
                )
            content = archive.read(member)
    # zipfile raises RuntimeError for encrypted members, NotImplementedError for unknown methods.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TaxonomyError(f"{path} is damaged ({first_line(error)}). {REMEDY}") from error
    return parse_data_noun(content, f"{path}/{member.filename}")


def _in_nltk() -> Path | None:
    import nltk.data

    found = (_first_file(Path(root), NLTK_PLACES) for root in nltk.data.path)
    return next((path for path in found if path is not None), None)


def _downloaded_by_nltk() -> Path:
    """Let NLTK download WordNet, and find it."""
    from xml.etree.ElementTree import ParseError

    import nltk

    messages = io.StringIO()
    try:
        with _network_timeout():
            nltk.download("wordnet", quiet=True, print_error_to=messages)
        reason = " ".join(messages.getvalue().replace("[nltk_data]", "").split())
    except (OSError, ValueError, ParseError) as error:
        reason = first_line(error)
    found = _in_nltk()
    if found is None:
        raise TaxonomyError(
            "NLTK has no WordNet in its data folders (nltk.data.path) and could not download it: "
            f"{reason or 'it gives no reason'}. Pass the path of a copy of WordNet instead, or use "
            "the one included in labelkit"
        )
    return found


@contextlib.contextmanager
def _network_timeout() -> Generator[None]:
    """Limit how long a connection may wait: older releases of NLTK set no timeout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class Synset(NamedTuple):
    """One line: its wnid, first lemma, and pointers in the order of the line, as wnids."""

    wnid: str
    lemma: str
    hypernyms: list[str]
    instance_hypernyms: list[str]
    hyponyms: list[str]


@dataclass
class Pointers:
    """The pointers of one kind: the number per synset, and all targets in a row."""

    counts: list[int] = field(default_factory=list[int])
    targets: list[str] = field(default_factory=list[str])

    def add(self, targets: list[str]) -> None:
        """Append the next synset's pointers."""
        self.counts.append(len(targets))
        self.targets += targets


def read_data_noun(path: Path) -> SynsetGraph:
    """Read a ``data.noun`` file of any WordNet version, with LF or CRLF line endings.

    Raises:
        TaxonomyError: the file is truncated or not a ``data.noun``; the message names file and
            line.
        OSError: the file cannot be read.
    """
    return parse_data_noun(path.read_bytes(), str(path))


def parse_data_noun(content: bytes, file: str) -> SynsetGraph:
    """The synset graph in the bytes of a ``data.noun`` file.

    Args:
        content: the whole file.
        file: the file's name in messages.

    Raises:
        TaxonomyError: a line is malformed or truncated, an id is duplicate, a pointer leads
            nowhere, or hypernyms form a cycle; the message names file, line and what to do.
    """
    table = _SynsetTable(file)
    lines = _lines(content, file)
    for number, line in enumerate(lines, start=1):
        if not line.startswith(LICENCE):
            table.add(number, line)
    return table.graph(_version(lines))


def parse_synset(line: str) -> Synset:
    """Parse one line without its line ending.

    Raises:
        ValueError: the line is malformed or truncated.
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
        raise ValueError("the counts of words and pointers do not match the line")
    hypernyms: list[str] = []
    instance_hypernyms: list[str] = []
    hyponyms: list[str] = []
    for symbol, target in zip(symbols, targets, strict=True):
        if symbol == "~":
            hyponyms.append("n" + target)
        elif symbol == "@":
            hypernyms.append("n" + target)
        elif symbol == "@i":
            instance_hypernyms.append("n" + target)
    return Synset("n" + wnid, fields[4], hypernyms, instance_hypernyms, hyponyms)


def _lines(content: bytes, file: str) -> list[str]:
    """The lines without trailing blank ones, which WordNet 3.1 has."""
    text = decode_utf8(content, file, TaxonomyError, REMEDY)
    lines = text.rstrip("\r\n").split("\n")
    if text and not text.endswith("\n"):
        raise TaxonomyError(f"{file}, line {len(lines)}: the file is truncated here. {REMEDY}")
    return lines if text else []


def _version(lines: list[str]) -> str:
    licence = (line for line in lines if line.startswith(LICENCE))
    return next((found[1] for found in map(COPYRIGHT.search, licence) if found), "")


@dataclass
class _SynsetTable:
    """The synsets of one file by columns, and their line numbers for messages."""

    file: str
    numbers: list[int] = field(default_factory=list[int])
    ids: list[str] = field(default_factory=list[str])
    lemmas: list[str] = field(default_factory=list[str])
    hypernyms: Pointers = field(default_factory=Pointers)
    instance_hypernyms: Pointers = field(default_factory=Pointers)
    hyponyms: Pointers = field(default_factory=Pointers)

    def add(self, number: int, line: str) -> None:
        """Append the synset of a line."""
        try:
            synset = parse_synset(line)
        except (ValueError, IndexError) as error:
            raise TaxonomyError(
                f"{self.file}, line {number}: not a synset of data.noun ({error}): {line[:60]!r}. "
                f"{REMEDY}"
            ) from error
        self.numbers.append(number)
        self.ids.append(synset.wnid)
        self.lemmas.append(synset.lemma)
        self.hypernyms.add(synset.hypernyms)
        self.instance_hypernyms.add(synset.instance_hypernyms)
        self.hyponyms.add(synset.hyponyms)

    def graph(self, version: str) -> SynsetGraph:
        """The synsets with their pointers as positions."""
        if not self.ids:
            raise TaxonomyError(f"{self.file} contains no synsets: it is not a data.noun. {REMEDY}")
        position = self._positions()
        self._require_targets(self.hyponyms, position)
        graph = SynsetGraph(
            ids=tuple(self.ids),
            lemmas=tuple(self.lemmas),
            hypernym_start=row_starts(self.hypernyms.counts),
            hypernym=self._linked(self.hypernyms, position),
            instance_start=row_starts(self.instance_hypernyms.counts),
            instance_hypernym=self._linked(self.instance_hypernyms, position),
            version=version,
        )
        self._require_no_cycle(graph)
        return graph

    def _error(self, at: int, what: str) -> TaxonomyError:
        return TaxonomyError(
            f"{self.file}, line {self.numbers[at]}: {self.ids[at]} {what}. {REMEDY}"
        )

    def _positions(self) -> dict[str, int]:
        position: dict[str, int] = {}
        for at, wnid in enumerate(self.ids):
            if position.setdefault(wnid, at) != at:
                raise self._error(at, f"is also on line {self.numbers[position[wnid]]}")
        return position

    def _linked(self, pointers: Pointers, position: dict[str, int]) -> IntArray:
        self._require_targets(pointers, position)
        return read_only([position[wnid] for wnid in pointers.targets])

    def _require_targets(self, pointers: Pointers, position: dict[str, int]) -> None:
        if position.keys() >= set(pointers.targets):
            return
        row = next(row for row, wnid in enumerate(pointers.targets) if wnid not in position)
        at = int(np.searchsorted(row_starts(pointers.counts), row, side="right")) - 1
        raise self._error(at, f"points to {pointers.targets[row]}, which is not in the file")

    def _require_no_cycle(self, graph: SynsetGraph) -> None:
        """Remove the pointers to roots until none are left, or only a cycle remains."""
        below = np.repeat(np.arange(len(graph.ids)), np.diff(graph.hypernym_start))
        above = graph.hypernym
        while len(below):
            has_hypernym = np.zeros(len(graph.ids), dtype=bool)
            has_hypernym[below] = True
            stays = has_hypernym[above]
            if stays.all():
                parent = dict(zip(below.tolist(), above.tolist(), strict=True))
                raise self._error(*_cycle(parent, graph.ids))
            below, above = below[stays], above[stays]


def _cycle(parent: dict[int, int], ids: tuple[str, ...]) -> tuple[int, str]:
    """A synset on a cycle and a description of it, given that every parent has a parent."""
    passed: dict[int, None] = {}
    at = min(parent)
    while at not in passed:
        passed[at] = None
        at = parent[at]
    cycle = list(passed)[list(passed).index(at) :]
    shown = " > ".join(ids[step] for step in cycle[:6]) + (" > ..." if len(cycle) > 6 else "")
    return at, f"is its own hypernym: the pointers form a cycle, {shown} > {ids[at]}"

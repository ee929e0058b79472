"""The common parts of all forms of taxonomy files: a table of cells in, a graph out."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from labelkit.errors import TaxonomyError

if TYPE_CHECKING:
    from pathlib import Path

Parents: TypeAlias = Mapping[str, str | Sequence[str] | None]

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
DELIMITER_NAMES = {",": "comma", "\t": "tab", ";": "semicolon"}
SPACES = " "  # the delimiter of lines of two words, separated by any number of spaces
# Control characters except tab and line feed, and Unicode's line and paragraph separators.
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True)
class FileGraph:
    """The content of a taxonomy file.

    Attributes:
        parents: id -> its parent, its parents in order, or none for a root.
        names: id -> its name, where it differs from the id.
        read_as: how the file was read, for people: its form, and the meaning of its columns.
        ranks: the columns of a table, from coarse to fine; empty for other forms.
        rank: the position of each id's rank, in the order of ``parents``.
    """

    parents: Parents
    names: Mapping[str, str]
    read_as: str
    ranks: tuple[str, ...] = ()
    rank: Sequence[int] = ()


@dataclass(frozen=True)
class Table:
    """Rows with the same number of cells, stripped of whitespace, and their line numbers from 1."""

    path: Path
    first: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str


def read_table(path: Path, text: str) -> Table:
    """The rows of a text, without blank lines and lines that start with ``#``.

    Raises:
        TaxonomyError: rows of different lengths, unclosed quotes, or control characters.
    """
    if forbidden := FORBIDDEN.search(text):
        line = text.count("\n", 0, forbidden.start()) + 1
        raise TaxonomyError(
            f"{path}, line {line}: control character {forbidden[0]!r}. Remove it, if this is a "
            "text file"
        )
    source = [line if line[:1] != "#" else "" for line in text.split("\n")]
    delimiter = _delimiter(path, source)
    rows, lines = (_word_rows if delimiter == SPACES else _rows)(path, source, delimiter)
    if not rows:
        raise TaxonomyError(f"{path} contains only comments: write one line per class")
    _check_widths(path, rows, lines, delimiter)
    return Table(path, rows[0], rows, lines, delimiter)


def _rows(path: Path, source: list[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The rows with any content, and the line number of each."""
    # csv returns a quoted field with line breaks as one cell; ids have none, and an unclosed quote
    # would swallow the rest of the file. So every line must be a row of its own.
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line, strip = 1, str.strip
    try:
        for cells in reader:
            if reader.line_num != line:
                raise TaxonomyError(_open_quote(path, line))
            row = list(map(strip, cells))
            if any(row):
                rows.append(row)
                lines.append(line)
            line += 1
    except csv.Error as error:
        if reader.line_num > line or "end of data" in str(error):
            raise TaxonomyError(_open_quote(path, line)) from error
        raise TaxonomyError(
            f"{path}, line {line}: {error}. Inside a quoted cell, write each quote twice"
        ) from error
    return rows, lines


def _word_rows(path: Path, source: list[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """As ``_rows``, of lines that are two words each."""
    del delimiter
    rows = {number: cells for number, line in enumerate(source, 1) if (cells := line.split())}
    for number, cells in rows.items():
        if len(cells) != 2:
            raise TaxonomyError(
                f"{path}, line {number} has {len(cells)} words, but the lines before have two, "
                "separated by a space: every line must be a parent and a child. If ids contain "
                "spaces, separate the columns by tabs and name the file .tsv"
            )
    return list(rows.values()), list(rows)


def _open_quote(path: Path, line: int) -> str:
    return (
        f"{path}, line {line}: a quoted cell does not end on its line. Close the quote; if the "
        'cell itself begins with a quote, write """'
    )


def _delimiter(path: Path, source: list[str]) -> str:
    """The delimiter of cells: by the suffix, or else by the first line that is not a comment."""
    number, line = next(((at, line) for at, line in enumerate(source, 1) if line.strip()), (1, ""))
    found = [delimiter for delimiter in ",\t" if delimiter in line.strip()]
    if not found and _cell_count(line, ";") > 1:
        return ";"
    if suffix := DELIMITERS.get(path.suffix.lower()):
        return suffix
    if len(found) == 1:
        return found[0]
    if not found and len(line.split()) == 2:
        return SPACES
    what = "both tabs and commas" if found else "neither a tab nor a comma"
    raise TaxonomyError(
        f"{path}, line {number} has {what}, so its columns are ambiguous: separate them by one of "
        "the two and name the file .tsv or .csv. An edge list of two words on each line may have a "
        f"space between them{semicolon_hint([line])}"
    )


def semicolon_hint(first: list[str]) -> str:
    """A hint for error messages if the cells of the first row contain semicolons; else empty."""
    if any(";" in cell for cell in first):
        return ". Are cells separated by semicolons? Save with commas or tabs"
    return ""


def _cell_count(line: str, delimiter: str) -> int:
    """The number of cells of a line; 0 if its quotes are broken."""
    try:
        return sum(map(len, csv.reader([line], delimiter=delimiter, strict=True)))
    except csv.Error:
        return 0


def _check_widths(path: Path, rows: list[list[str]], lines: list[int], delimiter: str) -> None:
    width = len(rows[0])
    hint = semicolon_hint(rows[0])
    if width == 1:
        raise TaxonomyError(
            f"{path}, line {lines[0]} has one column, with {DELIMITER_NAMES[delimiter]}s as "
            "separators: a taxonomy has two or more. Name the file .csv or .tsv to match its "
            f"separators, or .txt if they are spaces{hint}"
        )
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise TaxonomyError(
                f"{path}, line {line} has {len(row)} cells, line {lines[0]} has {width}: every "
                f"line must have the same number of cells, including empty ones{hint}"
            )

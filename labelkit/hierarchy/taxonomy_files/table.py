"""Tables in text files: rows of cells with their line numbers, or a refusal that names the line."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.class_sources import UTF_16, looks_like_utf16

if TYPE_CHECKING:
    from pathlib import Path

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
NAMES = {",": "comma", "\t": "tab", ";": "semicolon"}
# Control characters but the tab and the line feed, and Unicode's line and paragraph separators.
UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True)
class Table:
    """Rows of equally many cells, stripped of white space, each with its line number from 1."""

    path: Path
    first: list[str]
    rows: list[list[str]]
    lines: list[int]


def read_text(path: Path) -> str:
    """A file's text without its byte order mark, each line end a line feed.

    Raises:
        TaxonomyError: a folder, an empty file, or no text in UTF-8; UTF-16 is called so.
        OSError: the file cannot be read.
    """
    if path.is_dir():
        raise TaxonomyError(f"{path} is a folder: give the taxonomy's file")
    content = path.read_bytes()
    if looks_like_utf16(content):
        raise TaxonomyError(f"{path} {UTF_16}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TaxonomyError(
            f"{path}, line {line}: no text in UTF-8 ({error.reason}). Save the file as UTF-8"
        ) from error
    if not text.strip():
        raise TaxonomyError(f"{path} is empty: give it one line per class")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_table(path: Path, text: str) -> Table:
    """The rows of a text, without blank lines and lines that begin with ``#``.

    Raises:
        TaxonomyError: rows of different lengths, open quotes, or control characters.
    """
    if unwanted := UNWANTED.search(text):
        line = text.count("\n", 0, unwanted.start()) + 1
        raise TaxonomyError(
            f"{path}, line {line}: control character {unwanted[0]!r}. Take it out; a binary file "
            "is no table"
        )
    source = [line if line[:1] != "#" else "" for line in text.split("\n")]
    delimiter = _delimiter(path, source)
    rows, lines = _rows(path, source, delimiter)
    if not rows:
        raise TaxonomyError(f"{path} holds nothing but comments: give it one line per class")
    _check_widths(path, rows, lines, delimiter)
    return Table(path, rows[0], rows, lines)


def _rows(path: Path, source: list[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The rows that hold anything, and the line number of each."""
    # csv hands a quoted field with line breaks over as one; no id has any, and a quote that was
    # never closed would swallow the rest of the file. So every line must make a row of its own.
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
            f"{path}, line {line}: {error}. In a quoted cell each quote is written twice"
        ) from error
    return rows, lines


def _open_quote(path: Path, line: int) -> str:
    return (
        f"{path}, line {line}: a quoted cell does not end on its line. Close the quote; a quote "
        'that begins a cell and belongs to it is written """'
    )


def _delimiter(path: Path, source: list[str]) -> str:
    """What separates cells: by the suffix, or else by the first line that is no comment."""
    number, line = next(((at, line) for at, line in enumerate(source, 1) if line.strip()), (1, ""))
    found = [delimiter for delimiter in ",\t" if delimiter in line.strip()]
    if not found and _parts(line, ";") > 1:
        return ";"
    if suffix := DELIMITERS.get(path.suffix.lower()):
        return suffix
    if len(found) == 1:
        return found[0]
    what = "both tabs and commas" if found else "neither a tab nor a comma"
    raise TaxonomyError(
        f"{path}, line {number} has {what}, so its columns are in doubt: separate them by one of "
        f"both and name the file .tsv or .csv{semicolon_hint([line])}"
    )


def semicolon_hint(first: list[str]) -> str:
    """What to add to a refusal where the first row's cells hold semicolons; else nothing."""
    has_semicolons = any(";" in cell for cell in first)
    return ". Are cells separated by semicolons? Save with commas or tabs" * has_semicolons


def _parts(line: str, delimiter: str) -> int:
    """How many cells a line has; none if its quotes are broken."""
    try:
        return sum(map(len, csv.reader([line], delimiter=delimiter, strict=True)))
    except csv.Error:
        return 0


def _check_widths(path: Path, rows: list[list[str]], lines: list[int], delimiter: str) -> None:
    width = len(rows[0])
    hint = semicolon_hint(rows[0])
    if width == 1:
        raise TaxonomyError(
            f"{path}, line {lines[0]} has one column, separated by {NAMES[delimiter]}s: a taxonomy "
            f"has two or more. Name the file .csv or .tsv as its cells are separated{hint}"
        )
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise TaxonomyError(
                f"{path}, line {line} has {len(row)} cells, line {lines[0]} has {width}: every "
                f"line has equally many, empty ones too{hint}"
            )

"""Trees as CSV: one row per class, in the order of the class list."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.convert.assembly import NodeTable
from labelkit.errors import TreeFileError
from labelkit.files import replace_file, require_regular_file
from labelkit.wording import clipped

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree

COLUMNS = ("index", "id", "name", "parent", "depth", "level", "inner")
LONGEST = 131_072  # characters in a cell, which is as far as Python's csv module reads
QUOTABLE = re.compile(r'[,"\r\n]')
TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}


def write_csv_tree(tree: SemanticTree, path: str | Path) -> None:
    """Write one row per class: index, id, name, the parent's id, depth, level, inner.

    A class without a parent has an empty cell there. The tree's ``source`` is not kept.

    Raises:
        TreeFileError: an id or a name is no Unicode text, or too long for a cell.
        OSError: the file cannot be written.
    """
    ids = tree.classes.ids
    inner = set(tree.inner.tolist())
    rows = zip(
        range(len(ids)),
        ids,
        tree.names,
        (ids[above] if above >= 0 else "" for above in tree.parent.tolist()),
        tree.depth.tolist(),
        tree.level.tolist(),
        ("true" if at in inner else "false" for at in range(len(ids))),
        strict=True,
    )
    _refuse_long(tree, path)
    lines = [",".join(map(_quoted, row)) + "\n" for row in (COLUMNS, *rows)]
    try:
        content = "".join(lines).encode()
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise TreeFileError(f"{path}: no Unicode text near {near!r}. Rename that class") from error
    replace_file(Path(path), content)


def _quoted(cell: str | int) -> str:
    """A cell as CSV, in quotes where it needs them.

    Python's own writer leaves a carriage return bare, which its reader takes for the row's end.
    """
    text = str(cell)
    return '"' + text.replace('"', '""') + '"' if QUOTABLE.search(text) else text


def _refuse_long(tree: SemanticTree, path: str | Path) -> None:
    for node, name in zip(tree.classes, tree.names, strict=True):
        for what, text in (("id", node), ("name", name)):
            if len(text) > LONGEST:
                raise TreeFileError(
                    f"{path}: the {what} of the class {clipped(node)} has {len(text):,} "
                    f"characters, a cell of CSV has {LONGEST:,} at most. Shorten it, or write .json"
                )


def read_csv_tree(path: str | Path) -> SemanticTree:
    """Read a table with the columns ``id`` and ``parent``, and perhaps others of ours.

    ``name`` is the id where the column is missing. Rows stand in the order of the class list unless
    ``index`` says otherwise. ``depth`` is checked. Other columns do not count.

    Raises:
        TreeFileError: no such table, or its rows make no tree; the message names the line or id.
        OSError: the file cannot be read.
    """
    path = Path(path)
    require_regular_file(path, TreeFileError)
    columns = _read_columns(path)
    missing = [name for name in ("id", "parent") if name not in columns]
    if missing:
        raise TreeFileError(
            f"{path} has no column {missing[0]!r}, only {', '.join(columns)}. A table of another "
            f"kind may be a taxonomy: labelkit build-tree --taxonomy {path.name}"
        )
    ids = columns["id"]
    try:
        table = NodeTable(
            ids=ids,
            names=columns.get("name", ids),
            parents=columns["parent"],
            index=[int(cell) for cell in columns.get("index", [])],
            depth=[int(cell) for cell in columns.get("depth", [])],
            level=[int(cell) for cell in columns.get("level", [])],
            inner=[TRUTH[cell.strip().casefold()] for cell in columns.get("inner", [])],
        )
    except ValueError as error:
        raise TreeFileError(
            f"{path}: index, depth and level are whole numbers ({error}). Correct the column, or "
            "take it out"
        ) from error
    except KeyError as error:
        raise TreeFileError(f"{path}: inner is true or false, not {error}. Correct it") from error
    return table.tree(path)


def _read_columns(path: Path) -> dict[str, list[str]]:
    """Each column's cells, by the header's names."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        # No white space is taken off and quoted line breaks are kept: names come back as they were.
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        if not any(header) or len(set(header)) < len(header):
            raise TreeFileError(
                f"{path}, line 1 must name its columns, each once, such as {','.join(COLUMNS)}"
            )
        rows: list[list[str]] = []
        for row in reader:
            if len(row) == len(header):
                rows.append(row)
            elif row:
                raise TreeFileError(
                    f"{path}, line {reader.line_num} has {len(row)} cells, the header {len(header)}"
                )
    except UnicodeDecodeError as error:
        raise TreeFileError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8"
        ) from error
    except csv.Error as error:
        way_out = (
            "Is a quote never closed? Shorten that name if there is none"
            if "field limit" in str(error)
            else "Quotes within cells are doubled"
        )
        raise TreeFileError(f"{path} is no CSV: {error}. {way_out}") from error
    if not rows:
        raise TreeFileError(f"{path} has no rows: give it one per class")
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))

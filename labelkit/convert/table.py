"""Trees as CSV: one row per class, in the order of the class list."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.convert.assembly import imported_tree
from labelkit.errors import TreeFileError
from labelkit.file_kinds import known_kind
from labelkit.files import decode_utf8, replace_file, require_regular_file
from labelkit.hierarchy import NodeTable
from labelkit.wording import clipped

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree

COLUMNS = ("index", "id", "name", "parent", "depth", "level", "inner", "level_name")
LONGEST = 131_072  # characters in a cell, the limit of Python's csv module
QUOTABLE = re.compile(r'[,"\r\n]')
TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}


def write_csv_tree(tree: SemanticTree, path: str | Path) -> None:
    """Write one row per class: index, id, name, the parent's id, depth, level, inner.

    A tree with ranks has a further column, ``level_name``. The parent of a root is an empty cell.
    The tree's ``source`` is not kept.

    Raises:
        TreeFileError: an id or a name is not valid Unicode, or too long for a cell.
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
        (tree.ranks[level] if tree.ranks else "" for level in tree.level.tolist()),
        strict=True,
    )
    _refuse_long(tree, path)
    width = len(COLUMNS) if tree.ranks else len(COLUMNS) - 1
    lines = [",".join(map(_quoted, row[:width])) + "\n" for row in (COLUMNS, *rows)]
    try:
        content = "".join(lines).encode()
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise TreeFileError(f"{path}: invalid Unicode near {near!r}. Rename that class") from error
    replace_file(Path(path), content)


def _quoted(cell: str | int) -> str:
    """A cell as CSV, quoted if necessary.

    Python's own writer does not quote a carriage return, which its reader takes for a row's end.
    """
    text = str(cell)
    return '"' + text.replace('"', '""') + '"' if QUOTABLE.search(text) else text


def _refuse_long(tree: SemanticTree, path: str | Path) -> None:
    for node, name in zip(tree.classes, tree.names, strict=True):
        for what, text in (("id", node), ("name", name)):
            if len(text) > LONGEST:
                raise TreeFileError(
                    f"{path}: the {what} of class {clipped(node)} has {len(text):,} characters, "
                    f"but a cell of CSV at most {LONGEST:,}. Shorten it, or write .json"
                )


def read_csv_tree(path: str | Path) -> SemanticTree:
    """Read a table with the columns ``id`` and ``parent``, and optionally the other ``COLUMNS``.

    ``name`` defaults to the id. Rows are in the order of the class list unless ``index`` says
    otherwise. ``depth`` is checked. Other columns are ignored.

    Raises:
        TreeFileError: not such a table, or its rows do not form a tree; the message names the line
            or the id.
        OSError: the file cannot be read.
    """
    path = Path(path)
    require_regular_file(path, TreeFileError)
    columns = _read_columns(path)
    missing = [name for name in ("id", "parent") if name not in columns]
    if missing:
        raise TreeFileError(
            f"{path} has no column {missing[0]!r}, only {', '.join(columns)}. A different table "
            f"may be a taxonomy: labelkit build-tree --taxonomy {path.name}"
        )
    ids = columns["id"]
    try:
        nodes = NodeTable(
            ids=ids,
            names=columns.get("name", ids),
            parents=columns["parent"],
            index=[int(cell) for cell in columns.get("index", [])],
            depth=[int(cell) for cell in columns.get("depth", [])],
            level=[int(cell) for cell in columns.get("level", [])],
            inner=[TRUTH[cell.strip().casefold()] for cell in columns.get("inner", [])],
            level_name=columns.get("level_name", []),
        )
    except ValueError as error:
        raise TreeFileError(
            f"{path}: index, depth and level must be integers ({error}). Correct the column, or "
            "remove it"
        ) from error
    except KeyError as error:
        raise TreeFileError(f"{path}: inner is {error}, expected true or false") from error
    return imported_tree(path, nodes)


def _read_columns(path: Path) -> dict[str, list[str]]:
    """Each column's cells, by the names in the header."""
    try:
        # Whitespace and quoted line breaks are kept, so that names come back as they were.
        text = decode_utf8(path.read_bytes(), path, TreeFileError)
        if kind := known_kind(text.encode()):
            raise TreeFileError(f"{path}, which should be CSV, {kind}")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        if not any(header) or len(set(header)) < len(header):
            raise TreeFileError(
                f"{path}, line 1 must name every column once, such as {','.join(COLUMNS)}"
            )
        rows: list[list[str]] = []
        for row in reader:
            if len(row) == len(header):
                rows.append(row)
            elif row:
                raise TreeFileError(
                    f"{path}, line {reader.line_num} has {len(row)} cells, the header {len(header)}"
                )
    except csv.Error as error:
        remedy = (
            "Is a quote unclosed? Otherwise shorten that name"
            if "field limit" in str(error)
            else "Inside a quoted cell, write each quote twice"
        )
        raise TreeFileError(f"{path} is not valid CSV: {error}. {remedy}") from error
    if not rows:
        raise TreeFileError(f"{path} has no rows: write one per class")
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))

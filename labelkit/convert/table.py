"""Trees as CSV: one row per class, in the order of the class list."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.convert.assembly import NodeTable
from labelkit.errors import TreeFileError
from labelkit.hierarchy.tree_file import replace_file

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree

COLUMNS = ("index", "id", "name", "parent", "depth", "level", "inner")
TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}


def write_csv_tree(tree: SemanticTree, path: str | Path) -> None:
    """Write one row per class: index, id, name, the parent's id, depth, level, inner.

    A class without a parent has an empty cell there. The tree's ``source`` is not kept.

    Raises:
        TreeFileError: an id or a name is no Unicode text.
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
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    try:
        content = text.getvalue().encode()
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise TreeFileError(f"{path}: no Unicode text near {near!r}. Rename that class") from error
    replace_file(Path(path), content)


def read_csv_tree(path: str | Path) -> SemanticTree:
    """Read a table with the columns ``id`` and ``parent``, and perhaps others of ours.

    ``name`` is the id where the column is missing. Rows stand in the order of the class list unless
    ``index`` says otherwise. ``depth`` is checked. Other columns do not count.

    Raises:
        TreeFileError: no such table, or its rows make no tree; the message names the line or id.
        OSError: the file cannot be read.
    """
    path = Path(path)
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
        raise TreeFileError(
            f"{path} is no CSV: {error}. Quotes within cells are doubled"
        ) from error
    if not rows:
        raise TreeFileError(f"{path} has no rows: give it one per class")
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))

"""Edge lists: one (child, parent) pair a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.taxonomy_files.graph import FileGraph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labelkit.hierarchy.taxonomy_files.table import Table


class EdgeColumns(NamedTuple):
    """Where the child, the parent and the name stand in a row; no name where there is no column."""

    child: int
    parent: int
    name: int | None


def edge_columns(first: list[str]) -> EdgeColumns | None:
    """The columns that a table's first row names; None if it is no header of an edge list."""
    header = [cell.casefold() for cell in first]
    child = next((word for word in ("child", "id") if word in header), None)
    if child is None or "parent" not in header:
        return None
    name = header.index("name") if "name" in header else None
    return EdgeColumns(header.index(child), header.index("parent"), name)


def edges_graph(table: Table) -> FileGraph:
    """Every child's parents, in the order of the lines.

    Raises:
        TaxonomyError: a line without a child, a child that is its own parent, both a root and
            under a parent, or has two names; or columns that no header explains.
    """
    columns = edge_columns(table.first)
    body = slice(0 if columns is None else 1, None)
    rows, lines = table.rows[body], table.lines[body]
    at = columns or _without_header(table)
    children, above = [row[at.child] for row in rows], [row[at.parent] for row in rows]
    if "" in children:
        line = lines[children.index("")]
        raise TaxonomyError(f"{table.path}, line {line} has no child: fill it in, or remove it")
    parents: dict[str, list[str]] = {}
    roots: dict[str, int] = {}
    for line, child, parent in zip(lines, children, above, strict=True):
        row = parents.setdefault(child, [])
        if not parent:
            roots[child] = line
        elif parent == child:
            raise TaxonomyError(
                f"{table.path}, line {line}: {child!r} is its own parent. Leave its parent empty "
                "if it is a root"
            )
        else:
            row.append(parent)
    _refuse_half_roots(table, roots, parents, zip(lines, children, above, strict=True))
    names = {} if at.name is None else _names(table, at.name, children, rows, lines)
    return FileGraph(parents, names)


def _without_header(table: Table) -> EdgeColumns:
    header = [cell.casefold() for cell in table.first]
    known = {"child", "id", "parent"} & set(header)
    if len(table.first) != 2 or known:
        found = ", ".join(map(repr, table.first[:8]))
        raise TaxonomyError(
            f"{table.path}, line {table.lines[0]} begins with {found}, which does not say which "
            "column holds the child and which the parent: put a line 'child' and 'parent' on top"
        )
    return EdgeColumns(child=0, parent=1, name=None)


def _refuse_half_roots(
    table: Table,
    roots: dict[str, int],
    parents: dict[str, list[str]],
    edges: Iterable[tuple[int, str, str]],
) -> None:
    for child, line in roots.items():
        if parents[child]:
            other = next(at for at, below, parent in edges if below == child and parent)
            raise TaxonomyError(
                f"{table.path}: {child!r} has no parent on line {line} and the parent "
                f"{parents[child][0]!r} on line {other}. Remove one of both lines"
            )


def _names(
    table: Table, column: int, children: list[str], rows: list[list[str]], lines: list[int]
) -> dict[str, str]:
    names: dict[str, str] = {}
    said: dict[str, int] = {}
    for line, child, row in zip(lines, children, rows, strict=True):
        name = row[column]
        if not name:
            continue
        if names.setdefault(child, name) != name:
            raise TaxonomyError(
                f"{table.path}: {child!r} is named {names[child]!r} on line {said[child]} and "
                f"{name!r} on line {line}. Give it one name"
            )
        said.setdefault(child, line)
    return names

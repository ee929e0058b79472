"""Edge lists: one (child, parent) pair a line."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NamedTuple

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.taxonomy_files.graph import FileGraph, Parents

if TYPE_CHECKING:
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
    if any(map(operator.eq, children, above)):
        child, line = next(
            (below, at) for at, below, up in zip(lines, children, above, strict=True) if below == up
        )
        raise TaxonomyError(
            f"{table.path}, line {line}: {child!r} is its own parent. Leave its parent empty if it "
            "is a root"
        )
    parents: Parents = {child: up or None for child, up in zip(children, above, strict=True)}
    if len(parents) < len(children):
        parents = _several_parents(table, children, above, lines)
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


def _several_parents(
    table: Table, children: list[str], above: list[str], lines: list[int]
) -> dict[str, list[str]]:
    parents: dict[str, list[str]] = {}
    first: dict[str, int] = {}
    for line, child, up in zip(lines, children, above, strict=True):
        row = parents.setdefault(child, [])
        before = first.setdefault(child, line)
        if before != line and bool(row) != bool(up):
            raise TaxonomyError(
                f"{table.path}: {child!r} has a parent on one of the lines {before} and {line}, "
                "and none on the other. Remove one of both"
            )
        if up:
            row.append(up)
    return parents


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

"""Edge lists: one (child, parent) pair per line."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, NamedTuple

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.taxonomy_files.forms import FileGraph, Parents

if TYPE_CHECKING:
    from labelkit.hierarchy.taxonomy_files.forms import Table

# The words of a header, without spaces and the like; ids go with ids, names with names.
PARENT_WORDS = ("parent", "parentid", "parentclass", "parentname")
# Headers of edge lists whose direction is ambiguous: they are not edges, and none are read.
AMBIGUOUS_HEADERS = (
    ("from", "to"),
    ("source", "target"),
    ("hyponym", "hypernym"),
    ("subclass", "superclass"),
)


class EdgeColumns(NamedTuple):
    """The columns of the child, the parent and the name; no name if there is no such column."""

    child: int
    parent: int
    name: int | None


def edge_columns(first: list[str]) -> EdgeColumns | None:
    """The columns that a table's first row names; None if it is not the header of an edge list.

    >>> edge_columns(["Parent Name", "rank", "name"])
    EdgeColumns(child=2, parent=0, name=None)
    """
    header = _words(first)
    for parent in PARENT_WORDS:
        for child in _child_words(parent):
            if parent in header and child in header:
                has_name = "name" in header and child != "name"
                name = header.index("name") if has_name else None
                return EdgeColumns(header.index(child), header.index(parent), name)
    return None


def _words(first: list[str]) -> list[str]:
    return [re.sub(r"[\s_-]", "", cell.casefold()) for cell in first]


def _child_words(parent: str) -> list[str]:
    """Possible names of the child's column given the parent's, the most certain first."""
    what = parent.removeprefix("parent")
    return [f"child{what}", "child", *([what] if what else []), "id", "name"]


def edges_graph(table: Table) -> FileGraph:
    """Every child's parents, in the order of the lines.

    Raises:
        TaxonomyError: a line without a child; a child that is its own parent, both a root and below
            a parent, or has two names; or columns without a header that says which is the child.
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
    return FileGraph(parents, names, _read_as(table.first, at, has_header=columns is not None))


def _read_as(first: list[str], at: EdgeColumns, *, has_header: bool) -> str:
    child, parent = (
        word if has_header and cell.casefold() == word else f"{word} {cell or '(none)'}"
        for word, cell in (("child", first[at.child]), ("parent", first[at.parent]))
    )
    if not has_header:
        return f"edges without a header: the first row is {child}, {parent}"
    name = "" if at.name is None else f", {first[at.name]}"
    return f"edges: {child}, {parent}{name}"


def _without_header(table: Table) -> EdgeColumns:
    header = set(_words(table.first))
    found = ", ".join(map(repr, table.first[:8]))
    if any(map(header.issuperset, AMBIGUOUS_HEADERS)):
        raise TaxonomyError(
            f"{table.path}, line {table.lines[0]} is a header, {found}, but does not say which "
            "column is the child and which the parent: name the columns child and parent"
        )
    words = {"child", "id", *PARENT_WORDS}.union(*map(_child_words, PARENT_WORDS))
    known = (words - {"name", "class"}) & header
    if len(table.first) != 2 or known:
        raise TaxonomyError(
            f"{table.path}, line {table.lines[0]} begins with {found}, which does not say which "
            "column is the child and which the parent: add a header 'child' and 'parent'"
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
                f"{table.path}: {child!r} has a parent on one of the lines {before} and {line} but "
                "not on the other. Remove one of them"
            )
        if up:
            row.append(up)
    return parents


def _names(
    table: Table, column: int, children: list[str], rows: list[list[str]], lines: list[int]
) -> dict[str, str]:
    names: dict[str, str] = {}
    first: dict[str, int] = {}
    for line, child, row in zip(lines, children, rows, strict=True):
        name = row[column]
        if not name:
            continue
        if names.setdefault(child, name) != name:
            raise TaxonomyError(
                f"{table.path}: {child!r} is named {names[child]!r} on line {first[child]} and "
                f"{name!r} on line {line}. Give it one name"
            )
        first.setdefault(child, line)
    return names

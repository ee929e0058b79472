"""Edge lists: one (child, parent) pair per line."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, NamedTuple

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.taxonomy_files.edge_order import EdgeOrder, detect_order
from labelkit.hierarchy.taxonomy_files.forms import SPACES, FileGraph, Parents

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


WHICH_ORDER = (
    "Say which: --edges parent-child or --edges child-parent (edges=... in Python), or add a "
    "header that names the columns child and parent"
)


class EdgeColumns(NamedTuple):
    """The columns of the child, the parent and the name; no name if there is no such column.

    ``reason`` says how the order was found, if no header and no user gave it.
    """

    child: int
    parent: int
    name: int | None
    reason: str = ""

    @property
    def order(self) -> EdgeOrder:
        """The column that comes first."""
        return "child-parent" if self.child < self.parent else "parent-child"


def edge_columns(first: list[str]) -> EdgeColumns | None:
    """The columns that a table's first row names; None if it is not the header of an edge list.

    >>> edge_columns(["Parent Name", "rank", "name"])
    EdgeColumns(child=2, parent=0, name=None, reason='')
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


def edges_graph(table: Table, order: EdgeOrder | None) -> FileGraph:
    """Every child's parents, in the order of the lines.

    Args:
        table: the rows, including a header if there is one.
        order: which of two columns is the child, if the user said so.

    Raises:
        TaxonomyError: a line without a child; a child that is its own parent, both a root and below
            a parent, or has two names; columns of unknown order, or of another than ``order``.
    """
    columns = edge_columns(table.first)
    has_header = columns is not None or (order is not None and _is_ambiguous_header(table))
    body = slice(1 if has_header else 0, None)
    rows, lines = table.rows[body], table.lines[body]
    if columns is None:
        at = _without_header(table, order)
    elif order in {None, columns.order}:
        at = columns
    else:
        raise TaxonomyError(
            f"{table.path}, line {table.lines[0]} names the columns in the order {columns.order}, "
            f"but the order given is {order}: correct the header, or leave --edges out"
        )
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
    return FileGraph(parents, names, _read_as(table.first, at, has_header=has_header))


def _read_as(first: list[str], at: EdgeColumns, *, has_header: bool) -> str:
    cells = (("child", at.child), ("parent", at.parent))
    child, parent = (
        word
        if has_header and first[cell].casefold() == word
        else f"{word} {first[cell] or '(none)'}"
        for word, cell in (cells if has_header else sorted(cells, key=operator.itemgetter(1)))
    )
    if not has_header:
        reason = at.reason and f" ({at.reason})"
        return f"edges without a header: the first row is {child}, {parent}{reason}"
    name = "" if at.name is None else f", {first[at.name]}"
    return f"edges: {child}, {parent}{name}"


def _is_ambiguous_header(table: Table) -> bool:
    return len(table.first) == 2 and any(
        set(_words(table.first)) == set(words) for words in AMBIGUOUS_HEADERS
    )


def _without_header(table: Table, order: EdgeOrder | None) -> EdgeColumns:
    """The columns of a table that does not name them, if they are two."""
    header = set(_words(table.first))
    found = ", ".join(map(repr, table.first[:8]))
    if order is None and any(map(header.issuperset, AMBIGUOUS_HEADERS)):
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
    reason = ""
    if order is None:
        order, reason = _order_by_content(table)
    return EdgeColumns(*((0, 1) if order == "child-parent" else (1, 0)), name=None, reason=reason)


def _order_by_content(table: Table) -> tuple[EdgeOrder, str]:
    """The order of two columns without a header, and the reason for it.

    Between spaces both orders are common, so the content must decide. In other tables the child
    comes first, unless that is implausible.
    """
    first, second = (list(map(operator.itemgetter(column), table.rows)) for column in (0, 1))
    detected = detect_order(first, second)
    if table.delimiter == SPACES:
        if detected is None:
            raise TaxonomyError(
                f"{table.path} may have the parent or the child first: line {table.lines[0]} is "
                f"{first[0]!r}, {second[0]!r}, and the lines fit both. {WHICH_ORDER}"
            )
        return detected.order, detected.reason
    if detected and detected.certain and detected.order == "parent-child":
        raise TaxonomyError(
            f"{table.path}, line {table.lines[0]} seems to be a parent, {first[0]!r}, and its "
            f"child, {second[0]!r} ({detected.reason}), but without a header the child comes "
            f"first. {WHICH_ORDER}"
        )
    return "child-parent", ""


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

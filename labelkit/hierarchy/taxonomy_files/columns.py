"""Tables of columns from coarse to fine, such as kingdom, phylum, ..., species."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.taxonomy_files.forms import FileGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.hierarchy.taxonomy_files.forms import Table

ROOT = -1
FEW = 3  # with this many rows, a first column without repetition is not taken for a rank


@dataclass
class PathNodes:
    """The nodes above the classes, each identified by its column and the path of cells to it."""

    texts: list[str] = field(default_factory=list[str])
    columns: list[int] = field(default_factory=list[int])
    parents: list[int] = field(default_factory=list[int])
    below: dict[tuple[int, int, str], int] = field(default_factory=dict[tuple[int, int, str], int])
    ends: dict[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])

    def end_of(self, cells: tuple[str, ...]) -> int:
        """The node at the end of a row's cells, created if necessary; empty cells are skipped."""
        node = self.ends.get(cells)
        if node is not None:
            return node
        node = ROOT
        for column, text in enumerate(cells):
            if text:
                node = self._child(node, column, text)
        self.ends[cells] = node
        return node

    def _child(self, node: int, column: int, text: str) -> int:
        child = self.below.get((node, column, text))
        if child is None:
            child = self.below[node, column, text] = len(self.texts)
            self.texts.append(text)
            self.columns.append(column)
            self.parents.append(node)
        return child

    def paths(self, ranks: Sequence[str]) -> list[str]:
        """The texts from the root to each node, joined by ``/``.

        Where a parent has the same text in two columns, since empty cells are skipped, the rank
        follows in parentheses.
        """
        alike = Counter(zip(self.parents, self.texts, strict=True))
        paths: list[str] = []
        for parent, text, column in zip(self.parents, self.texts, self.columns, strict=True):
            label = text if alike[parent, text] == 1 else f"{text} ({ranks[column]})"
            paths.append(label if parent == ROOT else f"{paths[parent]}/{label}")
        return paths


def columns_graph(table: Table, columns: Sequence[str] | None, *, explicit: bool) -> FileGraph:
    """Every class below the cells to its left.

    Args:
        table: the rows, including the header.
        columns: the columns to read, from coarse to fine; None for all.
        explicit: whether the user said that the table has this form.

    Raises:
        TaxonomyError: a column is missing, duplicate, or contains its own name; a class id is
            empty, duplicate or at two places, or a node's path is another node's id; or the form
            was not given and the first column has no repeated cell.
    """
    picked = _picked(table, columns)
    _refuse_missing_header(table, picked)
    if not explicit:
        _refuse_numbered(table)
    rows = list(map(operator.itemgetter(*picked), table.rows[1:]))
    inner = PathNodes()
    classes: dict[str, int] = {}
    seen: dict[str, int] = {}
    cells: tuple[str, ...] = ()
    above = ROOT
    for number, row in enumerate(rows):
        if row[:-1] != cells:  # neighbours usually share them, and comparing is faster than hashing
            cells = row[:-1]
            above = inner.end_of(cells)
        class_id = row[-1]
        if seen.setdefault(class_id, number) != number and class_id:
            _refuse_repeat(table, rows, seen[class_id], number)
        classes[class_id] = above
    if "" in seen:
        raise _without_class(table, seen[""], picked[-1], explicit=explicit)
    ranks = tuple(table.first[at] for at in picked)
    ids = _inner_ids(table, inner, classes, ranks)
    names = {node: text for node, text in zip(ids, inner.texts, strict=True) if node != text}
    above_of = [*ids, None]  # ROOT finds the last
    parents = {class_id: above_of[at] for class_id, at in classes.items()}
    parents.update(zip(ids, (above_of[at] for at in inner.parents), strict=True))
    rank = [*[len(ranks) - 1] * len(classes), *inner.columns]
    return FileGraph(parents, names, f"columns: {_shown(ranks)}", ranks, rank)


def _shown(columns: Sequence[str]) -> str:
    ends = columns if len(columns) <= 8 else [*columns[:3], "...", columns[-1]]
    return " > ".join(ends)


def _picked(table: Table, columns: Sequence[str] | None) -> list[int]:
    """The positions of the columns to read, in order."""
    header = table.first
    wrong = [name for name, count in Counter(header).items() if count > 1 or not name]
    if wrong:
        what = f"the duplicate name {wrong[0]!r}" if wrong[0] else "an empty name"
        raise TaxonomyError(
            f"{table.path}, line {table.lines[0]} has {what} in its header: give every column its "
            "own name"
        )
    missing = [name for name in columns or () if name not in header]
    if missing:
        raise TaxonomyError(
            f"{table.path} has no column {missing[0]!r}; its header has: {', '.join(header[:20])}"
        )
    return [header.index(name) for name in columns or header]


def _refuse_missing_header(table: Table, picked: list[int]) -> None:
    """Refuse a header with a cell that is repeated in its own column, as cells of data are."""
    for column in picked:
        cells = list(map(operator.itemgetter(column), table.rows))
        name = cells[0]
        if cells.count(name) > 1:
            again = table.lines[cells.index(name, 1)]
            raise TaxonomyError(
                f"{table.path}, line {table.lines[0]} looks like data, since {name!r} is repeated "
                f"in the same column on line {again}: add a header with the ranks, or rename that "
                "column"
            )


def _refuse_numbered(table: Table) -> None:
    """Refuse a first column that differs in every row, as numbers and keys do but no rank does."""
    seen: set[str] = set()
    for row in table.rows[1:]:
        if row[0] in seen:
            return
        seen.add(row[0])
    if len(seen) >= FEW:
        first, *others = table.first
        picked = ",".join(others if len(others) <= 3 else [others[0], "...", others[-1]])
        raise TaxonomyError(
            f"{table.path}: column {first!r} differs in every row, so it is not a coarse rank: "
            f"choose the columns with --columns {picked}, or pass the form (--form columns)"
        )


def _without_class(table: Table, row: int, column: int, *, explicit: bool) -> TaxonomyError:
    empty = (
        f"{table.path}, line {table.lines[row + 1]}: the last column {table.first[column]!r} is "
        "empty. "
    )
    if explicit:
        return TaxonomyError(empty + "Fill it in, or remove the line")
    return TaxonomyError(
        f"{empty}The header has no child and parent, so this was read as a table of columns: fill "
        "in the cell, or for an edge list name two columns child and parent"
    )


def _refuse_repeat(table: Table, rows: list[tuple[str, ...]], before: int, number: int) -> None:
    """Refuse a class that was seen before, unless the rows differ only in columns left out."""
    class_id = rows[number][-1]
    lines = f"lines {table.lines[before + 1]} and {table.lines[number + 1]}"
    if table.rows[before + 1] == table.rows[number + 1]:
        raise TaxonomyError(f"{table.path}: duplicate class {class_id!r} ({lines}). Remove one")
    one, other = (rows[at][:-1] for at in (before, number))
    if one != other:
        first, second = (" > ".join(filter(None, row)) or "the root" for row in (one, other))
        if first == second:  # in different columns
            first, second = (" > ".join(cell or "(empty)" for cell in row) for row in (one, other))
        raise TaxonomyError(
            f"{table.path}: class {class_id!r} is at two places ({lines}): {first}, and {second}. "
            "Class ids must be unique: correct one line, or add a last column of unique ids"
        )


def _inner_ids(
    table: Table, inner: PathNodes, classes: dict[str, int], ranks: Sequence[str]
) -> list[str]:
    """Each inner node's text if it is unique, and otherwise its path."""
    uses = Counter(inner.texts)
    ids: list[str] = []
    taken = set(classes)
    for text, path in zip(inner.texts, inner.paths(ranks), strict=True):
        node = text if uses[text] == 1 and text not in classes else path
        if node in classes and path == text:
            node = f"/{text}"  # a root with the name of a class, whose path equals its text
        if node in taken:
            raise TaxonomyError(
                f"{table.path}: two nodes would have the id {node!r}, since a cell contains a '/'. "
                "Replace that character"
            )
        taken.add(node)
        ids.append(node)
    return ids

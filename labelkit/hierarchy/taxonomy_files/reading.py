"""Read a taxonomy file of any form."""

from __future__ import annotations

import contextlib
import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from labelkit.errors import TaxonomyError
from labelkit.files import read_utf8
from labelkit.hierarchy.forest import read_only
from labelkit.hierarchy.taxonomy import Taxonomy
from labelkit.hierarchy.taxonomy_files.columns import columns_graph
from labelkit.hierarchy.taxonomy_files.edge_order import EdgeOrder
from labelkit.hierarchy.taxonomy_files.edges import edge_columns, edges_graph
from labelkit.hierarchy.taxonomy_files.forms import SPACES, read_table, semicolon_hint
from labelkit.hierarchy.taxonomy_files.nested import nested_graph

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from labelkit.hierarchy.taxonomy_files.forms import FileGraph, Table

Form: TypeAlias = Literal["edges", "columns", "nested"]


def read_taxonomy(
    path: str | Path,
    *,
    form: Form | None = None,
    columns: Sequence[str] | None = None,
    edges: EdgeOrder | None = None,
    title: str | None = None,
) -> Taxonomy:
    """Read the user's own taxonomy from a UTF-8 file.

    *edges*: a table with one (child, parent) pair per line. A header with ``child`` (or ``id``) and
    ``parent`` (or ``parent_id``, ``parent_name``, ``parent_class``), and optionally ``name``,
    identifies the columns, and other columns are ignored; without a header the columns are child,
    then parent. An empty parent makes a root. A child on several lines has several parents, and
    trees follow the one on its first line. Lines of two words, as in ImageNet's
    ``wordnet.is_a.txt`` and BREEDS' ``class_hierarchy.txt``, may have either order: WordNet or the
    column without repetition shows which is the child, or else ``edges`` must say it.

    *columns*: a table with a header and one row per class, from the coarsest column to the class
    ids. Equal cells with different cells to their left are different nodes: the id of such an inner
    node is its path, joined by ``/``. Class ids are the last column, unchanged. An empty cell skips
    its rank. The columns are the taxonomy's ``ranks``, which a tree can keep as its levels.

    *nested*: JSON, as Open Images' ``{"LabelName": ..., "Subcategory": [...]}`` (its ``Part`` lists
    are parts, not children, and are left out), as ``{"id" or "name": ..., "children": [...]}``, or
    as plain ``{"animal": {"cat": {}, "dog": ["spitz"]}}``. A label at several places has several
    parents, the first place first.

    In tables, whitespace around cells, blank lines and lines that start with ``#`` are ignored.
    Columns are separated by commas in ``.csv``, by tabs in ``.tsv`` and ``.tab``, and in other
    files by whichever of the two the first line has; by semicolons, as Excel writes them in many
    countries, if the first line has these and neither comma nor tab; by spaces in other files if
    the first line has none of these and two words. The taxonomy's
    ``source["read_as"]`` says how the file was read.

    Args:
        path: the file.
        form: one of the three; None where the file is unambiguous: a ``.json`` file is nested, a
            header with child and parent means edges, three or more columns mean columns if the
            first column has a repeated cell.
        columns: the columns to read, from coarse to fine; implies the form ``columns``. Rows that
            are then equal are one class.
        edges: ``"child-parent"`` or ``"parent-child"``: the order of the two columns of an edge
            list without a header; implies the form ``edges``. None detects it where necessary.
        title: the taxonomy's name in messages and in trees; the file name by default.

    Raises:
        TaxonomyError: the file contains no taxonomy, or is ambiguous; the message names the line.
        ValueError: ``form`` or ``edges`` is another word, or ``columns`` or ``edges`` do not go
            with the form.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if form is not None and form not in get_args(Form):
        raise ValueError(f"form {form!r}: expected one of {', '.join(get_args(Form))}")
    if edges is not None:
        form = _form_of_edges(edges, columns, form)
    if columns is not None:
        form = _form_of(columns, form)
    with _collection_paused():
        graph = _graph(path, form, columns, edges)
        return _taxonomy(path, graph, title)


@contextlib.contextmanager
def _collection_paused() -> Generator[None]:
    """Pause the garbage collector, which finds nothing in a million rows but doubles the time.

    Nothing here creates reference cycles; a collector that was off stays off.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _graph(
    path: Path, form: Form | None, columns: Sequence[str] | None, order: EdgeOrder | None
) -> FileGraph:
    text = read_utf8(path, TaxonomyError)
    if not text.strip():
        raise TaxonomyError(f"{path} is empty: write one line per class")
    if form == "nested" or (form is None and path.suffix.lower() == ".json"):
        return nested_graph(path, text)
    table = read_table(path, text)
    if form == "edges" or (form is None and _has_edges(table)):
        return edges_graph(table, order)
    return columns_graph(table, columns, explicit=form is not None)


def _form_of(columns: Sequence[str], form: Form | None) -> Form:
    """``columns``, after checking that the columns can go with it."""
    if form not in {None, "columns"}:
        raise ValueError(f"columns go with the form 'columns', not with {form!r}")
    if isinstance(columns, str) or len(columns) < 2 or len(set(columns)) < len(columns):
        raise ValueError(
            f"columns {columns!r}: expected two or more different names, from coarse to fine"
        )
    return "columns"


def _form_of_edges(edges: EdgeOrder, columns: Sequence[str] | None, form: Form | None) -> Form:
    """``edges``, after checking that this order can go with the rest."""
    if edges not in get_args(EdgeOrder):
        raise ValueError(f"edges is {edges!r}: expected one of {', '.join(get_args(EdgeOrder))}")
    if form not in {None, "edges"} or columns is not None:
        other = "columns" if columns is not None else f"the form {form!r}"
        raise ValueError(f"edges goes with the form 'edges', not with {other}")
    return "edges"


def _has_edges(table: Table) -> bool:
    """Whether a table is a list of edges rather than of columns; refuse an ambiguous one."""
    if edge_columns(table.first) is not None or table.delimiter == SPACES:
        return True
    if len(table.first) > 2:
        return False
    raise TaxonomyError(
        f"{table.path} has two columns, which could be child and parent or coarse and fine: pass "
        "the form, 'edges' or 'columns' (--form on the command line), or add the header 'child' "
        f"and 'parent'{semicolon_hint(table.first)}"
    )


def _taxonomy(path: Path, graph: FileGraph, title: str | None) -> Taxonomy:
    if not graph.parents:
        raise TaxonomyError(f"{path} contains no classes: add at least one")
    try:
        taxonomy = Taxonomy.from_parents(
            graph.parents, names=graph.names, title=path.name if title is None else title
        )
    except TaxonomyError as error:
        raise TaxonomyError(f"{path}: {error}") from error
    # The taxonomy's ids are the keys of the graph's parents, in their order.
    return replace(
        taxonomy,
        source={**taxonomy.source, "read_as": graph.read_as},
        ranks=graph.ranks,
        rank=read_only(graph.rank),
    )

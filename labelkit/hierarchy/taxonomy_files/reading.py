"""One way in for every form of taxonomy file."""

from __future__ import annotations

import contextlib
import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.taxonomy import Taxonomy
from labelkit.hierarchy.taxonomy_files.columns import columns_graph
from labelkit.hierarchy.taxonomy_files.edges import edge_columns, edges_graph
from labelkit.hierarchy.taxonomy_files.nested import nested_graph
from labelkit.hierarchy.taxonomy_files.table import read_table, read_text, semicolon_hint

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from labelkit.hierarchy.taxonomy_files.graph import FileGraph
    from labelkit.hierarchy.taxonomy_files.table import Table

Form: TypeAlias = Literal["edges", "columns", "nested"]


def read_taxonomy(
    path: str | Path,
    *,
    form: Form | None = None,
    columns: Sequence[str] | None = None,
    title: str | None = None,
) -> Taxonomy:
    """Read a taxonomy of one's own from a file in UTF-8.

    *edges*: a table with one (child, parent) pair a line. A header with ``child`` (or ``id``) and
    ``parent`` (or ``parent_id``, ``parent_name``, ``parent_class``), and perhaps ``name``, says
    which column is which, and other columns do not count; without one the columns are child, then
    parent. An empty parent makes a root. A child on several
    lines has several parents, and trees follow the one on its first line. ImageNet's own
    ``wordnet.is_a.txt`` has the parent first and a blank between: swap them.

    *columns*: a table with a header and one row per class, from the coarsest column to the class
    ids. Equal cells with different cells before them are different nodes: such an inner node's id
    is its path, joined by ``/``. Class ids are the last column as it stands. An empty cell skips
    its rank.

    *nested*: JSON, as Open Images' ``{"LabelName": ..., "Subcategory": [...]}`` (its ``Part`` are
    parts and no kinds, and are left out), as ``{"id" or "name": ..., "children": [...]}``, or as
    plain ``{"animal": {"cat": {}, "dog": ["spitz"]}}``. A label at several places has several
    parents, the first place first.

    In tables, white space around cells, blank lines and lines that begin with ``#`` do not count.
    Columns are separated by commas in ``.csv``, by tabs in ``.tsv`` and ``.tab``, and in other
    files by the one of both that the first line has; by semicolons, as Excel writes them in many
    countries, where the first line has these and neither comma nor tab. The taxonomy's
    ``source["read_as"]`` says how the file was read.

    Args:
        path: the file.
        form: which of the three; None where the file leaves no doubt: a ``.json`` file is nested, a
            header with child and parent makes edges, three or more columns are columns, if a cell
            of the first column comes again.
        columns: the columns to read, from coarse to fine; for the form ``columns``, which this
            implies. Rows that then say the same are one class.
        title: what to call the taxonomy in messages and in trees; the file's name by default.

    Raises:
        TaxonomyError: the file holds no taxonomy, or leaves a doubt; the message names the line.
        ValueError: ``form`` is none of the three, or ``columns`` do not go with it.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if form is not None and form not in get_args(Form):
        raise ValueError(f"form {form!r}: expected one of {', '.join(get_args(Form))}")
    if columns is not None:
        form = _form_of(columns, form)
    with _collection_paused():
        graph = _graph(path, form, columns)
        return _taxonomy(path, graph, title)


@contextlib.contextmanager
def _collection_paused() -> Generator[None]:
    """Leave out the garbage collector, which finds nothing in a million rows but doubles the time.

    Nothing here makes cycles of objects; a collector that was off stays off.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _graph(path: Path, form: Form | None, columns: Sequence[str] | None) -> FileGraph:
    text = read_text(path)
    if form == "nested" or (form is None and path.suffix.lower() == ".json"):
        return nested_graph(path, text)
    table = read_table(path, text)
    if form == "edges" or (form is None and _holds_edges(table)):
        return edges_graph(table)
    return columns_graph(table, columns, stated=form is not None)


def _form_of(columns: Sequence[str], form: Form | None) -> Form:
    """``columns``, after a look at whether that is what the columns can go with."""
    if form not in {None, "columns"}:
        raise ValueError(f"columns go with the form 'columns', not with {form!r}")
    if isinstance(columns, str) or len(columns) < 2 or len(set(columns)) < len(columns):
        raise ValueError(
            f"columns {columns!r}: expected two or more different names, from coarse to fine"
        )
    return "columns"


def _holds_edges(table: Table) -> bool:
    """Whether a table is a list of edges and not one of columns; where it could be both, refuse."""
    if edge_columns(table.first) is not None:
        return True
    if len(table.first) > 2:
        return False
    raise TaxonomyError(
        f"{table.path} has two columns, which could be child and parent or coarse and fine: state "
        "the form, 'edges' or 'columns' (--form on the command line), or give it the header "
        f"'child' and 'parent'{semicolon_hint(table.first)}"
    )


def _taxonomy(path: Path, graph: FileGraph, title: str | None) -> Taxonomy:
    if not graph.parents:
        raise TaxonomyError(f"{path} holds no class: give it at least one")
    try:
        taxonomy = Taxonomy.from_parents(
            graph.parents, names=graph.names, title=path.name if title is None else title
        )
    except TaxonomyError as error:
        raise TaxonomyError(f"{path}: {error}") from error
    return replace(taxonomy, source={**taxonomy.source, "read_as": graph.read_as})

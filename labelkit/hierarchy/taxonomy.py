"""The graph of what is a kind of what: WordNet's nouns, or the user's own classes."""

# N nodes (classes and everything above them), E child -> parent edges

from __future__ import annotations

import functools
import graphlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import ClassListError, TaxonomyError
from labelkit.hierarchy.arrays import IntArray, read_only, row_starts
from labelkit.hierarchy.wordnet.noun_graph import ParentTable, noun_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labelkit.hierarchy.class_list import ClassList


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A child -> parents graph without cycles, and the one parent of each node that trees follow.

    Make one with ``wordnet``, ``from_parents`` or ``from_edges``, which check what this does not.
    Node ``i`` has the parents ``parents[parents_start[i]:parents_start[i + 1]]``, in their given
    order; ``parent[i]`` is the one that the rule picked, -1 for a root. ``index`` finds the node of
    an id. ``source`` says in words how the graph came about; a tree keeps it.
    """

    ids: tuple[str, ...]
    index: Mapping[str, int] = field(repr=False)
    names: tuple[str, ...]
    parents_start: IntArray
    parents: IntArray
    parent: IntArray
    source: Mapping[str, str]

    @classmethod
    def wordnet(cls) -> Taxonomy:
        """WordNet 3.0's nouns, each with the parent that ImageNet gives it.

        That is the one in ImageNet's own table where several hypernyms leave a choice, and the
        first hypernym pointer (``@``) otherwise. Instance hypernyms (``@i``) are left out. The
        graph comes with labelkit and is read once per process.
        """
        return _wordnet()

    @classmethod
    def from_parents(
        cls,
        parents: Mapping[str, str | Iterable[str] | None],
        *,
        names: Mapping[str, str] | None = None,
        title: str = "custom",
    ) -> Taxonomy:
        """A taxonomy of the user's own ids; the first parent of each is the one that trees follow.

        Args:
            parents: id -> its parent, its parents in order of preference, or None for a root. A
                parent that is no key itself is a root.
            names: id -> name to show; the id itself where it is missing.
            title: what to call the taxonomy in messages and in the tree's ``source``.

        Raises:
            TaxonomyError: no ids at all, or the ids run in a cycle; the message names them.

        >>> taxonomy = Taxonomy.from_parents({"cat": "animal", "dog": ["animal", "guard"]})
        >>> taxonomy.parents_of("dog")
        ('animal', 'guard')
        """
        rows = {child: _distinct(above) for child, above in parents.items()}
        ids = tuple(dict.fromkeys([*rows, *(above for row in rows.values() for above in row)]))
        if not ids:
            raise TaxonomyError(f"the taxonomy {title!r} is empty: give it at least one id")
        _refuse_cycle(rows, title)
        index = {node: position for position, node in enumerate(ids)}
        start = row_starts([len(rows.get(node, ())) for node in ids])
        flat = read_only([index[above] for node in ids for above in rows.get(node, ())])
        names = names or {}
        return cls(
            ids=ids,
            index=index,
            names=tuple(names.get(node, node) for node in ids),
            parents_start=start,
            parents=flat,
            parent=read_only(_first_parents(start, flat)),
            source={"taxonomy": title, "rule": "first"},
        )

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[str, str]],
        *,
        names: Mapping[str, str] | None = None,
        title: str = "custom",
    ) -> Taxonomy:
        """A taxonomy from (child, parent) pairs; a child's first pair is the one that trees follow.

        Args:
            edges: the pairs; a pair that comes again changes nothing.
            names: id -> name to show; the id itself where it is missing.
            title: what to call the taxonomy in messages and in the tree's ``source``.

        Raises:
            TaxonomyError: no pairs, or the ids run in a cycle; the message names them.
        """
        rows: dict[str, list[str]] = {}
        for child, above in edges:
            rows.setdefault(child, []).append(above)
        return cls.from_parents(rows, names=names, title=title)

    def parents_of(self, node_id: str) -> tuple[str, ...]:
        """Every parent of an id, in order of preference.

        Raises:
            TaxonomyError: the taxonomy has no such id.
        """
        at = self.index.get(node_id)
        if at is None:
            raise TaxonomyError(f"{self.source['taxonomy']} has no id {node_id!r}")
        row = self.parents[self.parents_start[at] : self.parents_start[at + 1]]
        return tuple(self.ids[above] for above in row)

    def nodes(self, classes: ClassList) -> IntArray:
        """The node of each class.

        Raises:
            ClassListError: the taxonomy does not know some of the classes; the message names them.
        """
        index = self.index
        unknown = [class_id for class_id in classes if class_id not in index]
        if unknown:
            raise ClassListError(
                f"{self.source['taxonomy']} does not know {len(unknown):,} of the "
                f"{len(classes):,} ids of {classes.name or 'the class list'}: "
                f"{', '.join(map(repr, unknown[:3]))}{', ...' if len(unknown) > 3 else ''}. "
                f"{_advice(self)}"
            )
        return read_only([index[class_id] for class_id in classes])


@functools.cache
def _wordnet() -> Taxonomy:
    graph = noun_graph()
    table = ParentTable.read()
    parent = _first_parents(graph.hypernym_start, graph.hypernym)
    index = graph.index
    for child, above in table.parent_of.items():
        parent[index[child]] = index[above]
    return Taxonomy(
        ids=graph.ids,
        index=index,
        names=graph.lemmas,
        parents_start=graph.hypernym_start,
        parents=graph.hypernym,
        parent=read_only(parent),
        source={
            "taxonomy": "WordNet 3.0",
            "rule": "imagenet",
            "parent_table": f"sha256:{table.digest}",
        },
    )


def _first_parents(start: IntArray, parents: IntArray) -> IntArray:
    """The first parent of each node, -1 where there is none: (N,)."""
    has_parent = start[1:] > start[:-1]
    first = np.full(len(has_parent), -1, dtype=np.int64)
    first[has_parent] = parents[start[:-1][has_parent]]
    return first


def _distinct(above: str | Iterable[str] | None) -> tuple[str, ...]:
    if above is None:
        return ()
    return (above,) if isinstance(above, str) else tuple(dict.fromkeys(above))


def _refuse_cycle(rows: Mapping[str, tuple[str, ...]], title: str) -> None:
    try:
        graphlib.TopologicalSorter(rows).prepare()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1][::-1]
        shown = cycle if len(cycle) <= 8 else [*cycle[:4], "...", *cycle[-3:]]
        raise TaxonomyError(
            f"the taxonomy {title!r} has a cycle (child -> parent): {' -> '.join(shown)}. "
            "Remove one of these pairs"
        ) from error


def _advice(taxonomy: Taxonomy) -> str:
    if taxonomy.source["rule"] == "imagenet":
        return (
            "Ids of its nouns look like n01440764, one a line and nothing beside them; other ids "
            "need a taxonomy of your own: SemanticTree.build(classes, Taxonomy.from_edges(...))"
        )
    return "Add them to the taxonomy (None as the parent makes a root), or take them off the list"

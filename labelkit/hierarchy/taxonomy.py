"""The graph of what is a kind of what: WordNet's nouns, or the user's own classes."""

# N nodes (classes and everything above them), E child -> parent edges

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from labelkit.errors import ClassListError, TaxonomyError
from labelkit.hierarchy.arrays import IntArray, read_only, row_starts
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.parent_rules import Rule, extreme_parents, first_parents
from labelkit.hierarchy.taxonomy_checks import check_ids, refuse_cycle

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

    import networkx as nx


@dataclass(frozen=True, eq=False, repr=False)
class Taxonomy:
    """A child -> parents graph without cycles, and the one parent of each node that trees follow.

    Make one with ``wordnet``, ``from_parents`` or ``from_edges``, which check what this does not.
    Node ``i`` has the parents ``parents[parents_start[i]:parents_start[i + 1]]``, in their given
    order; ``parent[i]`` is the one that the rule picked, -1 for a root. ``index`` finds the node of
    an id. ``source`` says in words how the graph came about; a tree keeps it.
    """

    ids: tuple[str, ...]
    index: Mapping[str, int]
    names: tuple[str, ...]
    parents_start: IntArray
    parents: IntArray
    parent: IntArray
    source: Mapping[str, str]

    def __repr__(self) -> str:
        how = ", ".join(f"{what} {value}" for what, value in self.source.items())
        return f"Taxonomy({len(self.ids):,} nodes; {how})"

    @classmethod
    def wordnet(cls, copy: str | Path | None = None, *, rule: Rule = "imagenet") -> Taxonomy:
        """WordNet's nouns, each with the parent that ImageNet gives it.

        That is the one in ImageNet's own table where several hypernyms leave a choice, and the
        first hypernym pointer (``@``) otherwise. Instance hypernyms (``@i``) are left out.

        Args:
            copy: which WordNet. None takes the nouns of WordNet 3.0 that come with labelkit, read
                once per process; a path is a ``dict`` folder; ``"nltk"`` is NLTK's copy, which is
                fetched if it is missing (see ``open_wordnet``). Copies of one version give the
                same taxonomy.
            rule: the one parent among several; see ``with_rule``. ``"imagenet"`` needs WordNet 3.0.

        Raises:
            TaxonomyError: the copy is missing, damaged, or not of the version that the rule needs.
        """
        from labelkit.hierarchy.wordnet.taxonomies import packaged_wordnet, wordnet_copy

        return packaged_wordnet(rule) if copy is None else wordnet_copy(copy, rule)

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
        check_ids(ids, title)
        ids = tuple(map(str, ids))  # plain text: no subclasses, such as numpy's
        index = dict(zip(ids, range(len(ids)), strict=True))
        start = row_starts([len(rows.get(node, ())) for node in ids])
        # Keys come first among the ids, in their order: so do their rows.
        flat = read_only([index[above] for row in rows.values() for above in row])
        refuse_cycle(ids, start, flat, title)
        names = names or {}
        return cls(
            ids=ids,
            index=index,
            names=tuple(str(names.get(node, node)) for node in ids) if names else ids,
            parents_start=start,
            parents=flat,
            parent=first_parents(start, flat),
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

    @classmethod
    def from_networkx(
        cls,
        graph: nx.DiGraph[Hashable],
        *,
        edges_to: Literal["parent", "child"],
        title: str = "networkx graph",
    ) -> Taxonomy:
        """A taxonomy from a directed graph; a node's first edge is the one that trees follow.

        Args:
            graph: the nodes become ids as text; a node's attribute ``name`` is its name.
            edges_to: whether an edge leads from a child to its parent or from a parent to its
                child. Graphs of both kinds are common, so it must be said.
            title: what to call the taxonomy in messages and in the tree's ``source``.

        Raises:
            ValueError: the graph has no directions, or ``edges_to`` is another word.
            TaxonomyError: an empty graph, a cycle, or two nodes with the same text.
        """
        if not graph.is_directed():
            raise ValueError("the graph has no directions: give a networkx.DiGraph")
        if edges_to not in {"parent", "child"}:
            raise ValueError(f"edges_to is {edges_to!r}, expected 'parent' or 'child'")
        rows: dict[str, list[str]] = {str(node): [] for node in graph}
        if len(rows) < len(graph):
            raise TaxonomyError(f"two nodes of {title!r} have the same text: rename one")
        for source, target in graph.edges():
            child, above = (source, target) if edges_to == "parent" else (target, source)
            rows[str(child)].append(str(above))
        names = {str(node): str(name) for node, name in graph.nodes(data="name") if name}
        return cls.from_parents(rows, names=names, title=title)

    def with_rule(self, rule: Rule) -> Taxonomy:
        """The same graph, with another one of each node's parents for trees to follow.

        Args:
            rule: ``"first"``: the first one given. ``"shortest"`` and ``"longest"``: the one with
                the fewest or the most steps from there to a root; the first of several.
                ``"imagenet"``: WordNet only, what ImageNet's own tree has.

        Raises:
            ValueError: no such rule.
            TaxonomyError: ImageNet's table does not fit this graph.
        """
        match rule:
            case "first":
                parent = first_parents(self.parents_start, self.parents)
            case "shortest" | "longest":
                parent = extreme_parents(self.parents_start, self.parents, rule)
            case "imagenet":
                from labelkit.hierarchy.wordnet.taxonomies import with_imagenet_parents

                return with_imagenet_parents(self)
            case _:
                raise ValueError(f"rule is {rule!r}: expected imagenet, first, shortest or longest")
        choice = {"rule", "parent_table", "custom_parents"}
        kept = {what: value for what, value in self.source.items() if what not in choice}
        return replace(self, parent=parent, source={**kept, "rule": rule})

    def with_parents(self, parents: Mapping[str, str]) -> Taxonomy:
        """The same graph; some nodes follow another one of their parents.

        Args:
            parents: child -> the one of its parents to follow; all others stay as they are.

        Raises:
            TaxonomyError: an id is unknown, or a parent is none of the child's.
        """
        from labelkit.hierarchy.taxonomy_edits import follow_parents

        return follow_parents(self, parents)

    def with_ids(self, nodes: Mapping[str, str]) -> Taxonomy:
        """The same graph, with ids of the user's own for some of its nodes.

        So plain class names can stand for WordNet's nouns: the new id is the node's name, too.

        Args:
            nodes: the new id -> the id of its node.

        Raises:
            TaxonomyError: an unknown node, two new ids for one node, or an id that another node
                has.
        """
        from labelkit.hierarchy.taxonomy_edits import rename

        return rename(self, nodes)

    def with_children(self, parents: Mapping[str, str]) -> Taxonomy:
        """The graph with new nodes, each below one that is there.

        So a class finds its place for which the taxonomy has no word: a ramen below dish.

        Args:
            parents: the new id, which is its name, too -> the id of its parent.

        Raises:
            TaxonomyError: an unknown parent, or an id that a node has.
        """
        from labelkit.hierarchy.taxonomy_edits import add_children

        return add_children(self, parents)

    def leaves(self) -> ClassList:
        """The ids that are no parent of any other, in the order in which they were given."""
        is_parent = np.zeros(len(self.ids), dtype=bool)
        is_parent[self.parents] = True
        return ClassList.of(
            (self.ids[node] for node in np.flatnonzero(~is_parent).tolist()),
            self.source["taxonomy"],
        )

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


def _distinct(above: str | Iterable[str] | None) -> tuple[str, ...]:
    if above is None:
        return ()
    if isinstance(above, str):
        return (above,)
    if not isinstance(above, Iterable):
        raise TaxonomyError(f"{above!r} is no parent: give an id, several, or None for a root")
    return tuple(dict.fromkeys(above))


def _advice(taxonomy: Taxonomy) -> str:
    if taxonomy.source["taxonomy"].startswith("WordNet "):
        return (
            "Ids of its nouns look like n01440764, one a line and nothing beside them. For plain "
            "names make a file of their nouns: labelkit match-names CLASSES -o names.tsv. Other "
            "ids need a taxonomy of your own: labelkit build-tree --taxonomy FILE"
        )
    return "Add them to the taxonomy (None as the parent makes a root), or take them off the list"

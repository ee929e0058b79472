"""Taxonomies: graphs of children and parents, from WordNet or the user's own classes."""

# N nodes (classes and everything above them), E child -> parent edges

from __future__ import annotations

import functools
import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from labelkit.errors import ClassListError, TaxonomyError
from labelkit.hierarchy.class_list import ClassList, advice_on_indices
from labelkit.hierarchy.forest import IntArray, read_only, row_starts
from labelkit.hierarchy.wordnet.graph import ParentTable, SynsetGraph, packaged_graph

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    import networkx as nx

Rule: TypeAlias = Literal["imagenet", "first", "shortest", "longest"]


def _unranked() -> IntArray:
    return read_only([])


@dataclass(frozen=True, eq=False, repr=False)
class Taxonomy:
    """A child -> parents graph without cycles, and the one parent of each node that trees follow.

    Create one with ``wordnet``, ``from_parents``, ``from_edges`` or ``from_networkx``, which check
    what the constructor does not. Node ``i`` has the parents
    ``parents[parents_start[i]:parents_start[i + 1]]``, in their given order; ``parent[i]`` is the
    one chosen by the rule, -1 for a root. ``index`` maps an id to its node. ``source`` describes
    how the graph was made; a tree keeps it. ``ranks`` are the columns of a table, from coarse to
    fine, and ``rank[i]`` is the position of node ``i``'s, -1 if it has none; both are empty for
    other taxonomies.
    """

    ids: tuple[str, ...]
    index: Mapping[str, int]
    names: tuple[str, ...]
    parents_start: IntArray
    parents: IntArray
    parent: IntArray
    source: Mapping[str, str]
    ranks: tuple[str, ...] = ()
    rank: IntArray = field(default_factory=_unranked)

    def __repr__(self) -> str:
        facts = ", ".join(f"{key} {value}" for key, value in self.source.items())
        return f"Taxonomy({len(self.ids):,} nodes; {facts})"

    @classmethod
    def wordnet(cls, copy: str | Path | None = None, *, rule: Rule = "imagenet") -> Taxonomy:
        """WordNet's noun synsets, each with the parent that ImageNet gives it.

        Where several hypernyms leave a choice, that is the parent in ImageNet's own table, and
        otherwise the first hypernym pointer (``@``). Instance hypernyms (``@i``) are left out.

        Args:
            copy: which WordNet. None takes the synsets of WordNet 3.0 that are included in
                labelkit, read once per process; a path is a ``dict`` folder; ``"nltk"`` is NLTK's
                copy, downloaded if it is missing (see ``open_wordnet``). Copies of the same version
                give the same taxonomy.
            rule: how to choose among several parents; see ``with_rule``. ``"imagenet"`` needs
                WordNet 3.0.

        Raises:
            TaxonomyError: the copy is missing, damaged, or not of the version that the rule needs.
            ValueError: no such rule.
        """
        if copy is None:
            return _packaged_wordnet(rule)
        from labelkit.hierarchy.wordnet.copies import open_wordnet

        return _from_synsets(open_wordnet(copy), rule)

    @classmethod
    def from_parents(
        cls,
        parents: Mapping[str, str | Iterable[str] | None],
        *,
        names: Mapping[str, str] | None = None,
        title: str = "custom",
    ) -> Taxonomy:
        """A taxonomy of the user's own ids; trees follow the first parent of each.

        Args:
            parents: id -> its parent, its parents in order of preference, or None for a root. A
                parent that is not a key is a root.
            names: id -> the name to show; the id by default.
            title: the taxonomy's name in messages and in the tree's ``source``.

        Raises:
            TaxonomyError: no ids, or the ids form a cycle; the message names them.

        >>> taxonomy = Taxonomy.from_parents({"cat": "animal", "dog": ["animal", "guard"]})
        >>> taxonomy.parents_of("dog")
        ('animal', 'guard')
        """
        rows = {child: _distinct(above) for child, above in parents.items()}
        ids = tuple(dict.fromkeys([*rows, *(above for row in rows.values() for above in row)]))
        _check_ids(ids, title)
        ids = tuple(map(str, ids))  # plain strings: no subclasses, such as numpy's
        index = dict(zip(ids, range(len(ids)), strict=True))
        start = row_starts([len(rows.get(node, ())) for node in ids])
        # Keys come first among the ids, in their order, and so do their rows.
        flat = read_only([index[above] for row in rows.values() for above in row])
        _refuse_cycle(ids, start, flat, title)
        names = names or {}
        return cls(
            ids=ids,
            index=index,
            names=tuple(str(names.get(node, node)) for node in ids) if names else ids,
            parents_start=start,
            parents=flat,
            parent=_first_parents(start, flat),
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
        """A taxonomy from (child, parent) pairs; trees follow the first pair of each child.

        Args:
            edges: the pairs; repeated pairs have no effect.
            names: id -> the name to show; the id by default.
            title: the taxonomy's name in messages and in the tree's ``source``.

        Raises:
            TaxonomyError: no pairs, or the ids form a cycle; the message names them.
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
        """A taxonomy from a directed graph; trees follow the first edge of each node.

        Args:
            graph: the nodes become ids as text; a node's attribute ``name`` is its name.
            edges_to: whether an edge leads from a child to its parent or from a parent to its
                child. Both conventions are common, so there is no default.
            title: the taxonomy's name in messages and in the tree's ``source``.

        Raises:
            ValueError: the graph is undirected, or ``edges_to`` is another word.
            TaxonomyError: an empty graph, a cycle, or two nodes with the same text.
        """
        if not graph.is_directed():
            raise ValueError("the graph is undirected: pass a networkx.DiGraph")
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
        """The same graph, with each node's parent chosen by another rule.

        Args:
            rule: ``"first"``: the first parent given. ``"shortest"`` and ``"longest"``: the parent
                with the fewest or the most steps to a root; the first of several. ``"imagenet"``:
                the parent in ImageNet's own tree, for WordNet only.

        Raises:
            ValueError: no such rule.
            TaxonomyError: ImageNet's table does not match this graph.
        """
        match rule:
            case "first":
                parent = _first_parents(self.parents_start, self.parents)
            case "shortest" | "longest":
                parent = _extreme_parents(self.parents_start, self.parents, rule)
            case "imagenet":
                return _with_imagenet_parents(self)
            case _:
                raise ValueError(f"rule is {rule!r}: expected imagenet, first, shortest or longest")
        choice = {"rule", "parent_table", "custom_parents"}
        kept = {key: value for key, value in self.source.items() if key not in choice}
        return replace(self, parent=parent, source={**kept, "rule": rule})

    def with_parents(self, parents: Mapping[str, str]) -> Taxonomy:
        """The same graph, with the parent of some nodes chosen by hand.

        Args:
            parents: child -> the one of its parents to follow; all other nodes are unchanged.

        Raises:
            TaxonomyError: an id is unknown, or a parent is not one of the child's.
        """
        chosen = np.array(self.parent)
        for child, above in parents.items():
            possible = self.parents_of(child)
            if above not in possible:
                raise TaxonomyError(
                    f"{above!r} is not a parent of {child!r} in {self.source['taxonomy']}: it has "
                    f"{', '.join(map(repr, possible)) or 'none'}. A row is a child, then a parent"
                )
            chosen[self.index[child]] = self.index[above]
        source = self._source_after("custom_parents", parents)
        return replace(self, parent=read_only(chosen), source=source)

    def with_ids(self, nodes: Mapping[str, str]) -> Taxonomy:
        """The same graph, with new ids for some of its nodes.

        Plain class names can thus replace WordNet's ids. The new id is also the node's name.

        Args:
            nodes: the new id -> the current id of its node.

        Raises:
            TaxonomyError: an unknown node, two new ids for one node, or an id of another node.
        """
        ids, names = list(self.ids), list(self.names)
        given: dict[str, str] = {}
        for new, old in nodes.items():
            if old not in self.index:
                raise TaxonomyError(f"{self.source['taxonomy']} has no id {old!r} (for {new!r})")
            if old in given:
                raise TaxonomyError(
                    f"{given[old]!r} and {new!r} are both {old}, but a node can be only one class. "
                    "Merge the two, or give one of them a node above or below"
                )
            given[old] = new
            ids[self.index[old]] = names[self.index[old]] = new
        taken = [new for new in nodes if new in self.index and new not in given]
        if taken:
            raise TaxonomyError(
                f"{taken[0]!r} is already the id of another node of {self.source['taxonomy']}: "
                "choose another"
            )
        _check_ids(ids, self.source["taxonomy"])
        return replace(
            self,
            ids=tuple(ids),
            index=dict(zip(ids, range(len(ids)), strict=True)),
            names=tuple(names),
            source=self._source_after("custom_ids", nodes),
        )

    def with_children(self, parents: Mapping[str, str]) -> Taxonomy:
        """The graph with new nodes, each below an existing one.

        This gives a place to classes that the taxonomy has no word for: a ramen below dish.

        Args:
            parents: the new id, which is also its name -> the id of its parent.

        Raises:
            TaxonomyError: an unknown parent, or an id that already exists.
        """
        title = self.source["taxonomy"]
        for child, above in parents.items():
            if above not in self.index:
                raise TaxonomyError(f"{title} has no id {above!r} (for {child!r})")
            if child in self.index:
                raise TaxonomyError(f"{title} already has the id {child!r}: choose another")
        if not parents:
            return self
        ids = (*self.ids, *parents)
        _check_ids(ids, title)
        nodes = np.array([self.index[above] for above in parents.values()], dtype=np.int64)
        start = self.parents_start
        return replace(
            self,
            ids=ids,
            index=dict(zip(ids, range(len(ids)), strict=True)),
            names=(*self.names, *parents),
            parents_start=read_only(np.append(start, start[-1] + np.arange(1, len(nodes) + 1))),
            parents=read_only(np.append(self.parents, nodes)),
            parent=read_only(np.append(self.parent, nodes)),
            source=self._source_after("custom_children", parents),
            rank=read_only([*self.rank, *[-1] * len(nodes)]) if self.ranks else self.rank,
        )

    def leaves(self) -> ClassList:
        """The ids that are not a parent of any other, in the order in which they were given."""
        is_parent = np.zeros(len(self.ids), dtype=bool)
        is_parent[self.parents] = True
        return ClassList.of(
            (self.ids[node] for node in np.flatnonzero(~is_parent).tolist()),
            self.source["taxonomy"],
        )

    def parents_of(self, node_id: str) -> tuple[str, ...]:
        """All parents of an id, in order of preference.

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
            ClassListError: the taxonomy does not contain some of the classes; the message names
                them.
        """
        unknown = self.unknown(classes)
        if unknown:
            raise ClassListError(
                f"{self.source['taxonomy']} does not contain {len(unknown):,} of the "
                f"{len(classes):,} ids of {classes.name or 'the class list'}: "
                f"{', '.join(map(repr, unknown[:3]))}{', ...' if len(unknown) > 3 else ''}. "
                f"{_advice(self, unknown, len(classes))}"
            )
        return read_only([self.index[class_id] for class_id in classes])

    def unknown(self, classes: ClassList) -> tuple[str, ...]:
        """The classes that the taxonomy does not contain, in the order of the list."""
        return tuple(class_id for class_id in classes if class_id not in self.index)

    def _source_after(self, change: str, rows: Mapping[str, str]) -> dict[str, str]:
        """The source with a digest of this change and of earlier changes of its kind."""
        lines = [f"{first}\t{second}" for first, second in sorted(rows.items())]
        before = [self.source[change]] if change in self.source else []
        digest = hashlib.sha256("\n".join([*before, *lines]).encode()).hexdigest()
        return {**self.source, change: f"sha256:{digest}"}


@functools.cache
def _packaged_wordnet(rule: Rule) -> Taxonomy:
    return _from_synsets(packaged_graph(), rule)


def _from_synsets(graph: SynsetGraph, rule: Rule) -> Taxonomy:
    taxonomy = Taxonomy(
        ids=graph.ids,
        index=graph.index,
        names=graph.lemmas,
        parents_start=graph.hypernym_start,
        parents=graph.hypernym,
        parent=_first_parents(graph.hypernym_start, graph.hypernym),
        source={"taxonomy": f"WordNet {graph.version}".strip(), "rule": "first"},
    )
    return taxonomy if rule == "first" else taxonomy.with_rule(rule)


def _with_imagenet_parents(taxonomy: Taxonomy) -> Taxonomy:
    table = ParentTable.load()
    first = taxonomy.with_rule("first")
    try:
        chosen = first.with_parents(table.parent_of)
    except TaxonomyError as error:
        remedy = (
            "choose the rule before renaming ids"
            if "custom_ids" in taxonomy.source
            else "use another rule (first, shortest, longest), or labelkit's own WordNet"
        )
        raise TaxonomyError(
            f"ImageNet's parents are those of WordNet 3.0 with its own ids, not of "
            f"{taxonomy.source['taxonomy']}: {remedy}"
        ) from error
    source = {**first.source, "rule": "imagenet", "parent_table": f"sha256:{table.digest}"}
    return replace(chosen, source=source)


def _first_parents(start: IntArray, parents: IntArray) -> IntArray:
    """The first parent of each node, -1 for a root: (N,)."""
    has_parent = start[1:] > start[:-1]
    first = np.full(len(has_parent), -1, dtype=np.int64)
    first[has_parent] = parents[start[:-1][has_parent]]
    return read_only(first)


def _extreme_parents(
    start: IntArray, parents: IntArray, rule: Literal["shortest", "longest"]
) -> IntArray:
    """The parent with the fewest or the most steps to a root, -1 for a root: (N,).

    Of parents with equally many steps, the first is taken.
    """
    begin: list[int] = start.tolist()
    flat: list[int] = parents.tolist()
    steps = [0] * (len(begin) - 1)
    chosen = [-1] * len(steps)
    pick = min if rule == "shortest" else max
    for node in reversed(_children_first(start, parents)):
        row = flat[begin[node] : begin[node + 1]]
        if row:
            chosen[node] = pick(row, key=steps.__getitem__)
            steps[node] = steps[chosen[node]] + 1
    return read_only(chosen)


def _children_first(start: IntArray, parents: IntArray) -> list[int]:
    """The nodes in topological order: each comes after all of its descendants.

    Nodes on a cycle, and their ancestors, are missing.
    """
    begin: list[int] = start.tolist()
    flat: list[int] = parents.tolist()
    waiting: list[int] = np.bincount(parents, minlength=len(begin) - 1).tolist()
    ready = deque(node for node, children in enumerate(waiting) if not children)
    order: list[int] = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for above in flat[begin[node] : begin[node + 1]]:
            waiting[above] -= 1
            if not waiting[above]:
                ready.append(above)
    return order


def _refuse_cycle(ids: Sequence[str], start: IntArray, parents: IntArray, title: str) -> None:
    """Raise if a node is its own ancestor through any of its parents."""
    cycle = [ids[node] for node in _find_cycle(start, parents)]
    if cycle:
        shown = cycle if len(cycle) <= 8 else [*cycle[:4], "...", *cycle[-3:]]
        raise TaxonomyError(
            f"the taxonomy {title!r} has a cycle (child -> parent): {' -> '.join(shown)}. "
            "Remove one of these pairs"
        )


def _find_cycle(start: IntArray, parents: IntArray) -> list[int]:
    """The nodes of a cycle from child to parent, with the first repeated at the end, or nothing."""
    order = _children_first(start, parents)
    left = np.ones(len(start) - 1, dtype=bool)
    left[order] = False
    if not left.any():
        return []
    child = np.repeat(np.arange(len(left)), np.diff(start))
    inside = left[child] & left[parents]
    # Every remaining node has a remaining child, so going down from any of them ends in a cycle.
    child_of = dict(zip(parents[inside].tolist(), child[inside].tolist(), strict=True))
    node = int(np.argmax(left))
    path: dict[int, None] = {}
    while node not in path:
        path[node] = None
        node = child_of[node]
    cycle = list(path)[list(path).index(node) :]
    return [*cycle[:1], *cycle[::-1]] if cycle else []


def _check_ids(ids: Sequence[str], title: str) -> None:
    """Raise unless there are ids, each one non-empty line of text."""
    if not ids:
        raise TaxonomyError(f"the taxonomy {title!r} is empty: add at least one id")
    wrong = next((node for node in ids if not isinstance(node, str) or not node), None)
    if wrong is None and len(f"{chr(10).join(ids)}.".splitlines()) > len(ids):
        wrong = next(node for node in ids if node.splitlines() != [node])
    if wrong is not None:
        raise TaxonomyError(
            f"the taxonomy {title!r} has the id {wrong!r}: an id must be one non-empty line of text"
        )


def _distinct(above: str | Iterable[str] | None) -> tuple[str, ...]:
    if above is None:
        return ()
    if isinstance(above, str):
        return (above,)
    if not isinstance(above, Iterable):
        raise TaxonomyError(
            f"{above!r} is not a parent: pass an id, several ids, or None for a root"
        )
    return tuple(dict.fromkeys(above))


def _advice(taxonomy: Taxonomy, unknown: Sequence[str], count: int) -> str:
    """What to do about unknown ids among a number of classes."""
    rest = "" if len(unknown) == count else ". To leave them out, pass --skip-unknown to build-tree"
    if taxonomy.source["taxonomy"].startswith("WordNet "):
        if advice := advice_on_indices(unknown):
            return advice + rest
        return (
            "WordNet ids look like n01440764, one per line and nothing else. For plain names, make "
            "a name file: labelkit match-names CLASSES -o names.tsv. For other ids, use your own "
            f"taxonomy: labelkit build-tree --taxonomy FILE{rest}"
        )
    return (
        "Add them to the taxonomy (with None as the parent for a root), or remove them from the "
        f"list{rest}"
    )

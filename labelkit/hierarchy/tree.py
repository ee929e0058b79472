"""The semantic tree: a class list in which each class has at most one parent."""

# C classes (with inner nodes, if any), L levels, M inner nodes

from __future__ import annotations

import hashlib
import numbers
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from labelkit import __version__
from labelkit.errors import ClassListError, TreeFileError
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.coarsening import Coarsening, coarsen_to_rank
from labelkit.hierarchy.forest import (
    IntArray,
    Mask,
    by_depth,
    depths,
    heights,
    read_only,
    restrict,
    totals_below,
)
from labelkit.hierarchy.node_table import NodeTable
from labelkit.hierarchy.ranks import choose_ranks
from labelkit.hierarchy.splits import choose_inner_nodes
from labelkit.hierarchy.tree_checks import (
    check_texts,
    checked_inner,
    checked_level,
    checked_parent,
    checked_ranks,
)
from labelkit.hierarchy.tree_file import (
    REBUILD,
    TreeDocument,
    read_document,
    require_checksum,
    write_document,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence
    from pathlib import Path

    import networkx as nx

    from labelkit.hierarchy.taxonomy import Taxonomy

LARGEST_LEVEL_WEIGHT = 20.0


def _empty() -> IntArray:
    return read_only([])


@dataclass(frozen=True, eq=False, repr=False)
class SemanticTree:
    """A class list with each class's nearest ancestor that is itself a class.

    All arrays are read-only int64.

    Attributes:
        classes: C ids, in the order of a model's outputs.
        names: C names, for people.
        parent: (C,) the index of the parent class, -1 for a root.
        source: how the tree was made.
        inner: (M,) the ascending indices of inner nodes: nodes that are not classes of the data but
            were added for more levels. Empty for most trees.
        level: (C,) the level whose softmax each class belongs to; by default the class's depth.
        ranks: the name of each level, such as order, family, species; empty for most trees.

    Raises:
        ValueError: lengths differ, a parent is out of range, classes form a cycle, a class is not
            on a deeper level than its parent, a level is empty, or two levels share a name.

    >>> from labelkit.hierarchy import Taxonomy
    >>> taxonomy = Taxonomy.from_edges([("tabby", "cat"), ("cat", "mammal"), ("mammal", "animal")])
    >>> tree = SemanticTree.build(ClassList.of(["animal", "tabby", "cat"]), taxonomy)
    >>> tree.parent.tolist(), tree.depth.tolist(), tree.counts
    ([-1, 2, 0], [0, 2, 1], (1, 1, 1))
    >>> tree.chain("tabby").tolist()
    [0, 2, 1]
    """

    classes: ClassList
    names: tuple[str, ...]
    parent: IntArray
    source: Mapping[str, str] = field(default_factory=dict[str, str])
    inner: IntArray = field(default_factory=_empty)
    level: IntArray = field(default_factory=_empty)
    ranks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.classes)
        if not count == len(self.names) == len(self.parent):
            raise ValueError(
                f"{count} classes, {len(self.names)} names and {len(self.parent)} parents: "
                "expected one name and one parent per class"
            )
        check_texts(self.names, self.source)
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(self, "parent", checked_parent(self.parent, self.classes))
        # A file's name in the source may contain invalid UTF-8, which no tree file can hold.
        source = {key: text.encode(errors="replace").decode() for key, text in self.source.items()}
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "inner", checked_inner(self.inner, self.classes))
        level = (
            checked_level(self.level, self.parent, self.classes) if len(self.level) else self.depth
        )
        object.__setattr__(self, "level", level)
        _ = self.depth  # refuses a cycle
        object.__setattr__(self, "ranks", checked_ranks(self.ranks, len(self.counts)))

    def __reduce__(self) -> tuple[type[SemanticTree], tuple[object, ...]]:
        # Through the constructor, since a copied numpy array is writable again.
        fields = self.classes, self.names, self.parent, self.source, self.inner, self.level
        return type(self), (*fields, self.ranks)

    def __repr__(self) -> str:
        counts = " ".join(map(str, self.counts[:15])) + (" ..." if len(self.counts) > 15 else "")
        inner = f", {len(self.inner):,} of them inner nodes" if len(self.inner) else ""
        return f"SemanticTree({self.classes}{inner}; classes by level {counts})"

    @classmethod
    def of(  # noqa: PLR0913 -- the fields of a tree
        cls,
        ids: Iterable[str],
        parent: Sequence[int] | IntArray,
        *,
        names: Iterable[str] | None = None,
        source: Mapping[str, str] | None = None,
        inner: Sequence[int] | IntArray = (),
        level: Sequence[int] | IntArray = (),
        ranks: Iterable[str] = (),
    ) -> SemanticTree:
        """A tree from plain lists; its class list is named by ``source["class_list"]``.

        Args:
            ids: C ids, in the order of a model's outputs.
            parent: C indices, -1 for a root.
            names: C names; the ids if None.
            source: how the tree was made.
            inner: the indices of inner nodes, ascending.
            level: C levels; the depths if empty.
            ranks: the name of each level; none if empty.

        Raises:
            ClassListError: the ids are not a class list.
            ValueError: as for the class itself.
        """
        source = source or {}
        name = _list_name(source.get("class_list", ""), has_inner=len(inner) > 0)
        classes = ClassList.of(ids, name)
        return cls(
            classes=classes,
            names=classes.ids if names is None else tuple(names),
            parent=read_only(parent),
            source=source,
            inner=read_only(inner),
            level=read_only(level),
            ranks=tuple(ranks),
        )

    @classmethod
    def build(
        cls,
        classes: ClassList,
        taxonomy: Taxonomy,
        *,
        inner_levels: int | Literal["all"] = 0,
        ranks: Sequence[str] | Literal["all"] = (),
    ) -> SemanticTree:
        """Place every class below the first class on its chain of parents in a taxonomy.

        Each node of the taxonomy has one parent (the one chosen by its rule), so each class has one
        chain; nodes that are not classes are skipped.

        A list such as ImageNet-1k, in which no class is an ancestor of another, thus has a single
        level. With ``inner_levels``, nodes of the taxonomy that are not classes are appended to the
        classes: nodes that separate the classes into more and more groups of similar size (see
        ``choose_inner_nodes``). A model then needs ``len(tree.classes)`` outputs, the first of
        which are the classes as before.

        - If no class is an ancestor of another, all classes share the last level, so that their
          softmax is the usual one. A class below no inner node of a level has no target there.
        - Otherwise levels are depths, as without inner nodes, and there may be more of them.

        With ``ranks``, all nodes of these columns of a table become inner nodes, even those with a
        single branch, and each rank is a level with its name (see ``at_rank``).

        Args:
            classes: the class list.
            taxonomy: the children and parents.
            inner_levels: the maximum number of levels of inner nodes to add. 0 adds none; ``"all"``
                adds every node with classes in at least two branches, by depth.
            ranks: the ranks to keep as levels: one or several, in any order; ``"all"`` keeps those
                that have nodes.

        Raises:
            ClassListError: the taxonomy does not contain some of the classes.
            ValueError: ``inner_levels`` is negative or another word, the taxonomy has no such rank
                above the classes, or both are given.

        Source: Ridnik et al. 2021, section 3.2.1, for trees without inner nodes; reproduces the
        tree published with it.
        """
        levels = _checked_inner_levels(inner_levels)
        nodes = taxonomy.nodes(classes)
        parent = restrict(taxonomy.parent, nodes)
        source = {**taxonomy.source, "labelkit": __version__}
        if classes.name:
            source["class_list"] = classes.name
        if ranks:
            if levels != 0:
                raise ValueError("pass just one of inner_levels and ranks")
            ranked = choose_ranks(taxonomy, nodes, ranks)
            together = np.append(nodes, ranked.inner)
            return cls._with_inner(
                taxonomy, together, len(nodes), source, level=ranked.level, ranks=ranked.ranks
            )
        if levels == 0:
            return cls(classes, _names(taxonomy, nodes), parent, source)
        chosen = choose_inner_nodes(taxonomy.parent, taxonomy.ids, nodes, levels)
        together = np.append(nodes, chosen.nodes)
        level = depths(restrict(taxonomy.parent, together))
        if (parent < 0).all():
            inner = level[len(nodes) :] if levels is None else chosen.level
            level = np.append(np.full(len(nodes), inner.max(initial=-1) + 1), inner)
        source["inner_levels"] = str(inner_levels)
        return cls._with_inner(taxonomy, together, len(nodes), source, level=level)

    @classmethod
    def _with_inner(  # noqa: PLR0913 -- the parts of a tree
        cls,
        taxonomy: Taxonomy,
        nodes: IntArray,
        classes: int,
        source: Mapping[str, str],
        *,
        level: IntArray,
        ranks: tuple[str, ...] = (),
    ) -> SemanticTree:
        """A tree of nodes of a taxonomy: first this number of classes, then inner nodes."""
        return cls.of(
            (taxonomy.ids[node] for node in nodes.tolist()),
            restrict(taxonomy.parent, nodes),
            names=_names(taxonomy, nodes),
            source=source,
            inner=np.arange(classes, len(nodes)),
            level=level,
            ranks=ranks,
        )

    @classmethod
    def from_nodes(cls, nodes: NodeTable, source: Mapping[str, str] | None = None) -> SemanticTree:
        """A tree from a table of its nodes.

        Args:
            nodes: ids, parents and perhaps more.
            source: how the tree was made.

        Raises:
            ClassListError: the ids are not a class list.
            ValueError: a parent is missing, the nodes do not form a tree, or a depth contradicts
                the parents; the message names the ids.
        """
        ordered = nodes.in_class_order()
        if any(not 0 <= level < len(ordered.ids) for level in ordered.level):
            raise ValueError("levels must be numbered from 0 without a gap")
        tree = cls.of(
            ordered.ids,
            ordered.parent_rows(),
            names=ordered.names,
            source=source,
            inner=np.flatnonzero(ordered.inner),
            level=ordered.level,
            ranks=ordered.ranks(),
        )
        for node, stated, depth in zip(ordered.ids, ordered.depth, tree.depth, strict=False):
            if stated != depth:
                raise ValueError(
                    f"{node!r} has the depth {stated}, but {depth} by its parents. Correct it, or "
                    "remove the depths"
                )
        return tree

    @classmethod
    def from_networkx(cls, graph: nx.DiGraph[Hashable]) -> SemanticTree:
        """A tree from a directed graph with one edge from each child to its parent.

        The inverse of ``to_networkx``; graphs of others need no attributes. A node's ``name`` (or
        ``label``) is its name, the node's text by default. ``index`` is its position in the class
        list, the order of the graph by default. ``level`` and ``inner`` are kept, and ``depth`` is
        checked. ``level_name`` is the rank of a node's level. Text attributes of the graph become
        the tree's ``source``.

        Args:
            graph: the nodes become ids as text.

        Raises:
            ClassListError: two nodes have the same text, or a node's text is not an id.
            ValueError: the graph is empty, undirected or a multigraph, a node has several parents,
                nodes form a cycle, or attributes contradict the edges; the message names the nodes.
        """
        given = {str(key): value for key, value in graph.graph.items() if isinstance(value, str)}
        default = {"taxonomy": "networkx graph", "rule": "as in the graph"}
        return cls.from_nodes(NodeTable.from_networkx(graph), given or default)

    def to_networkx(self) -> nx.DiGraph[str]:
        """A graph with one node per class, in order, and one edge from each child to its parent.

        Nodes are ids with the attributes ``index``, ``name``, ``depth``, ``level`` and ``inner``
        (whether it is an inner node), and ``level_name`` if the tree has ranks. The graph's
        attributes are the tree's ``source``.
        """
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.graph.update(self.source)
        ids = self.classes.ids
        depth, level, is_class = self.depth.tolist(), self.level.tolist(), self.is_data_class
        for at, node in enumerate(ids):
            graph.add_node(
                node,
                index=at,
                name=self.names[at],
                depth=depth[at],
                level=level[at],
                inner=not is_class[at],
                **({"level_name": self.ranks[level[at]]} if self.ranks else {}),
            )
        graph.add_edges_from(
            (ids[at], ids[above]) for at, above in enumerate(self.parent.tolist()) if above >= 0
        )
        return graph

    @classmethod
    def load(cls, path: str | Path) -> SemanticTree:
        """Read a tree file and check everything in it.

        Raises:
            TreeFileError: not a tree file, damaged, changed since it was written, or of another
                version.
            OSError: the file cannot be read.
        """
        document = read_document(path)
        tree = cls.of_document(document, path)
        require_checksum(document, path)
        return tree

    @classmethod
    def of_document(cls, document: TreeDocument, path: str | Path) -> SemanticTree:
        """The tree of a decoded file; everything but its checksum is checked.

        Raises:
            TreeFileError: the fields do not form a tree; the message names ``path``.
        """
        try:
            tree = cls.of(
                document.classes,
                document.parent,
                names=document.names,
                source=document.source,
                inner=document.inner or (),
                level=document.level or (),
                ranks=document.ranks or (),
            )
        except (ClassListError, ValueError) as error:
            raise TreeFileError(f"{path} is damaged: {error}. {REBUILD}") from error
        if document.digest != tree.classes.digest:
            raise TreeFileError(
                f"{path} is damaged: it gives the digest {document.digest[:64]} for its classes, "
                f"which have {tree.classes.digest}. {REBUILD}"
            )
        return tree

    def save(self, path: str | Path) -> None:
        """Write the tree as JSON, atomically; an existing file is replaced.

        The same tree gives the same bytes.

        Raises:
            TreeFileError: a name is not valid Unicode.
            OSError: the file cannot be written.
        """
        write_document(self.document(), path)

    def document(self) -> TreeDocument:
        """The fields of the tree's file, without a checksum."""
        return TreeDocument(
            classes=list(self.classes),
            names=list(self.names),
            parent=self.parent.tolist(),
            digest=self.classes.digest,
            source=dict(self.source),
            inner=self.inner.tolist() or msgspec.UNSET,
            level=msgspec.UNSET if np.array_equal(self.level, self.depth) else self.level.tolist(),
            ranks=list(self.ranks) or msgspec.UNSET,
        )

    @cached_property
    def depth(self) -> IntArray:
        """The number of ancestors of each class: (C,)."""
        depth = depths(self.parent)
        if (depth < 0).any():
            at = int(np.argmax(depth < 0))
            for _ in depth:  # a class may hang below the cycle: this many steps up lead into it
                at = int(self.parent[at])
            above = int(self.parent[at])
            raise ValueError(
                f"class {self.classes[at]!r} is its own ancestor, through {self.classes[above]!r}"
            )
        return depth

    @cached_property
    def height(self) -> IntArray:
        """The length of the longest path from each class down to a leaf, 0 for a leaf: (C,)."""
        return heights(self.parent, self.depth)

    @cached_property
    def classes_below(self) -> IntArray:
        """The number of data classes among each class's descendants: (C,)."""
        count = self.is_data_class.astype(np.int64)
        return read_only(totals_below(self.parent, self.depth, count) - count)

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """The indices of the classes on each level, ascending: L arrays."""
        return tuple(by_depth(self.level))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of classes on each level, from the top: L numbers."""
        return tuple(np.bincount(self.level).tolist())

    @cached_property
    def chain_table(self) -> IntArray:
        """The member of each class's chain on each level, -1 if there is none: (C, L)."""
        table = np.full((len(self.classes), len(self.counts)), -1, dtype=np.int64)
        for number, nodes in enumerate(self.levels):
            below = nodes[self.parent[nodes] >= 0]
            table[below] = table[self.parent[below]]
            table[nodes, number] = nodes
        table.flags.writeable = False
        return table

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the classes, parents, inner nodes and levels, in hexadecimal.

        Names, ranks and the source are not included: trees with equal digests give equal losses.
        """
        parts = [self.classes.digest.encode()]
        for values in (self.parent, self.inner, self.level):
            parts += [len(values).to_bytes(8, "little"), values.astype("<i8").tobytes()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @cached_property
    def is_data_class(self) -> Mask:
        """Which of the classes are classes of the data, not inner nodes: (C,)."""
        mask = np.ones(len(self.classes), dtype=bool)
        mask[self.inner] = False
        mask.flags.writeable = False
        return mask

    @cached_property
    def data_classes(self) -> ClassList:
        """The classes of the data: all but the inner nodes."""
        if not len(self.inner):
            return self.classes
        ids = (self.classes[at] for at in np.flatnonzero(self.is_data_class).tolist())
        return ClassList.of(ids, self.source.get("class_list", ""))

    def chain(self, class_: str | int) -> IntArray:
        """The indices of a class's ancestors, root first, followed by the class: (depth + 1,).

        Args:
            class_: an id or an index.

        Raises:
            ValueError: the tree has no such class.
        """
        at = self.classes.index.get(class_, -1) if isinstance(class_, str) else int(class_)
        if not 0 <= at < len(self.classes):
            raise ValueError(f"no class {class_!r} in {self.classes}")
        upwards = [at]
        while (at := int(self.parent[at])) >= 0:
            upwards.append(at)
        return read_only(upwards[::-1])

    def at_rank(self, rank: str) -> Coarsening:
        """Coarsen the classes to a rank: each class's ancestor on the level of that name.

        A class without one, such as a species without a family, goes to its highest ancestor of a
        finer rank, or stays itself; so does a class of a coarser rank. Where no rank is missing,
        this equals ``coarsen_to_depth`` with the rank's position.

        Raises:
            ValueError: the tree has no such rank; the message lists those it has.
        """
        return coarsen_to_rank(self, rank)

    def ordered_by_level(self) -> SemanticTree:
        """The same tree over a reordered class list: level 0 first, each level a contiguous slice.

        The class list is a different one: targets and model outputs must follow it.
        """
        order = np.concatenate(self.levels)
        place = np.empty(len(order) + 1, dtype=np.int64)
        place[order], place[-1] = np.arange(len(order)), -1
        name = self.data_classes.name or "class list"
        if self.source.get("order") != "level":
            name += ", ordered by level"
        return SemanticTree.of(
            (self.classes[at] for at in order.tolist()),
            place[self.parent[order]],
            names=(self.names[at] for at in order.tolist()),
            source={**self.source, "class_list": name, "order": "level"},
            inner=np.sort(place[self.inner]),
            level=self.level[order],
            ranks=self.ranks,
        )


def paper_level_weights(sizes: Sequence[int]) -> tuple[float, ...]:
    """Each level's weight in the semantic softmax loss, ``min(20, C / sum_{j>=k} N_j)``.

    Args:
        sizes: N_k, the number of classes on each level in use, from the top; C is their sum.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic softmax training.
    """
    total = sum(sizes)
    at_or_below = (sum(sizes[level:]) for level in range(len(sizes)))
    return tuple(min(LARGEST_LEVEL_WEIGHT, total / count) for count in at_or_below)


def _list_name(name: str, *, has_inner: bool) -> str:
    """The name of a class list that may have inner nodes appended."""
    return f"{name or 'class list'} + inner" if has_inner else name


def _names(taxonomy: Taxonomy, nodes: IntArray) -> tuple[str, ...]:
    return tuple(taxonomy.names[node] for node in nodes.tolist())


def _checked_inner_levels(inner_levels: int | Literal["all"]) -> int | None:
    """The maximum number of levels, None for all."""
    if inner_levels == "all":
        return None
    if not isinstance(inner_levels, numbers.Integral) or inner_levels < 0:
        raise ValueError(f"inner_levels is {inner_levels!r}, expected 'all' or an integer >= 0")
    return int(inner_levels)

"""The semantic tree: which class of a list lies under which other, and at what depth."""

# C classes (with inner nodes that were added, if any), L levels

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from labelkit.hierarchy.arrays import IntArray, read_only
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.forest import Mask, by_depth, depths, heights, totals_below
from labelkit.hierarchy.tree_checks import check_texts, checked_inner, checked_level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from labelkit.hierarchy.granularity import Coarsening
    from labelkit.hierarchy.taxonomy import Taxonomy


def _none() -> IntArray:
    return read_only([])


@dataclass(frozen=True, eq=False, repr=False)
class SemanticTree:
    """A class list with each class's nearest ancestor that is a class itself.

    All arrays are read-only int64.

    Attributes:
        classes: C ids, in the order of a model's outputs.
        names: C names, for people.
        parent: (C,) the index of the parent class, -1 for a class with no class above it.
        source: how the tree was made.
        inner: ascending indices of those of the C that are inner nodes: no classes of the data, but
            added for the sake of more levels. Empty for most trees.
        level: (C,) in which level's softmax each class stands. Left out, it is the class's depth.

    Raises:
        ValueError: lengths differ, a parent is no class, classes run in a cycle, a class does not
            stand on a deeper level than its parent, or a level is empty.

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
    inner: IntArray = field(default_factory=_none)
    level: IntArray = field(default_factory=_none)

    def __post_init__(self) -> None:
        count = len(self.classes)
        if not count == len(self.names) == len(self.parent):
            raise ValueError(
                f"{count} classes, {len(self.names)} names and {len(self.parent)} parents: "
                "a tree has one of each per class"
            )
        check_texts(self.names, self.source)
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        parent = read_only(self.parent)
        if parent.min() < -1 or parent.max() >= count:
            at = int(np.argmax((parent < -1) | (parent >= count)))
            raise ValueError(
                f"the parent of {self.classes[at]!r} is {parent[at]}: "
                f"expected the index of one of {count} classes, or -1"
            )
        object.__setattr__(self, "parent", parent)
        object.__setattr__(self, "source", dict(self.source))
        object.__setattr__(self, "inner", checked_inner(self.inner, self.classes))
        level = (
            checked_level(self.level, self.parent, self.classes) if len(self.level) else self.depth
        )
        object.__setattr__(self, "level", level)
        _ = self.depth  # refuses a cycle

    def __reduce__(self) -> tuple[type[SemanticTree], tuple[object, ...]]:
        # Through the constructor: numpy forgets that an array is read-only when it is copied.
        fields = self.classes, self.names, self.parent, self.source, self.inner, self.level
        return type(self), fields

    def __repr__(self) -> str:
        counts = " ".join(map(str, self.counts[:15])) + (" ..." if len(self.counts) > 15 else "")
        inner = f", {len(self.inner):,} of them inner nodes" if len(self.inner) else ""
        return f"SemanticTree({self.classes}{inner}; classes by level {counts})"

    @classmethod
    def build(
        cls, classes: ClassList, taxonomy: Taxonomy, *, inner_levels: int | Literal["all"] = 0
    ) -> SemanticTree:
        """Place every class under the first class that its chain of parents meets on the way up.

        Each node of the taxonomy has one parent (the one its rule picked), so each class has one
        chain; nodes that are no classes are passed over.

        A list such as ImageNet-1k, in which no class lies under another, so has a single level.
        With ``inner_levels`` nodes of the taxonomy that are no classes are added behind the
        classes: those that part the classes into ever more groups of like size (see
        ``choose_inner_nodes``). A model then needs ``len(tree.classes)`` outputs, the first of
        which are the classes as before.

        - If no class lies under another, all classes stand together in the last level, so that
          their softmax is the usual one. A class that no inner node of a level covers has no target
          there.
        - Else levels are depths, as without inner nodes, and there may be more of them.

        Args:
            classes: the class list.
            taxonomy: what is a kind of what.
            inner_levels: how many levels of inner nodes to add at most. 0 adds none; ``"all"`` adds
                every node with classes in two branches or more, by depth.

        Raises:
            ClassListError: the taxonomy does not know some of the classes.
            ValueError: ``inner_levels`` is negative or another word.

        Source: Ridnik et al. 2021, section 3.2.1, for trees without added nodes; reproduces the
        tree published with it.
        """
        from labelkit.hierarchy.tree_building import build_tree

        return build_tree(classes, taxonomy, inner_levels)

    @classmethod
    def load(cls, path: str | Path) -> SemanticTree:
        """Read a tree file, checking everything in it.

        Raises:
            TreeFileError: the file is no tree, damaged, or of another version.
            OSError: the file cannot be read.
        """
        from labelkit.hierarchy.tree_file import read_tree

        return read_tree(path)

    def save(self, path: str | Path) -> None:
        """Write the tree as JSON, whole or not at all; a file that is there is replaced.

        The same tree gives the same bytes.

        Raises:
            OSError: the file cannot be written.
        """
        from labelkit.hierarchy.tree_file import write_tree

        write_tree(self, path)

    @cached_property
    def depth(self) -> IntArray:
        """How many classes lie above each class: (C,)."""
        depth = depths(self.parent)
        if (depth < 0).any():
            at = int(np.argmax(depth < 0))
            for _ in depth:  # a class may hang below the circle: so many steps up lead into it
                at = int(self.parent[at])
            above = int(self.parent[at])
            raise ValueError(
                f"class {self.classes[at]!r} lies under itself, by way of {self.classes[above]!r}"
            )
        return depth

    @cached_property
    def height(self) -> IntArray:
        """Steps from each class down to its deepest descendant, 0 for a leaf: (C,)."""
        return heights(self.parent, self.depth)

    @cached_property
    def classes_below(self) -> IntArray:
        """The number of classes anywhere below each class, inner nodes not counted: (C,)."""
        count = self.is_data_class.astype(np.int64)
        return read_only(totals_below(self.parent, self.depth, count) - count)

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """For each level the indices of its classes, ascending: L arrays."""
        return tuple(by_depth(self.level))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many classes each level has, from the top: L numbers."""
        return tuple(np.bincount(self.level).tolist())

    @cached_property
    def chain_table(self) -> IntArray:
        """The member of each class's chain at each level, -1 where it has none: (C, L)."""
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

        Names and the source do not count: trees with one digest give the same losses.
        """
        parts = [self.classes.digest.encode()]
        for numbers in (self.parent, self.inner, self.level):
            parts += [len(numbers).to_bytes(8, "little"), numbers.astype("<i8").tobytes()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @cached_property
    def is_data_class(self) -> Mask:
        """Which of the classes are the data's own, and no inner nodes that were added: (C,)."""
        own = np.ones(len(self.classes), dtype=bool)
        own[self.inner] = False
        own.flags.writeable = False
        return own

    @cached_property
    def data_classes(self) -> ClassList:
        """The classes of the data: all but the inner nodes that were added."""
        if not len(self.inner):
            return self.classes
        ids = (self.classes[at] for at in np.flatnonzero(self.is_data_class).tolist())
        return ClassList.of(ids, self.source.get("class_list", ""))

    def chain(self, class_: str | int) -> IntArray:
        """The indices of a class's ancestors from the topmost down, then its own: (depth + 1,).

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

    def at_depth(self, depth: int) -> Coarsening:
        """Coarse classes for the data: each class's ancestor at this depth, or itself if shallower.

        Depth 0 keeps the roots only. See ``Coarsening`` for how to label a data set with them.

        Raises:
            ValueError: the depth is negative.

        Source: the label granularities of Hong et al. 2023 (arXiv 2303.16887), section 4.
        """
        from labelkit.hierarchy.granularity import cut_at_depth

        return cut_at_depth(self, depth)

    def coarsen(self, number_of_classes: int) -> Coarsening:
        """Coarse classes of about equal size: at most so many, as many as whole splits give.

        From the roots down, the group with the most classes is split into its parts until the next
        split would make too many. So every such cut refines every smaller one. A class that has
        others below it stays as a group of its own where it is split from them.

        Raises:
            ValueError: the tree has more roots than that.
        """
        from labelkit.hierarchy.granularity import cut_to_size

        return cut_to_size(self, number_of_classes)

    def ancestor(self, ids: Iterable[str]) -> Coarsening:
        """These classes as the coarse ones: each class goes to itself or the nearest one above.

        Classes under none of them are ``left_out``.

        Raises:
            ClassListError: the tree has no such id, or an id stands twice.
        """
        from labelkit.hierarchy.granularity import cut_at_ancestors

        return cut_at_ancestors(self, ids)

    def ordered_by_level(self) -> SemanticTree:
        """The same tree over a re-ordered class list: level 0 first, each level a contiguous slice.

        Its class list is another one than ours: targets and model outputs must follow it.
        """
        order = np.concatenate(self.levels)
        place = np.empty(len(order) + 1, dtype=np.int64)
        place[order], place[-1] = np.arange(len(order)), -1
        name = self.data_classes.name or "class list"
        if self.source.get("order") != "level":
            name += ", ordered by level"
        ids = (self.classes[at] for at in order.tolist())
        return SemanticTree(
            classes=ClassList.of(ids, list_name(name, inner=len(self.inner))),
            names=tuple(self.names[at] for at in order.tolist()),
            parent=place[self.parent[order]],
            source={**self.source, "class_list": name, "order": "level"},
            inner=np.sort(place[self.inner]),
            level=self.level[order],
        )


def list_name(name: str, *, inner: int) -> str:
    """What to call a class list of this name with so many inner nodes behind it."""
    return f"{name or 'class list'} + inner" if inner else name

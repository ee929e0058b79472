"""The semantic tree: which class of a list lies under which other, and at what depth."""

# C classes, D levels (depths 0 to D - 1)

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from labelkit import __version__
from labelkit.hierarchy.arrays import IntArray, read_only
from labelkit.hierarchy.class_list import ClassList

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labelkit.hierarchy.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class SemanticTree:
    """A class list with each class's nearest ancestor that is a class itself.

    ``parent`` (C,) holds the index of the parent class, -1 for a class with no class above it.
    ``names`` are for people, ``source`` says how the tree was made. All arrays are read-only int64.

    Raises:
        ValueError: lengths differ, a parent is no class, or classes run in a cycle.

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

    def __post_init__(self) -> None:
        count = len(self.classes)
        if not count == len(self.names) == len(self.parent):
            raise ValueError(
                f"{count} classes, {len(self.names)} names and {len(self.parent)} parents: "
                "a tree has one of each per class"
            )
        parent = read_only(self.parent)
        if parent.min() < -1 or parent.max() >= count:
            at = int(np.argmax((parent < -1) | (parent >= count)))
            raise ValueError(
                f"the parent of {self.classes[at]!r} is {parent[at]}: "
                f"expected the index of one of {count} classes, or -1"
            )
        object.__setattr__(self, "parent", parent)
        object.__setattr__(self, "source", dict(self.source))
        _ = self.depth  # refuses a cycle

    @classmethod
    def build(cls, classes: ClassList, taxonomy: Taxonomy) -> SemanticTree:
        """Place every class under the first class that its chain of parents meets on the way up.

        Each node of the taxonomy has one parent (the one its rule picked), so each class has one
        chain; nodes that are no classes are passed over.

        Raises:
            ClassListError: the taxonomy does not know some of the classes.

        Source: Ridnik et al. 2021, section 3.2.1; reproduces the tree published with it.
        """
        nodes = taxonomy.nodes(classes)
        class_at = np.full(len(taxonomy.ids), -1, dtype=np.int64)
        class_at[nodes] = np.arange(len(nodes))
        parent = np.full(len(nodes), -1, dtype=np.int64)
        walking, above = np.arange(len(nodes)), taxonomy.parent[nodes]
        while walking.size:
            inside = above >= 0
            walking, above = walking[inside], above[inside]
            parent[walking] = class_at[above]
            on = class_at[above] < 0
            walking, above = walking[on], taxonomy.parent[above[on]]
        source = {**taxonomy.source, "labelkit": __version__}
        if classes.name:
            source["class_list"] = classes.name
        return cls(classes, tuple(taxonomy.names[node] for node in nodes.tolist()), parent, source)

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
        # Jumps double in length, so that even one long chain takes log2(C) rounds. The last slot
        # stands for "above every root": index -1 finds it, and it leads to itself.
        jump = np.append(self.parent, -1)
        steps = (jump >= 0).astype(np.int64)
        for _ in range(len(jump).bit_length()):
            steps += steps[jump]
            jump = jump[jump]
        if (jump >= 0).any():
            at = int(jump[jump >= 0][0])
            above = int(self.parent[at])
            raise ValueError(
                f"class {self.classes[at]!r} lies under itself, by way of {self.classes[above]!r}"
            )
        return read_only(steps[:-1])

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """For each depth the indices of its classes, ascending: D arrays."""
        order = np.argsort(self.depth, kind="stable")
        return tuple(map(read_only, np.split(order, np.cumsum(self.counts)[:-1])))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many classes each level has, from depth 0: D numbers."""
        return tuple(np.bincount(self.depth).tolist())

    @cached_property
    def chain_table(self) -> IntArray:
        """The member of each class's chain at each depth, -1 below the class itself: (C, D)."""
        table = np.full((len(self.classes), len(self.counts)), -1, dtype=np.int64)
        for depth, level in enumerate(self.levels):
            if depth:
                table[level] = table[self.parent[level]]
            table[level, depth] = level
        table.flags.writeable = False
        return table

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

    def ordered_by_level(self) -> SemanticTree:
        """The same tree over a re-ordered class list: depth 0 first, each level a contiguous slice.

        Its class list is another one than ours: targets and model outputs must follow it.
        """
        order = np.concatenate(self.levels)
        place = np.empty(len(order) + 1, dtype=np.int64)
        place[order], place[-1] = np.arange(len(order)), -1
        name = f"{self.classes.name or 'class list'}, ordered by level"
        return SemanticTree(
            classes=ClassList.of((self.classes[at] for at in order), name),
            names=tuple(self.names[at] for at in order),
            parent=place[self.parent[order]],
            source={**self.source, "class_list": name, "order": "level"},
        )

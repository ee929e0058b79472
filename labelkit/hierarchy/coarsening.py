"""Coarsen a tree: fewer, coarser classes, and the coarse class of each fine one."""

# C classes of the fine tree, G coarse classes

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from labelkit.errors import ClassListError
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.forest import IntArray, Mask, nearest, read_only
from labelkit.hierarchy.splits import Splits
from labelkit.image_folders import class_folders
from labelkit.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labelkit.hierarchy.tree_file import TreeDocument


class FineTree(Protocol):
    """What a coarsening needs of a tree; ``SemanticTree`` has it."""

    @property
    def classes(self) -> ClassList:
        """C ids."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """C names."""
        ...

    @property
    def parent(self) -> IntArray:
        """(C,) the index of each parent, -1 for a root."""
        ...

    @property
    def inner(self) -> IntArray:
        """(M,) the indices of inner nodes."""
        ...

    @property
    def level(self) -> IntArray:
        """(C,) the level of each class."""
        ...

    @property
    def ranks(self) -> tuple[str, ...]:
        """The name of each level, or none."""
        ...

    @cached_property
    def depth(self) -> IntArray:
        """(C,) the number of ancestors of each class."""
        ...

    @cached_property
    def is_data_class(self) -> Mask:
        """(C,) which are classes of the data."""
        ...

    @cached_property
    def digest(self) -> str:
        """Of classes, parents, inner nodes and levels."""
        ...

    def document(self) -> TreeDocument:
        """The fields of the tree's file."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Coarsening:
    """A map from the classes of a tree to coarser classes.

    To convert an array of targets: ``coarse.index[targets]``. For a data set that numbers its class
    folders: ``ClassFolders(root, target_transform=coarse.for_folders(root))``.

    Attributes:
        tree: the fine tree.
        classes: the coarse classes, in the order of the tree.
        index: (C,) the coarse class of each class of the tree, -1 if it has none.
        how: how the coarse classes were chosen, such as ``rank family``; for people.
    """

    tree: FineTree
    classes: ClassList
    index: IntArray
    how: str = ""

    def __repr__(self) -> str:
        sizes = sorted(zip(self.sizes, self.names, strict=True), reverse=True)
        largest = ", ".join(f"{name} {size:,}" for size, name in sizes[:3])
        return f"Coarsening({self.tree.classes} to {len(self.classes):,}; largest {largest})"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each coarse class, from the tree: G strings."""
        position = self.tree.classes.index
        return tuple(self.tree.names[position[coarse]] for coarse in self.classes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of data classes in each coarse class: G numbers."""
        coarse = self.index[self.tree.is_data_class]
        return tuple(np.bincount(coarse[coarse >= 0], minlength=len(self.classes)).tolist())

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The number of coarse classes of each rank, from coarse to fine; empty without ranks.

        In the families of a table, a species without one counts as its genus or as itself.
        """
        if not self.tree.ranks:
            return {}
        position = self.tree.classes.index
        levels = self.tree.level[[position[coarse] for coarse in self.classes]]
        counts = np.bincount(levels, minlength=len(self.tree.ranks)).tolist()
        return {rank: n for rank, n in zip(self.tree.ranks, counts, strict=True) if n}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the fine tree, the coarse classes and the map, in hexadecimal."""
        index = self.index.astype("<i8").tobytes()
        parts = [self.tree.digest.encode(), self.classes.digest.encode(), index]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """The ids of the data classes that belong to no coarse class."""
        without = np.flatnonzero(self.tree.is_data_class & (self.index < 0))
        return tuple(self.tree.classes[at] for at in without.tolist())

    @cached_property
    def by_id(self) -> dict[str, int]:
        """The coarse class of each class of the tree that has one, by id."""
        numbers = zip(self.tree.classes, self.index.tolist(), strict=True)
        return {class_id: coarse for class_id, coarse in numbers if coarse >= 0}

    def for_folders(self, folders: str | Path | Iterable[str]) -> Callable[[int], int]:
        """A ``target_transform`` for a data set of class folders, matched by name.

        Args:
            folders: the path of a folder of class folders, or their names: ids of classes of the
                tree, in any order and number. Sorted, as torchvision's ``ImageFolder`` numbers
                them, they are the targets 0, 1, ...

        Returns:
            A function from a folder's number to its coarse class.

        Raises:
            ClassListError: a folder is not a class of the tree, or belongs to no coarse class; or
                the path has no class folders.
            OSError: there is no such path.
        """
        if isinstance(folders, (str, Path)):
            folders = class_folders(Path(folders)) or _no_folders(folders)
        ids = sorted(folders)
        unknown = [folder for folder in ids if folder not in self.tree.classes.index]
        if unknown:
            raise ClassListError(
                f"{len(unknown):,} folders are not classes of the tree of {self.tree.classes}: "
                f"{', '.join(map(repr, unknown[:3]))}"
            )
        labels = [int(self.index[self.tree.classes.index[folder]]) for folder in ids]
        without = [folder for folder, label in zip(ids, labels, strict=True) if label < 0]
        if without:
            raise ClassListError(
                f"{len(without):,} folders belong to none of the coarse classes: "
                f"{', '.join(map(repr, without[:3]))}. Leave them out, or add an ancestor"
            )
        return labels.__getitem__

    def then(self, coarser: Coarsening) -> IntArray:
        """(G,) the class of a coarser coarsening of the same tree for each class of this one.

        Raises:
            ValueError: the other is of a different tree, or splits a class of this one.
        """
        if coarser.tree.digest != self.tree.digest:
            raise ValueError("the two are coarsenings of different trees")
        position = self.tree.classes.index
        onto = coarser.index[[position[class_id] for class_id in self.classes]]
        inside = self.tree.is_data_class & (self.index >= 0)
        spread = np.flatnonzero(inside & (onto[self.index] != coarser.index))
        if spread.size:
            raise ValueError(
                f"the other coarsening splits class {self.classes[int(self.index[spread[0]])]!r}: "
                "it is not the coarser of the two"
            )
        return read_only(onto)


def coarsen(tree: FineTree, number_of_classes: int) -> Coarsening:
    """At most this many coarse classes of approximately equal size.

    From the roots down, the group with the most classes is split into its children until the next
    split would exceed the number. Each such coarsening therefore refines every smaller one. A class
    with descendants remains a group of its own when they are split off.

    Raises:
        ValueError: the tree has more roots than that.
    """
    splits = Splits.of(tree.parent, tree.is_data_class, tree.classes.ids)
    roots = int(splits.groups[0])
    if number_of_classes < roots:
        remedy = (
            "ask for at least that many"
            if len(tree.inner)
            else "build it with inner nodes (inner_levels='all', build-tree --inner-levels all)"
        )
        raise ValueError(
            f"the tree of {tree.classes} has {roots:,} roots and cannot be coarsened to "
            f"{counted(number_of_classes, 'class', 'classes')}: {remedy}"
        )
    nodes = np.flatnonzero(splits.at_most(number_of_classes))
    return _onto(tree, nodes, f"at most {number_of_classes:,} classes")


def coarsen_to_depth(tree: FineTree, depth: int) -> Coarsening:
    """Each class's ancestor at this depth, or the class itself if it is shallower.

    Depth 0 keeps only the roots.

    Raises:
        ValueError: the depth is negative.

    Source: the label granularities of Hong et al. 2023 (arXiv 2303.16887), section 4.
    """
    if depth < 0:
        raise ValueError(f"depth is {depth}, expected at least 0")
    kept = (tree.depth == depth) | (tree.is_data_class & (tree.depth < depth))
    return _onto(tree, np.flatnonzero(kept), f"depth {depth}")


def coarsen_to_rank(tree: FineTree, rank: str) -> Coarsening:
    """``SemanticTree.at_rank``."""
    if rank not in tree.ranks:
        known = (
            f"its ranks are {', '.join(tree.ranks)}"
            if tree.ranks
            else "it has none. Build it from a table of columns with ranks='all' (build-tree "
            "--taxonomy TABLE --ranks all)"
        )
        raise ValueError(f"the tree of {tree.classes} has no rank {rank!r}: {known}")
    wanted = tree.ranks.index(rank)
    level = np.append(tree.level, -1)  # the last is above every root
    first = (level[:-1] >= wanted) & (level[tree.parent] < wanted)
    kept = first | (tree.is_data_class & (tree.level < wanted))
    return _onto(tree, np.flatnonzero(kept), f"rank {rank}")


def coarsen_to_ancestors(tree: FineTree, ids: Iterable[str]) -> Coarsening:
    """The given classes as the coarse ones: each class goes to itself or its closest ancestor.

    Classes below none of them are ``left_out``.

    Raises:
        ClassListError: the tree has no such id, or an id is repeated.
    """
    coarse = ClassList.of(ids, "ancestors")
    unknown = [class_id for class_id in coarse if class_id not in tree.classes.index]
    if unknown:
        raise ClassListError(
            f"the tree of {tree.classes} has no {', '.join(map(repr, unknown[:5]))}. For ids that "
            "are not classes of the tree, use labelkit.hierarchy.project"
        )
    nodes = np.array([tree.classes.index[class_id] for class_id in coarse])
    return _onto(tree, nodes, "chosen ancestors")


def coarse_list(tree: FineTree, ids: Iterable[str]) -> ClassList:
    """Coarse classes under a name that tells which classes they are coarser than."""
    classes = ClassList.of(ids)
    name = f"{tree.classes.name or 'class list'}, {len(classes):,} coarse classes"
    return ClassList(classes.ids, name)


def _no_folders(path: str | Path) -> list[str]:
    raise ClassListError(f"{path} contains no folders: pass a folder with one folder per class")


def _onto(tree: FineTree, nodes: IntArray, how: str) -> Coarsening:
    """Map every class to itself or its closest ancestor among ``nodes``."""
    kept = np.zeros(len(tree.classes), dtype=bool)
    kept[nodes] = True
    place = np.full(len(kept) + 1, -1, dtype=np.int64)
    place[nodes] = np.arange(len(nodes))
    itself_or_above = np.where(kept, np.arange(len(kept)), nearest(tree.parent, kept))
    coarse = coarse_list(tree, (tree.classes[at] for at in nodes.tolist()))
    return Coarsening(tree, coarse, read_only(place[itself_or_above]), how)

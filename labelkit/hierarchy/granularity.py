"""Cut a tree to fewer, coarser classes, and tell which fine class goes where."""

# C classes of the fine tree, G coarse classes

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import ClassListError
from labelkit.hierarchy.arrays import IntArray, read_only
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.forest import nearest
from labelkit.hierarchy.splits import Splits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labelkit.hierarchy.tree import SemanticTree


@dataclass(frozen=True, eq=False, repr=False)
class Coarsening:
    """Coarse classes for the classes of a tree.

    For whole arrays of targets: ``coarse.index[targets]``. For a data set that numbers its own
    folders: ``ImageFolder(root, target_transform=coarse.for_folders(os.listdir(root)))``.

    Attributes:
        tree: the fine tree.
        classes: the coarse classes, in the order in which the tree has them.
        index: (C,) the coarse class of each class of the tree, -1 where it has none.
    """

    tree: SemanticTree
    classes: ClassList
    index: IntArray

    def __repr__(self) -> str:
        sizes = sorted(zip(self.sizes, self.names, strict=True), reverse=True)
        largest = ", ".join(f"{name} {size:,}" for size, name in sizes[:3])
        return f"Coarsening({self.tree.classes} to {len(self.classes):,}; largest {largest})"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each coarse class, as the tree has it: G strings."""
        position = self.tree.classes.index
        return tuple(self.tree.names[position[coarse]] for coarse in self.classes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many of the data's own classes each coarse class takes in: G numbers."""
        own = self.index[self.tree.is_data_class]
        return tuple(np.bincount(own[own >= 0], minlength=len(self.classes)).tolist())

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """The ids of the data's own classes that no coarse class takes in."""
        without = np.flatnonzero(self.tree.is_data_class & (self.index < 0))
        return tuple(self.tree.classes[at] for at in without.tolist())

    def for_folders(self, folders: Iterable[str]) -> Callable[[int], int]:
        """A ``target_transform`` for a data set of class folders, found by their names.

        Args:
            folders: ids of classes of the tree, in any order and number. Sorted, as torchvision's
                ``ImageFolder`` numbers them, they are the targets 0, 1, ...

        Returns:
            The coarse class of a folder's number.

        Raises:
            ClassListError: a folder is no class of the tree, or no coarse class takes it in.
        """
        ids = sorted(folders)
        unknown = [folder for folder in ids if folder not in self.tree.classes.index]
        if unknown:
            raise ClassListError(
                f"{len(unknown):,} folders are no classes of the tree of {self.tree.classes}: "
                f"{', '.join(map(repr, unknown[:3]))}"
            )
        labels = [int(self.index[self.tree.classes.index[folder]]) for folder in ids]
        without = [folder for folder, label in zip(ids, labels, strict=True) if label < 0]
        if without:
            raise ClassListError(
                f"{len(without):,} folders lie under none of the coarse classes: "
                f"{', '.join(map(repr, without[:3]))}. Leave them out, or add an ancestor of theirs"
            )
        return labels.__getitem__

    def then(self, coarser: Coarsening) -> IntArray:
        """(G,) the class of a coarser cut of the same tree for each of these classes.

        Raises:
            ValueError: the other is of another tree, or some class here is spread over several
                of its classes.
        """
        if coarser.tree is not self.tree:
            raise ValueError("the two are cuts of different trees")
        position = self.tree.classes.index
        onto = coarser.index[[position[class_id] for class_id in self.classes]]
        inside = self.tree.is_data_class & (self.index >= 0)
        spread = np.flatnonzero(inside & (onto[self.index] != coarser.index))
        if spread.size:
            raise ValueError(
                f"class {self.classes[int(self.index[spread[0]])]!r} is spread over several of "
                "the other cut: it is not the coarser of the two"
            )
        return read_only(onto)


def cut_at_depth(tree: SemanticTree, depth: int) -> Coarsening:
    """``SemanticTree.at_depth``; see there."""
    if depth < 0:
        raise ValueError(f"depth is {depth}, expected at least 0")
    kept = (tree.depth == depth) | (tree.is_data_class & (tree.depth < depth))
    return _coarsening(tree, np.flatnonzero(kept))


def cut_to_size(tree: SemanticTree, number_of_classes: int) -> Coarsening:
    """``SemanticTree.coarsen``; see there."""
    splits = Splits.of(tree.parent, tree.is_data_class, tree.classes.ids)
    roots = int(splits.groups[0])
    if number_of_classes < roots:
        way_out = (
            "ask for as many at least"
            if len(tree.inner)
            else "build it with inner nodes (inner_levels='all', build-tree --inner-levels all)"
        )
        raise ValueError(
            f"the tree of {tree.classes} has {roots:,} roots, so it cannot be coarsened to "
            f"{number_of_classes:,} classes: {way_out}"
        )
    return _coarsening(tree, np.flatnonzero(splits.at_most(number_of_classes)))


def cut_at_ancestors(tree: SemanticTree, ids: Iterable[str]) -> Coarsening:
    """``SemanticTree.ancestor``; see there."""
    coarse = ClassList.of(ids, "ancestors")
    unknown = [class_id for class_id in coarse if class_id not in tree.classes.index]
    if unknown:
        raise ClassListError(
            f"the tree of {tree.classes} has no {', '.join(map(repr, unknown[:5]))}. For ids that "
            "are no classes of the tree use labelkit.hierarchy.project"
        )
    return _coarsening(tree, np.array([tree.classes.index[class_id] for class_id in coarse]))


def _coarsening(tree: SemanticTree, nodes: IntArray) -> Coarsening:
    """Every class goes to itself or to the first of ``nodes`` above it."""
    kept = np.zeros(len(tree.classes), dtype=bool)
    kept[nodes] = True
    place = np.full(len(kept) + 1, -1, dtype=np.int64)
    place[nodes] = np.arange(len(nodes))
    itself_or_above = np.where(kept, np.arange(len(kept)), nearest(tree.parent, kept))
    name = f"{tree.classes.name or 'class list'}, {len(nodes):,} coarse classes"
    coarse = ClassList.of((tree.classes[at] for at in nodes.tolist()), name)
    return Coarsening(tree, coarse, read_only(place[itself_or_above]))

"""From one class list to another: which classes of a model stand for which of a data set."""

# S source classes (a teacher's), T target classes (a data set's)

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.arrays import IntArray, read_only
from labelkit.hierarchy.forest import nearest

if TYPE_CHECKING:
    import numpy.typing as npt

    from labelkit.hierarchy.class_list import ClassList
    from labelkit.hierarchy.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False, repr=False)
class Projection:
    """Where the classes of one list go in another.

    Attributes:
        source: S classes.
        target: T classes.
        index: (S,) the target class of each source class, -1 where it has none.
    """

    source: ClassList
    target: ClassList
    index: IntArray

    def __repr__(self) -> str:
        return (
            f"Projection({self.source} onto {self.target}: {len(self.unused):,} unused, "
            f"{len(self.missing):,} missing)"
        )

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """The source classes that no target class takes in."""
        return tuple(self.source[at] for at in np.flatnonzero(self.index < 0).tolist())

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """The target classes for which the source has nothing: their sums are 0."""
        without = np.bincount(self.index[self.index >= 0], minlength=len(self.target)) == 0
        return tuple(self.target[at] for at in np.flatnonzero(without).tolist())

    def sum_probabilities(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Probabilities of the source classes (..., S) as those of the target classes (..., T).

        Each target class gets the sum over its source classes. What belongs to ``unused`` classes
        is left out, so that the sum may be below 1: it is the teacher's belief that the image shows
        a class of the data set at all.

        Raises:
            ValueError: the last axis has not S entries.
        """
        given = np.asarray(probabilities)
        if given.ndim == 0 or given.shape[-1] != len(self.source):
            raise ValueError(f"shape {given.shape}: expected (..., {len(self.source)})")
        sums = np.zeros((len(self.target), *given.shape[:-1]), dtype=given.dtype)
        inside = self.index >= 0
        np.add.at(sums, self.index[inside], np.moveaxis(given, -1, 0)[inside])
        return np.moveaxis(sums, 0, -1)


def project(source: ClassList, target: ClassList, taxonomy: Taxonomy | None = None) -> Projection:
    """Find each class of a teacher in the class list of a data set.

    A class goes to the class with its own id. Where the data set is coarser, it goes to the first
    of the data set's classes that its chain of parents meets (``taxonomy.parent``); if the chain
    meets none, to the one that is the fewest steps up by any of its parents, the first such in
    their order. Nothing goes down: a teacher's dog is no data set's Samoyed.

    Args:
        source: the teacher's classes.
        target: the data set's classes.
        taxonomy: what is a kind of what; None finds equal ids only. Ids that it does not know are
            found by equality.
    """
    index = np.array([target.index.get(class_id, -1) for class_id in source], dtype=np.int64)
    if taxonomy is not None:
        place = np.full(len(taxonomy.ids) + 1, -1, dtype=np.int64)
        for at, class_id in enumerate(target):
            place[taxonomy.index.get(class_id, -1)] = at
        place[-1] = -1
        above = nearest(taxonomy.parent, place[:-1] >= 0)
        for at in np.flatnonzero(index < 0).tolist():
            node = taxonomy.index.get(source[at])
            if node is not None:
                by_chain = int(place[above[node]])
                index[at] = by_chain if by_chain >= 0 else _climb(taxonomy, node, place)
    return Projection(source, target, read_only(index))


def _climb(taxonomy: Taxonomy, node: int, place: IntArray) -> int:
    """The target class fewest steps above a node by any of its parents, -1 for none."""
    start, parents = taxonomy.parents_start, taxonomy.parents
    ways = [node]
    seen = {node}
    for step in ways:  # grows while it is read: nearest first
        for above in parents[start[step] : start[step + 1]].tolist():
            if place[above] >= 0:
                return int(place[above])
            if above not in seen:
                seen.add(above)
                ways.append(above)
    return -1

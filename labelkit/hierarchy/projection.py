"""Map the classes of one list to those of another: a teacher's classes to a data set's."""

# S source classes (a teacher's), T target classes (a data set's)

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.forest import IntArray, nearest, read_only

if TYPE_CHECKING:
    import numpy.typing as npt

    from labelkit.hierarchy.class_list import ClassList
    from labelkit.hierarchy.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False, repr=False)
class Projection:
    """A map from the classes of one list to those of another.

    Attributes:
        source: S classes.
        target: T classes.
        index: (S,) the target class of each source class, -1 if it has none.
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
        """The source classes without a target class."""
        return tuple(self.source[at] for at in np.flatnonzero(self.index < 0).tolist())

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """The target classes without a source class: their sums are 0."""
        without = np.bincount(self.index[self.index >= 0], minlength=len(self.target)) == 0
        return tuple(self.target[at] for at in np.flatnonzero(without).tolist())

    def sum_probabilities(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Turn probabilities of the source classes (..., S) into those of the target (..., T).

        Each target class gets the sum of its source classes. The probability of ``unused`` classes
        is dropped, so the total may be below 1: it is the probability, by the teacher, that the
        image shows any class of the data set.

        Raises:
            ValueError: the last axis does not have S entries.
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

    A class goes to the class with the same id. If the data set is coarser, it goes to the first
    class of the data set on its chain of parents (``taxonomy.parent``); if there is none on the
    chain, to the one the fewest steps up through any parents, and of several the first in the order
    of the parents. Classes never go down: a teacher's dog is not a data set's Samoyed.

    Args:
        source: the teacher's classes.
        target: the data set's classes.
        taxonomy: the children and parents; None matches equal ids only. Ids that it does not know
            are matched by equality.
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
                index[at] = by_chain if by_chain >= 0 else _search_up(taxonomy, node, place)
    return Projection(source, target, read_only(index))


def _search_up(taxonomy: Taxonomy, node: int, place: IntArray) -> int:
    """The target class the fewest steps above a node through any parents, -1 if there is none."""
    start, parents = taxonomy.parents_start, taxonomy.parents
    queue = deque([node])
    seen = {node}
    while queue:
        at = queue.popleft()
        for above in parents[start[at] : start[at + 1]].tolist():
            if place[above] >= 0:
                return int(place[above])
            if above not in seen:
                seen.add(above)
                queue.append(above)
    return -1

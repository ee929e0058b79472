"""Take a forest apart from its roots down, always at the group that holds the most classes."""

# N nodes, S splits

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.arrays import IntArray, read_only
from labelkit.hierarchy.forest import Children, Mask, depths, totals_below

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Splits:
    """One sequence of splits, which serves cuts of any size: each refines every smaller one.

    Of groups of one size the one with the smaller id is split first, so that the order of the class
    list has no say. A node that is a class itself stays as a group when it is split from what lies
    below it.

    Attributes:
        parent: (N,) the forest.
        own: (N,) which nodes are classes of the data.
        node: (S,) the nodes in the order of their splits.
        groups: (S + 1,) how many groups there are before the first split and after each.
        perplexity: (S + 1,) of the classes' distribution over the groups: as many groups of equal
            size would part the classes as well.
    """

    parent: IntArray
    own: Mask
    node: IntArray
    groups: IntArray
    perplexity: npt.NDArray[np.float64]

    @classmethod
    def of(cls, parent: IntArray, own: Mask, ids: Sequence[str]) -> Splits:
        """The splits of a forest of N nodes with these ids."""
        below = Children.of(parent)
        size: list[int] = totals_below(parent, depths(parent), own.astype(np.int64)).tolist()
        tops: list[int] = np.flatnonzero(parent < 0).tolist()
        heap = [(-size[node], ids[node], node) for node in tops if len(below[node])]
        heapq.heapify(heap)
        order: list[int] = []
        groups, terms = [len(tops)], [sum(_term(size[node]) for node in tops)]
        while heap:
            node = heapq.heappop(heap)[2]
            parts: list[int] = below[node].tolist()
            order.append(node)
            groups.append(groups[-1] + len(parts) - (not own[node]))
            terms.append(terms[-1] - _term(size[node]) + sum(_term(size[part]) for part in parts))
            for part in parts:
                if len(below[part]):
                    heapq.heappush(heap, (-size[part], ids[part], part))
        total = np.count_nonzero(own)
        perplexity = np.exp(math.log(total) - np.array(terms) / total)
        return cls(parent, own, read_only(order), read_only(groups), perplexity)

    def after(self, splits: int) -> Mask:
        """Which nodes are the groups after so many splits: (N,)."""
        split = np.zeros(len(self.parent) + 1, dtype=bool)
        split[self.node[:splits]] = True
        reached = (self.parent < 0) | split[self.parent]
        return reached & (self.own | ~split[:-1])

    def at_most(self, groups: int) -> Mask:
        """Which nodes are the groups when there may be so many at most: (N,).

        Raises:
            ValueError: there are more roots than that.
        """
        if groups < self.groups[0]:
            raise ValueError(f"{groups} groups of a forest with {self.groups[0]} roots")
        return self.after(int(np.searchsorted(self.groups, groups, side="right")) - 1)


def _term(size: int) -> float:
    return size * math.log(size) if size else 0.0

"""Split a forest from its roots down, always the largest group: coarse classes, and inner nodes."""

# N nodes, C classes among them, S splits, M inner nodes

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.forest import (
    Children,
    IntArray,
    Mask,
    depths,
    read_only,
    restrict,
    totals_below,
    with_ancestors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Splits:
    """One sequence of splits that gives coarsenings of every size, each a refinement of the last.

    The group with the most classes is split first, and of groups of equal size the one with the
    smallest id, so that the order of the class list does not matter. A node that is a class itself
    remains a group of its own when its descendants are split off.

    Attributes:
        parent: (N,) the forest.
        is_class: (N,) which nodes are classes of the data.
        node: (S,) the nodes in the order of their splits.
        groups: (S + 1,) the number of groups before the first split and after each one.
        perplexity: (S + 1,) of the distribution of the classes over the groups, which is the number
            of groups of equal size that would separate the classes equally well.
    """

    parent: IntArray
    is_class: Mask
    node: IntArray
    groups: IntArray
    perplexity: npt.NDArray[np.float64]

    @classmethod
    def of(cls, parent: IntArray, is_class: Mask, ids: Sequence[str]) -> Splits:
        """The splits of a forest of N nodes with these ids."""
        below = Children.of(parent)
        size: list[int] = totals_below(parent, depths(parent), is_class.astype(np.int64)).tolist()
        tops: list[int] = np.flatnonzero(parent < 0).tolist()
        heap = [(-size[node], ids[node], node) for node in tops if len(below[node])]
        heapq.heapify(heap)
        order: list[int] = []
        groups, terms = [len(tops)], [sum(_term(size[node]) for node in tops)]
        while heap:
            node = heapq.heappop(heap)[2]
            parts: list[int] = below[node].tolist()
            order.append(node)
            groups.append(groups[-1] + len(parts) - (not is_class[node]))
            terms.append(terms[-1] - _term(size[node]) + sum(_term(size[part]) for part in parts))
            for part in parts:
                if len(below[part]):
                    heapq.heappush(heap, (-size[part], ids[part], part))
        total = np.count_nonzero(is_class)
        perplexity = np.exp(math.log(total) - np.array(terms) / total)
        return cls(parent, is_class, read_only(order), read_only(groups), perplexity)

    def after(self, splits: int) -> Mask:
        """Which nodes are groups after this many splits: (N,)."""
        split = np.zeros(len(self.parent) + 1, dtype=bool)
        split[self.node[:splits]] = True
        reached = (self.parent < 0) | split[self.parent]
        return reached & (self.is_class | ~split[:-1])

    def at_most(self, groups: int) -> Mask:
        """Which nodes are groups if there may be at most this many: (N,).

        Raises:
            ValueError: the forest has more roots than that.
        """
        if groups < self.groups[0]:
            raise ValueError(f"{groups} groups of a forest with {self.groups[0]} roots")
        return self.after(int(np.searchsorted(self.groups, groups, side="right")) - 1)


@dataclass(frozen=True, eq=False)
class InnerNodes:
    """Nodes of a taxonomy that are not classes, and the level of each.

    Attributes:
        nodes: (M,) ascending.
        level: (M,) from 0, without gaps; the classes are on the level below the last.
    """

    nodes: IntArray
    level: IntArray


def choose_inner_nodes(
    parent: IntArray, ids: Sequence[str], classes: IntArray, levels: int | None
) -> InnerNodes:
    """Nodes above the classes that separate them into more and more groups.

    Only nodes with classes in at least two branches are candidates, so chains of single children
    disappear. The groups are split from the roots down, always the largest (see ``Splits``), and
    looked at ``levels`` times, so that their perplexity grows approximately as a geometric series
    that would end at the C classes. The inner nodes that are new at such a step form one level.
    There may be fewer levels than requested: a node that separates nothing, such as a root above
    all classes, is on no level, and a level of one node is dropped.

    Args:
        parent: a forest of N nodes.
        ids: the id of each of the N nodes.
        classes: (C,) the nodes that are classes.
        levels: the maximum number of levels, at least 1; None takes every candidate, all on one
            level.
    """
    is_class = np.zeros(len(parent), dtype=bool)
    is_class[classes] = True
    branching = _branching(parent, classes, is_class)
    if levels is None:
        return InnerNodes(branching, read_only(np.zeros_like(branching)))
    nodes = np.concatenate([classes, branching])
    positions: list[int] = nodes.tolist()
    splits = Splits.of(restrict(parent, nodes), is_class[nodes], [ids[at] for at in positions])
    level = np.full(len(nodes), levels, dtype=np.int64)
    for number, step in enumerate(_steps(splits, min(levels, len(splits.node)))):
        level[splits.after(step) & (level == levels)] = number
    chosen = (level < levels) & ~is_class[nodes]
    # A softmax over a single node is always right.
    chosen &= np.bincount(level[chosen], minlength=levels + 1)[level] > 1
    return InnerNodes(
        nodes=read_only(nodes[chosen]),
        level=read_only(np.unique(level[chosen], return_inverse=True)[1]),
    )


def _steps(splits: Splits, levels: int) -> list[int]:
    """The numbers of splits after which to look: at most ``levels``, ascending."""
    steps: list[int] = []
    reached, end = 1.0, float(splits.perplexity[-1])
    for left in range(levels, 0, -1):
        # A single split may overshoot, so the remaining range is divided again each time.
        wanted = reached * (end / reached) ** (1 / (left + 1))
        step = int(np.searchsorted(splits.perplexity, wanted * (1 - 1e-9)))
        if step >= len(splits.node):
            break
        steps.append(step)
        reached = float(splits.perplexity[step])
    return steps


def _branching(parent: IntArray, classes: IntArray, is_class: Mask) -> IntArray:
    """The nodes that are not classes and have classes in at least two branches, ascending."""
    above = parent[with_ancestors(parent, classes)]
    branches = np.bincount(above[above >= 0], minlength=len(parent))
    return read_only(np.flatnonzero((branches > 1) & ~is_class))


def _term(size: int) -> float:
    return size * math.log(size) if size else 0.0

"""Forests as parent arrays: ancestors, descendants, depths and heights, without loops over nodes.

A parent array (N,) holds the index of each node's parent, -1 for a root.
"""

# N nodes

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

IntArray: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def read_only(values: Sequence[int] | npt.NDArray[np.integer]) -> IntArray:
    """A read-only int64 copy."""
    array = np.array(values, dtype=np.int64)
    array.flags.writeable = False
    return array


def row_starts(counts: Sequence[int] | npt.NDArray[np.integer]) -> IntArray:
    """The start of each row in a flat array of N rows with these lengths, and the end: (N + 1,)."""
    return read_only(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))


def depths(parent: IntArray) -> IntArray:
    """The number of ancestors of each node: (N,); -1 where the parents form a cycle.

    Jumps double in length, so even a single long chain takes log2(N) rounds.
    """
    # The last slot means "above every root": index -1 finds it, and it leads to itself.
    jump = np.append(parent, -1)
    steps = (jump >= 0).astype(np.int64)
    for _ in range(len(jump).bit_length()):
        if (jump < 0).all():
            break
        steps += steps[jump]
        jump = jump[jump]
    steps[jump >= 0] = -1
    return read_only(steps[:-1])


def by_depth(depth: IntArray) -> list[IntArray]:
    """The nodes of each depth, ascending, from depth 0 down."""
    order = np.argsort(depth, kind="stable")
    ends = np.cumsum(np.bincount(depth))
    return [read_only(nodes) for nodes in np.split(order, ends[:-1])]


def nearest(parent: IntArray, kept: Mask) -> IntArray:
    """The closest kept ancestor of each node, -1 if there is none: (N,).

    Args:
        parent: a forest of N nodes.
        kept: (N,) the nodes to keep.
    """
    above = np.array(parent)
    todo = np.flatnonzero(above >= 0)
    todo = todo[~kept[above[todo]]]
    while todo.size:
        # No node between a node and its ``above`` is kept, so jumps double here, too.
        above[todo] = above[above[todo]]
        todo = todo[above[todo] >= 0]
        todo = todo[~kept[above[todo]]]
    return read_only(above)


def restrict(parent: IntArray, nodes: IntArray) -> IntArray:
    """The parent array of the forest over some of the nodes: each node's closest listed ancestor.

    Args:
        parent: a forest of N nodes.
        nodes: (M,) the nodes to keep.

    Returns:
        (M,) positions in ``nodes``, -1 for a root.
    """
    place = np.full(len(parent) + 1, -1, dtype=np.int64)
    place[nodes] = np.arange(len(nodes))
    return read_only(place[nearest(parent, place[:-1] >= 0)[nodes]])


def totals_below(parent: IntArray, depth: IntArray, amount: IntArray) -> IntArray:
    """The sum of ``amount`` over each node and its descendants: (N,)."""
    total = np.array(amount)
    for nodes in by_depth(depth)[:0:-1]:
        np.add.at(total, parent[nodes], total[nodes])
    return read_only(total)


def heights(parent: IntArray, depth: IntArray) -> IntArray:
    """The length of the longest path from each node down to a leaf, 0 for a leaf: (N,)."""
    height = np.zeros(len(parent), dtype=np.int64)
    for nodes in by_depth(depth)[:0:-1]:
        np.maximum.at(height, parent[nodes], height[nodes] + 1)
    return read_only(height)


def with_ancestors(parent: IntArray, nodes: IntArray) -> IntArray:
    """These nodes and all their ancestors, ascending."""
    seen = np.zeros(len(parent), dtype=bool)
    while nodes.size:
        seen[nodes] = True
        nodes = parent[nodes]
        nodes = np.unique(nodes[nodes >= 0])
        nodes = nodes[~seen[nodes]]
    return read_only(np.flatnonzero(seen))


@dataclass(frozen=True, eq=False)
class Children:
    """The children of every node of a forest, ascending: ``Children.of(parent)[node]``."""

    nodes: IntArray
    start: IntArray

    @classmethod
    def of(cls, parent: IntArray) -> Children:
        """The children in a parent array."""
        order = np.argsort(parent, kind="stable")
        start = np.searchsorted(parent[order], np.arange(len(parent) + 1))
        return cls(read_only(order), read_only(start))

    def __getitem__(self, node: int) -> IntArray:
        return self.nodes[self.start[node] : self.start[node + 1]]

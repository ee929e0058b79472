"""Which of a node's parents its chain follows: the first, or that of the shortest or longest way.

The graph is given as rows: node ``i`` has the parents ``parents[start[i]:start[i + 1]]``.
"""

# N nodes, E child -> parent edges

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from labelkit.hierarchy.arrays import IntArray, read_only

Rule: TypeAlias = Literal["imagenet", "first", "shortest", "longest"]


def first_parents(start: IntArray, parents: IntArray) -> IntArray:
    """The first parent of each node, -1 where there is none: (N,)."""
    has_parent = start[1:] > start[:-1]
    first = np.full(len(has_parent), -1, dtype=np.int64)
    first[has_parent] = parents[start[:-1][has_parent]]
    return read_only(first)


def extreme_parents(
    start: IntArray, parents: IntArray, rule: Literal["shortest", "longest"]
) -> IntArray:
    """The parent with the fewest or the most steps from there to a root, -1 for a root: (N,).

    Of parents with equally many steps the first one is taken.
    """
    begin: list[int] = start.tolist()
    flat: list[int] = parents.tolist()
    steps = [0] * (len(begin) - 1)
    chosen = [-1] * len(steps)
    pick = min if rule == "shortest" else max
    for node in reversed(children_first(start, parents)):
        row = flat[begin[node] : begin[node + 1]]
        if row:
            chosen[node] = pick(row, key=steps.__getitem__)
            steps[node] = steps[chosen[node]] + 1
    return read_only(chosen)


def children_first(start: IntArray, parents: IntArray) -> list[int]:
    """The nodes in an order in which each comes after everything below it.

    Nodes on a cycle, and those above one, are missing.
    """
    begin: list[int] = start.tolist()
    flat: list[int] = parents.tolist()
    waiting: list[int] = np.bincount(parents, minlength=len(begin) - 1).tolist()
    ready = [node for node, children in enumerate(waiting) if not children]
    for node in ready:  # grows while it is read
        for above in flat[begin[node] : begin[node + 1]]:
            waiting[above] -= 1
            if not waiting[above]:
                ready.append(above)
    return ready

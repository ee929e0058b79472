"""Choose inner nodes of a taxonomy that give a class list levels above its classes."""

# C classes, N nodes of the taxonomy, M chosen inner nodes

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.arrays import IntArray, read_only
from labelkit.hierarchy.forest import Mask, among, with_all_above
from labelkit.hierarchy.splits import Splits

if TYPE_CHECKING:
    from labelkit.hierarchy.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class InnerNodes:
    """Nodes of a taxonomy that are no classes, and the level of each.

    Attributes:
        nodes: (M,) ascending.
        level: (M,) from 0, without gaps; the classes come below.
    """

    nodes: IntArray
    level: IntArray


def choose_inner_nodes(taxonomy: Taxonomy, classes: IntArray, levels: int | None) -> InnerNodes:
    """Nodes above the classes that part them into ever more groups.

    Only nodes with classes in at least two branches count, so chains of single children vanish.
    The groups are split from the roots down, always the largest (see ``Splits``), and looked at
    ``levels`` times, so that their perplexity grows about as a geometric series that would end at
    the C classes. The inner nodes seen at such a moment for the first time make one level. Levels
    may turn out fewer. What parts nothing, such as a root over all classes, is in no level, and a
    level of one node is left out.

    Args:
        taxonomy: N nodes, each with the one parent that its rule picked.
        classes: (C,) the nodes that are classes.
        levels: how many levels to make at most, at least 1; None takes every node that counts,
            all as one level.
    """
    is_class = np.zeros(len(taxonomy.ids), dtype=bool)
    is_class[classes] = True
    branching = _branching(taxonomy.parent, classes, is_class)
    if levels is None:
        return InnerNodes(branching, read_only(np.zeros_like(branching)))
    nodes = np.concatenate([classes, branching])
    ids = [taxonomy.ids[node] for node in nodes.tolist()]
    splits = Splits.of(among(taxonomy.parent, nodes), is_class[nodes], ids)
    level = np.full(len(nodes), levels, dtype=np.int64)
    for number, moment in enumerate(_moments(splits, min(levels, len(splits.node)))):
        level[splits.after(moment) & (level == levels)] = number
    chosen = (level < levels) & ~is_class[nodes]
    # A softmax over one node is always right.
    chosen &= np.bincount(level[chosen], minlength=levels + 1)[level] > 1
    return InnerNodes(
        nodes=read_only(nodes[chosen]),
        level=read_only(np.unique(level[chosen], return_inverse=True)[1]),
    )


def _moments(splits: Splits, levels: int) -> list[int]:
    """After how many splits to look: (at most) ``levels`` ascending numbers."""
    moments: list[int] = []
    reached, end = 1.0, float(splits.perplexity[-1])
    for left in range(levels, 0, -1):
        # One split may lead far: what is left of the way is shared out anew.
        wanted = reached * (end / reached) ** (1 / (left + 1))
        moment = int(np.searchsorted(splits.perplexity, wanted * (1 - 1e-9)))
        if moment >= len(splits.node):
            break
        moments.append(moment)
        reached = float(splits.perplexity[moment])
    return moments


def _branching(parent: IntArray, classes: IntArray, is_class: Mask) -> IntArray:
    """The nodes that are no classes and have classes in at least two branches, ascending."""
    above = parent[with_all_above(parent, classes)]
    branches = np.bincount(above[above >= 0], minlength=len(parent))
    return read_only(np.flatnonzero((branches > 1) & ~is_class))

"""Keep the named ranks of a taxonomy, such as order and family, as the levels of a tree."""

# N nodes of a taxonomy, C classes, M inner nodes

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from labelkit.errors import ClassListError
from labelkit.hierarchy.forest import IntArray, nearest, with_ancestors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from labelkit.hierarchy.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class RankedNodes:
    """The inner nodes of the kept ranks, and the level of every node.

    Attributes:
        inner: (M,) nodes of the taxonomy that are not classes.
        level: (C + M,) the levels of the classes, then those of the inner nodes.
        ranks: the name of each level.
    """

    inner: IntArray
    level: IntArray
    ranks: tuple[str, ...]


def choose_ranks(
    taxonomy: Taxonomy, nodes: IntArray, ranks: Sequence[str] | Literal["all"]
) -> RankedNodes:
    """Every node of these ranks above a class, each rank a level, from coarse to fine.

    If no class is an ancestor of another, all classes share the last level, which has the finest
    of their ranks. Otherwise each class is on the level of its rank, which is kept even if
    ``ranks`` lacks it.

    Args:
        taxonomy: a table of columns.
        nodes: (C,) the taxonomy's node of each class.
        ranks: which to keep: one or several, in any order; ``"all"`` for those that have nodes.

    Raises:
        ValueError: the taxonomy has no such rank, or none of its nodes is above a class.
        ClassListError: a class has no rank.
    """
    kept = _positions(taxonomy, ranks)
    rank = taxonomy.rank
    unranked = nodes[rank[nodes] < 0]
    if unranked.size:
        raise ClassListError(
            f"{taxonomy.ids[int(unranked[0])]!r} has no rank in {taxonomy.source['taxonomy']}: "
            "build the tree without ranks, or add a row for it to the table"
        )
    is_class = np.zeros(len(taxonomy.ids), dtype=bool)
    is_class[nodes] = True
    exclusive = bool((nearest(taxonomy.parent, is_class)[nodes] < 0).all())
    own = np.full(len(nodes), rank[nodes].max()) if exclusive else rank[nodes]
    above = with_ancestors(taxonomy.parent, nodes)
    inner = above[~is_class[above] & np.isin(rank[above], list(kept))]
    used, level = np.unique(np.append(own, rank[inner]), return_inverse=True)
    _refuse_unused(taxonomy, kept if ranks != "all" else (), used.tolist())
    return RankedNodes(inner, level, tuple(taxonomy.ranks[at] for at in used.tolist()))


def _positions(taxonomy: Taxonomy, ranks: Sequence[str] | Literal["all"]) -> set[int]:
    """The positions of the ranks among the taxonomy's."""
    title = taxonomy.source["taxonomy"]
    if not taxonomy.ranks:
        raise ValueError(
            f"{title} has no ranks: only a table of columns, such as order,family,species, has them"
        )
    if ranks == "all":
        return set(range(len(taxonomy.ranks)))
    names = [ranks] if isinstance(ranks, str) else ranks
    unknown = [name for name in names if name not in taxonomy.ranks]
    if unknown:
        raise ValueError(f"{title} has no rank {unknown[0]!r}, only {', '.join(taxonomy.ranks)}")
    return {taxonomy.ranks.index(name) for name in names}


def _refuse_unused(taxonomy: Taxonomy, kept: Collection[int], used: Sequence[int]) -> None:
    empty = [taxonomy.ranks[at] for at in sorted(set(kept) - set(used))]
    if empty:
        raise ValueError(
            f"no class is below a node of the rank {empty[0]!r}; there are nodes of "
            f"{', '.join(taxonomy.ranks[at] for at in used)}"
        )

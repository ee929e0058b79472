"""What makes a child -> parents graph a taxonomy: ids that are lines of text, and no cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.parent_rules import children_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.hierarchy.arrays import IntArray


def check_ids(ids: Sequence[str], title: str) -> None:
    """Raise unless there are ids, each one non-empty line of text.

    Raises:
        TaxonomyError: none at all, or a wrong one; the message names it.
    """
    if not ids:
        raise TaxonomyError(f"the taxonomy {title!r} is empty: give it at least one id")
    wrong = next((node for node in ids if not isinstance(node, str) or not node), None)
    if wrong is None and len(f"{chr(10).join(ids)}.".splitlines()) > len(ids):
        wrong = next(node for node in ids if node.splitlines() != [node])
    if wrong is not None:
        raise TaxonomyError(f"the taxonomy {title!r} has the id {wrong!r}: an id is a line of text")


def refuse_cycle(ids: Sequence[str], start: IntArray, parents: IntArray, title: str) -> None:
    """Raise if a node is its own ancestor, by whichever of its parents.

    Args:
        ids: of the nodes.
        start: where each node's row in ``parents`` begins, and the end.
        parents: the parents' nodes, row after row.
        title: the taxonomy's, for the message.

    Raises:
        TaxonomyError: there is a cycle; the message names its ids from child to parent.
    """
    cycle = [ids[node] for node in _find_cycle(start, parents)]
    if cycle:
        shown = cycle if len(cycle) <= 8 else [*cycle[:4], "...", *cycle[-3:]]
        raise TaxonomyError(
            f"the taxonomy {title!r} has a cycle (child -> parent): {' -> '.join(shown)}. "
            "Remove one of these pairs"
        )


def _find_cycle(start: IntArray, parents: IntArray) -> list[int]:
    """A cycle's nodes from child to parent, the first one again at the end; empty without one."""
    order = children_first(start, parents)
    left = np.ones(len(start) - 1, dtype=bool)
    left[order] = False
    if not left.any():
        return []
    child = np.repeat(np.arange(len(left)), np.diff(start))
    inside = left[child] & left[parents]
    # Every node that is left has a child that is left, so going down from one ends in a circle.
    child_of = dict(zip(parents[inside].tolist(), child[inside].tolist(), strict=True))
    node = int(np.argmax(left))
    way: dict[int, None] = {}
    while node not in way:
        way[node] = None
        node = child_of[node]
    cycle = list(way)[list(way).index(node) :]
    return [*cycle[:1], *cycle[::-1]] if cycle else []

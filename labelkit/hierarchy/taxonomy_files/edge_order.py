"""Which column of an edge list holds the children, if no header says so."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from labelkit.hierarchy.wordnet.graph import packaged_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

EdgeOrder: TypeAlias = Literal["child-parent", "parent-child"]

MOST = 0.9  # of the edges that WordNet knows, for a decision; a list may correct some of them
MANY = 10  # edges; in fewer, a column without repetition may be chance


class DetectedOrder(NamedTuple):
    """An order, the reason for it in words, and whether the other order is implausible."""

    order: EdgeOrder
    reason: str
    certain: bool


def detect_order(first: Sequence[str], second: Sequence[str]) -> DetectedOrder | None:
    """The order of an edge list's columns, by its content; None if both are possible.

    Only a parent may be empty. Edges between wnids have WordNet's direction. Otherwise, if one
    order gives every child a single parent and the other does not, it is that one: taxonomies
    branch downwards.

    >>> detect_order(["animal", "animal", "cat"], ["cat", "dog", "tabby"]).order
    'parent-child'
    >>> detect_order(["tabby", "cat"], ["cat", "animal"]) is None
    True
    """
    if ("" in first) != ("" in second):
        order = "parent-child" if "" in first else "child-parent"
        return DetectedOrder(order, "only parents are empty", certain=True)
    by_wordnet = _order_in_wordnet(first, second)
    if by_wordnet is not None:
        return DetectedOrder(by_wordnet, "as in WordNet", certain=True)
    edges = set(zip(first, second, strict=True))
    repeats = [len(set(map(operator.itemgetter(column), edges))) < len(edges) for column in (0, 1)]
    if repeats[0] == repeats[1]:
        return None
    order = "parent-child" if repeats[0] else "child-parent"
    return DetectedOrder(order, "each child has one parent", certain=len(edges) >= MANY)


def _order_in_wordnet(first: Sequence[str], second: Sequence[str]) -> EdgeOrder | None:
    hypernyms = packaged_graph().hypernyms
    pairs = list(zip(first, second, strict=True))
    up = sum(right in hypernyms(left) for left, right in pairs)
    down = sum(left in hypernyms(right) for left, right in pairs)
    if max(up, down) < MOST * (up + down) or not up + down:
        return None
    return "child-parent" if up > down else "parent-child"

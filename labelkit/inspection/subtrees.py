"""The classes below a class: in order, and as many as fit on a screen."""

# C nodes of a tree: its classes, including inner nodes

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.wording import readable

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree

Children = list[list[int]]


def sorted_children(tree: SemanticTree) -> Children:
    """The children of each node ordered by name, followed by the roots: C + 1 lists."""
    keys = [
        (readable(name).casefold(), identity)
        for name, identity in zip(tree.names, tree.classes, strict=True)
    ]
    children: Children = [[] for _ in range(len(keys) + 1)]
    parent: list[int] = tree.parent.tolist()
    for at in sorted(range(len(keys)), key=keys.__getitem__):
        children[parent[at]].append(at)
    return children


def top_down(children: Children) -> list[int]:
    """All nodes in depth-first order: each before its children, and those in their order.

    >>> top_down([[2], [], [1], [0]])
    [0, 2, 1]
    """
    order: list[int] = []
    stack = children[-1][::-1]
    while stack:
        order.append(stack.pop())
        stack += reversed(children[order[-1]])
    return order


def drawn_children(children: Children, top: int, depth: int, rows: int) -> dict[int, list[int]]:
    """Which children to draw of a node and of the nodes below it, parents first.

    Levels are drawn completely as long as they fit. The first that does not fit is drawn in part:
    all parents get the same number of rows, and each uses one of them for the number of children
    that are not drawn.

    Args:
        children: from ``sorted_children``.
        top: the node at the top, which takes one row.
        depth: the maximum number of levels below it.
        rows: the maximum number of rows.
    """
    drawn: dict[int, list[int]] = {}
    level = [top] if children[top] else []
    left = rows - 1
    while level and depth > 0:
        depth -= 1
        counts = [len(children[at]) for at in level]
        each = _rows_each(counts, left)
        if not each:
            break
        for at, count in zip(level, counts, strict=True):
            drawn[at] = children[at] if count <= each else children[at][: each - 1]
        left -= sum(min(count, each) for count in counts)
        level = [kid for at in level for kid in drawn[at] if children[kid]]
    return drawn


def _rows_each(counts: list[int], rows: int) -> int:
    """The most rows that every parent can have; 0 if that is too few to show anything."""
    low, high = 1, max(counts)
    while low < high:
        each = (low + high + 1) // 2
        if sum(min(count, each) for count in counts) <= rows:
            low = each
        else:
            high = each - 1
    # With one row, a parent of several children could show none of them.
    fits = sum(min(count, low) for count in counts) <= rows
    return low if fits and (low > 1 or max(counts) == 1) else 0

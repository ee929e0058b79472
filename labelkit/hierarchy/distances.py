"""How far apart two classes are in a tree: for pairs, or as a table if one is asked for.

Above the roots of a tree with several roots one more node is imagined, at depth -1, so that any two
classes have something in common.
"""

# C classes, P pairs in any shape

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from labelkit.hierarchy.arrays import IntArray, read_only
from labelkit.hierarchy.forest import Children

if TYPE_CHECKING:
    import numpy.typing as npt

    from labelkit.hierarchy.tree import SemanticTree

DistanceKind: TypeAlias = Literal["height", "path", "lca_depth"]


def lowest_common_ancestor(
    tree: SemanticTree, first: npt.ArrayLike, second: npt.ArrayLike
) -> IntArray:
    """The deepest class that is above both classes or one of them; -1 where there is none.

    Args:
        tree: C classes.
        first: class indices, of any shape.
        second: class indices, of a shape that broadcasts with the first.

    Returns:
        Class indices of the broadcast shape.

    Raises:
        ValueError: an index is no class, or the shapes do not fit.
    """
    left, right = np.broadcast_arrays(_indices(first, tree), _indices(second, tree))
    depth = np.append(tree.depth, -1)
    jumps = _jumps(tree, int(tree.depth.max()) + 1)
    shallow, deep = np.where(depth[left] <= depth[right], (left, right), (right, left))
    gap = depth[deep] - depth[shallow]
    for power, jump in enumerate(jumps):
        deep = np.where(gap >> power & 1, jump[deep], deep)
    for jump in reversed(jumps):
        apart = jump[shallow] != jump[deep]
        shallow, deep = np.where(apart, jump[shallow], shallow), np.where(apart, jump[deep], deep)
    return read_only(np.where(shallow == deep, shallow, jumps[0][shallow]))


def hierarchical_distance(
    tree: SemanticTree, first: npt.ArrayLike, second: npt.ArrayLike, kind: DistanceKind = "height"
) -> IntArray:
    """How far apart classes are, pair by pair.

    Args:
        tree: C classes.
        first: class indices, of any shape.
        second: class indices, of a shape that broadcasts with the first.
        kind: ``"height"``: that of the lowest common ancestor, which is the longest way from there
            down to any class: 0 for a leaf and itself. ``"path"``: how many steps lie between the
            two. ``"lca_depth"``: the depth of the lowest common ancestor, which is no distance but
            what both share: the deeper, the closer; -1 where they share nothing.

    Returns:
        Integers of the broadcast shape.

    Raises:
        ValueError: an index is no class, the shapes do not fit, or there is no such kind.

    Source: the height is the hierarchical distance of a mistake in Bertinetto et al. 2020 (arXiv
    1912.09393), section 2, after Deng et al. 2010.
    """
    first, second = _indices(first, tree), _indices(second, tree)
    common = lowest_common_ancestor(tree, first, second)
    depth = np.append(tree.depth, -1)
    match kind:
        case "lca_depth":
            return read_only(depth[common])
        case "height":
            return read_only(_heights(tree)[common])
        case "path":
            return read_only(depth[first] + depth[second] - 2 * depth[common])
        case _:
            raise ValueError(f"kind is {kind!r}: expected 'height', 'path' or 'lca_depth'")


def distance_table(
    tree: SemanticTree, kind: DistanceKind = "height"
) -> npt.NDArray[np.signedinteger]:
    """``hierarchical_distance`` between all classes: (C, C), in the narrowest signed type.

    11,221 classes take 126 MB. The type is as narrow as the values allow: widen it with ``astype``
    before you multiply. A tree with inner nodes has rows and columns for them, too: the data's own
    are ``table[numpy.ix_(tree.is_data_class, tree.is_data_class)]``.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in {"height", "path", "lca_depth"}:
        raise ValueError(f"kind is {kind!r}: expected 'height', 'path' or 'lca_depth'")
    shared = _heights(tree) if kind == "height" else np.append(tree.depth, -1)
    widest = int(max(shared.max(), 2 * (tree.depth.max() + 1)))
    table = np.empty((len(tree.classes),) * 2, dtype=np.min_scalar_type(-widest - 1))
    members, start, end = _descendants(tree)
    # What a class shares with others, its parent shares with them too, its own descendants aside.
    for at in members.tolist():
        above = int(tree.parent[at])
        table[at] = shared[-1] if above < 0 else table[above]
        table[at, members[start[at] : end[at]]] = shared[at]
    if kind == "path":
        depth = tree.depth.astype(table.dtype)
        table *= -2
        table += depth[:, None]
        table += depth[None, :]
    return table


def _indices(classes: npt.ArrayLike, tree: SemanticTree) -> IntArray:
    indices = np.asarray(classes)
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"class indices are {indices.dtype}, not integers: take tree.classes.index[ID]"
        )
    if indices.size and (indices.min() < 0 or indices.max() >= len(tree.classes)):
        raise ValueError(
            f"class indices run from {indices.min()} to {indices.max()}, expected 0 to "
            f"{len(tree.classes) - 1}"
        )
    return indices.astype(np.int64)


def _jumps(tree: SemanticTree, longest: int) -> list[IntArray]:
    """1, 2, 4, ... steps up from each class, -1 above the roots, until ``longest`` is passed."""
    jumps = [np.append(tree.parent, -1)]
    while 2 ** len(jumps) <= longest:
        jumps.append(jumps[-1][jumps[-1]])
    return jumps


def _heights(tree: SemanticTree) -> IntArray:
    """The height of each class, and of the node above all roots: (C + 1,)."""
    return np.append(tree.height, tree.height.max() + 1)


def _descendants(tree: SemanticTree) -> tuple[IntArray, IntArray, IntArray]:
    """The classes in an order that has each class's descendants, itself first, side by side.

    Returns:
        The classes (C,); where each class's own part begins (C,); and where it ends (C,).
    """
    below = Children.of(tree.parent)
    order: list[int] = []
    waiting: list[int] = np.flatnonzero(tree.parent < 0)[::-1].tolist()
    while waiting:
        order.append(waiting.pop())
        waiting.extend(below[order[-1]][::-1].tolist())
    members = np.array(order)
    start = np.argsort(members)
    end = start + 1
    for at in reversed(order):
        above = int(tree.parent[at])
        if above >= 0:
            end[above] = max(end[above], end[at])
    return members, start, end

"""Distances between classes in a tree: for pairs, or as a table.

A tree with several roots gets a virtual node above them, at depth -1, so that any two classes have
a common ancestor.

Distances depend on the rule that chose each node's parent (``tree.source["rule"]``). WordNet's
default, ``imagenet``, reproduces ImageNet-21K-P, but puts dog and cat under *domestic animal*: by
it a tabby is nearer to a husky than to a lynx. For the distance of mistakes use
``rule="longest"``.
"""

# C classes, P pairs in any shape

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from labelkit.hierarchy.forest import Children, IntArray, read_only

if TYPE_CHECKING:
    import numpy.typing as npt

    from labelkit.hierarchy.tree import SemanticTree

DistanceKind: TypeAlias = Literal["height", "path", "lca_depth"]


def lowest_common_ancestor(
    tree: SemanticTree, first: npt.ArrayLike, second: npt.ArrayLike
) -> IntArray:
    """The deepest common ancestor, where a class is its own ancestor; -1 if there is none.

    Args:
        tree: C classes; its rule decides, as for ``hierarchical_distance``.
        first: class indices, of any shape.
        second: class indices, of a shape that broadcasts with the first.

    Returns:
        Class indices of the broadcast shape.

    Raises:
        ValueError: an index is out of range, or the shapes do not broadcast.
    """
    left, right = np.broadcast_arrays(_indices(first, tree), _indices(second, tree))
    depth = np.append(tree.depth, -1)
    jumps = _jumps(tree, int(tree.depth.max()) + 1)
    shallow, deep = np.where(depth[left] <= depth[right], (left, right), (right, left))
    gap = depth[deep] - depth[shallow]
    for power, jump in enumerate(jumps):
        deep = np.where(gap >> power & 1, jump[deep], deep)
    for jump in reversed(jumps):
        differ = jump[shallow] != jump[deep]
        shallow = np.where(differ, jump[shallow], shallow)
        deep = np.where(differ, jump[deep], deep)
    return read_only(np.where(shallow == deep, shallow, jumps[0][shallow]))


def hierarchical_distance(
    tree: SemanticTree, first: npt.ArrayLike, second: npt.ArrayLike, kind: DistanceKind = "height"
) -> IntArray:
    """The distance between classes, pair by pair.

    It depends on the rule that chose the parents, which ``tree.source["rule"]`` names. For
    WordNet's animals build the tree with ``Taxonomy.wordnet(rule="longest")``: the default,
    ImageNet's own choice, puts pets under *domestic animal*, further from lynx and wolf than from
    each other. The tree of *Making Better Mistakes* agrees with ``longest`` on nearly all pairs.

    Args:
        tree: C classes.
        first: class indices, of any shape.
        second: class indices, of a shape that broadcasts with the first.
        kind: ``"height"``: the height of the lowest common ancestor, which is the length of the
            longest path from there down to a leaf: 0 for a leaf and itself. ``"path"``: the number
            of steps between the two. ``"lca_depth"``: the depth of the lowest common ancestor,
            which is a similarity: the deeper, the closer; -1 if there is none.

    Returns:
        Integers of the broadcast shape.

    Raises:
        ValueError: an index is out of range, the shapes do not broadcast, or the kind is unknown.

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

    See there for the rule to build the tree with.

    11,221 classes take 126 MB. The type is as narrow as the values allow: widen it with ``astype``
    before multiplying. A tree with inner nodes has rows and columns for them, too; those of the
    data classes are ``table[numpy.ix_(tree.is_data_class, tree.is_data_class)]``.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in {"height", "path", "lca_depth"}:
        raise ValueError(f"kind is {kind!r}: expected 'height', 'path' or 'lca_depth'")
    shared = _heights(tree) if kind == "height" else np.append(tree.depth, -1)
    widest = int(max(shared.max(), 2 * (tree.depth.max() + 1)))
    table = np.empty((len(tree.classes),) * 2, dtype=np.min_scalar_type(-widest - 1))
    members, start, end = _descendants(tree)
    # A class and its parent have the same common ancestors with all but the class's descendants.
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
            f"class indices are {indices.dtype}, expected integers such as tree.classes.index[ID]"
        )
    if indices.size and (indices.min() < 0 or indices.max() >= len(tree.classes)):
        raise ValueError(
            f"class indices range from {indices.min()} to {indices.max()}, expected 0 to "
            f"{len(tree.classes) - 1}"
        )
    return indices.astype(np.int64)


def _jumps(tree: SemanticTree, longest: int) -> list[IntArray]:
    """The ancestors 1, 2, 4, ... steps up, -1 above the roots, up to ``longest`` steps."""
    jumps = [np.append(tree.parent, -1)]
    while 2 ** len(jumps) <= longest:
        jumps.append(jumps[-1][jumps[-1]])
    return jumps


def _heights(tree: SemanticTree) -> IntArray:
    """The height of each class, and of the virtual node above all roots: (C + 1,)."""
    return np.append(tree.height, tree.height.max() + 1)


def _descendants(tree: SemanticTree) -> tuple[IntArray, IntArray, IntArray]:
    """The classes in depth-first order, in which each class and its descendants are contiguous.

    Returns:
        The classes (C,), and the start (C,) and end (C,) of each class's slice.
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

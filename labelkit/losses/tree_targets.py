"""Class probabilities as targets for a tree: each node gets the sum over its descendants.

# B batch, T classes of the target, C of the tree, N_k of them at level k, E entries
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.hierarchy import ClassList, SemanticTree
from labelkit.losses.soft_target import check_sparse
from labelkit.losses.spoiled_targets import SpoiledTargets, hint_for_shapes
from labelkit.targets import OTHER, SparseProbabilities
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

SoftTarget: TypeAlias = Tensor | SparseProbabilities
_Nodes: TypeAlias = "NDArray[np.int64]"

TOLERANCE = 0.01  # below zero: what half precision and sums of float32 may leave
ANOTHER_LIST = (
    "For targets over another class list, such as that of a label-map file, build the loss with "
    "target_classes=maps.classes"
)


class TreeTargets(nn.Module):
    """Probabilities of T classes, dense or sparse, as the probabilities of a tree's nodes.

    A node's probability is the sum over the target's classes at the node and below it. So the
    probabilities of a level's nodes sum to the part of the target that reaches the level.

    Args:
        tree: the nodes, and which are below which.
        target_classes: the T class ids of a target's columns; None for those of the tree. Then a
            tree whose inner nodes follow the classes takes columns with and without inner nodes.
        exclusive: only classes of the data have columns, inner nodes do not.

    Attributes:
        class_count: T.

    Raises:
        ValueError: some of ``target_classes`` are not in the tree, or are inner nodes where
            columns are exclusive.
    """

    source: Tensor
    child: Tensor
    parent: Tensor
    within: Tensor
    count: Tensor

    def __init__(
        self,
        tree: SemanticTree,
        target_classes: Iterable[str] | None = None,
        *,
        exclusive: bool = False,
    ) -> None:
        super().__init__()
        nodes, spread = _columns(tree, target_classes, exclusive=exclusive)
        self._whole = len(nodes)
        self.class_count = spread or len(nodes)
        self._of_tree = target_classes is None
        self._sparse = spread > 0
        self._sizes = tree.counts
        self._spoiled = SpoiledTargets()
        position = np.argsort(np.concatenate(tree.levels))  # of each node, by level
        self._keep_tables_of_dense(tree, nodes, position)
        self._keep_tables_of_sparse(tree, nodes[: self.class_count], position)

    def _keep_tables_of_dense(self, tree: SemanticTree, nodes: _Nodes, position: _Nodes) -> None:
        """Each node's column; and each level's nodes with a parent, from the deepest level up."""
        source = np.full(len(position), len(nodes))  # for nodes without a column: one more column
        source[position[nodes]] = np.arange(len(nodes))
        self._width = int(source.max()) + 1
        self._in_order = bool((source == np.arange(len(source))).all())
        lower = [level[tree.parent[level] >= 0] for level in tree.levels[:0:-1]]
        self._steps = [len(level) for level in lower]
        children = np.concatenate([*lower, nodes[:0]])
        self._keep("source", source)
        self._keep("child", position[children])
        self._keep("parent", position[tree.parent[children]])

    def _keep_tables_of_sparse(self, tree: SemanticTree, nodes: _Nodes, position: _Nodes) -> None:
        """Each class's place within each level, -1 for none; each node's number of classes."""
        chains = tree.chain_table[nodes]
        starts = np.cumsum([0, *self._sizes[:-1]])
        within = np.where(chains >= 0, position[chains] - starts, -1)
        count = np.bincount(position[chains[chains >= 0]], minlength=len(position))
        self._keep("within", np.ascontiguousarray(within.T))
        self._keep("count", count)

    def _keep(self, name: str, table: _Nodes) -> None:
        self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def levels(self, logits: Tensor, target: SoftTarget, like: Tensor) -> Iterator[Tensor]:
        """The probabilities of each level's nodes (B, N_k), from the roots down, without gradient.

        Args:
            logits: the model's outputs, for their number and for messages.
            target: (B, T) floats, or the same as ``SparseProbabilities``.
            like: a tensor of the type to compute in.

        Raises:
            ValueError: a wrong shape or type, or, on the CPU, a negative probability, NaN, or a
                class outside the list.
        """
        if isinstance(target, SparseProbabilities):
            self._check_sparse(logits, target)
            return self._sparse_levels(target, like)
        self._check_dense(logits, target)
        self._spoiled.look_at(target, stacklevel=6)
        return iter(self._dense_levels(target.detach().to(like.dtype)))

    def _dense_levels(self, target: Tensor) -> tuple[Tensor, ...]:
        if target.shape[1] < self._width:
            target = F.pad(target, (0, self._width - target.shape[1]))
        sums = target.clone() if self._in_order else target.index_select(1, self.source)
        # From the deepest level, so that each node is complete before its parent gets it.
        for child, parent in zip(
            self.child.split(self._steps), self.parent.split(self._steps), strict=True
        ):
            sums.index_add_(1, parent, sums.index_select(1, child))
        return sums.split(self._sizes, dim=1)

    def _sparse_levels(self, target: SparseProbabilities, like: Tensor) -> Iterator[Tensor]:
        """One level at a time, so that no (B, C) target exists."""
        classes = target.classes
        excess, rest = (part.detach().to(like.dtype) for part in target[1:])
        for within, count in zip(self.within, self.count.split(self._sizes), strict=True):
            # index_select refuses negative indices, which plain indexing would wrap around.
            place = within.index_select(0, classes.flatten()).view_as(classes)
            level = rest.unsqueeze(1) * count.to(like.dtype)
            level.scatter_add_(1, place.clamp(min=0), excess.masked_fill(place < 0, 0))
            yield level

    def _check_dense(self, logits: Tensor, target: Tensor) -> None:
        batch = len(logits)
        if not target.is_floating_point():
            raise ValueError(
                f"target of shape {tuple(target.shape)} must be floats, got {target.dtype}: "
                "probabilities have shape (batch, classes), class indices (batch,)"
            )
        widths = sorted({self.class_count, self._whole})
        if target.ndim == 2 and len(target) == batch and target.shape[1] in widths:
            _check_lowest(target)
            return
        columns = "the tree" if self._of_tree else "target_classes"
        shapes = " or ".join(f"({batch}, {width})" for width in widths)
        mixed = hint_for_shapes(logits, target) if target.ndim == 2 else ""
        raise ValueError(
            f"target has shape {tuple(target.shape)}, expected {shapes}: one probability per "
            f"class of {columns}{mixed or f'. {ANOTHER_LIST}'}"
        )

    def _check_sparse(self, logits: Tensor, target: SparseProbabilities) -> None:
        if not self._sparse:
            raise ValueError(
                "a sparse target does not say whether it is over the tree's inner nodes, which "
                f"come before other classes here. {ANOTHER_LIST}"
            )
        check_sparse(logits, target, self.class_count)
        _check_lowest(target.rest)
        _check_lowest(target.excess + target.rest.unsqueeze(1))


def _columns(
    tree: SemanticTree, target_classes: Iterable[str] | None, *, exclusive: bool
) -> tuple[_Nodes, int]:
    """The node of each column, and how many of them, from the first, a sparse target is over.

    That number is 0 if it is unknown.
    """
    data = np.flatnonzero(tree.is_data_class)
    if target_classes is None:
        if exclusive:
            return data, len(data)
        first = bool((data == np.arange(len(data))).all())
        return np.arange(len(tree.classes)), len(data) if first else 0
    classes = ClassList.of(target_classes)
    outputs = tree.data_classes if exclusive else tree.classes
    missing = [each for each in classes if each not in outputs.index]
    if OTHER in missing:
        raise ValueError(
            f"target_classes contains {OTHER}, for which a tree has no node: make the targets with "
            'another value of TargetOptions(other=...) than "output", such as "even" or "weight"'
        )
    if missing:
        raise ValueError(
            f"target_classes has classes that are not in {outputs}: {summary(missing)}"
            ". Build the tree from a list that includes them: labelkit build-tree CLASSES -o TREE"
        )
    nodes = np.array([tree.classes.index[each] for each in classes], dtype=np.int64)
    return nodes, len(nodes)


def _check_lowest(values: Tensor) -> None:
    """Raise ValueError for negative values or NaN, on the CPU only: a GPU would have to wait."""
    if values.device.type != "cpu" or torch.compiler.is_compiling() or not values.numel():
        return
    lowest = float(values.detach().amin())
    if not lowest >= -TOLERANCE:
        raise ValueError(
            f"target has the value {lowest:.4g}, expected probabilities: at least 0, and 1 in sum "
            "over a row. Take the softmax of logits first"
        )

"""A tree's levels as tensors: logits cut by level, targets by one table look-up.

# B batch, C classes, L levels in use, N_k classes at level k
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from labelkit.hierarchy import SemanticTree

if TYPE_CHECKING:
    from torch.autograd.function import BackwardCFunction, FunctionCtx

Compat: TypeAlias = Literal["imagenet21k"] | None


class TreeLevels(nn.Module):
    """The levels of a semantic tree, ready to cut logits (B, C) and targets (B,) by depth.

    A level holds the classes of one depth; level k has N_k of them, in the order of
    ``tree.levels[k]``. Where the class list itself is ordered by level, logits are cut without a
    copy; in any other order, one gather sorts them first.

    The tables are buffers: they move with ``.to()``, but are no part of the ``state_dict``, since
    they follow from the tree.

    Args:
        tree: the classes and their chains.
        compat: ``"imagenet21k"`` leaves out the deepest level, as the published code does.

    Attributes:
        sizes: N_k of each level in use, from the roots down.
        class_count: C.

    Raises:
        TypeError: ``tree`` is no tree.
        ValueError: ``compat`` is unknown, the published code has no numbers for this tree, or it
            leaves out every class that images can have.
    """

    order: Tensor
    position: Tensor
    target_table: Tensor

    def __init__(self, tree: SemanticTree, compat: Compat = None) -> None:
        super().__init__()
        check_tree(tree)
        all_sizes = tuple(len(level) for level in tree.levels)
        used = len(all_sizes) if compat is None else _published_level_count(tree, compat)
        order = np.concatenate(tree.levels).astype(np.int64)
        position = np.argsort(order)
        within_level = np.concatenate([np.arange(size) for size in all_sizes])[position]
        chains = tree.chain_table[:, :used]
        table = np.where(chains >= 0, within_level[chains], -1)
        self.class_count = len(tree.classes)
        self.all_sizes = all_sizes
        self.sizes = all_sizes[:used]
        self.ordered = bool((order == np.arange(len(order))).all())
        self.register_buffer("order", torch.from_numpy(order), persistent=False)
        self.register_buffer("position", torch.from_numpy(position), persistent=False)
        self.register_buffer("target_table", torch.from_numpy(table), persistent=False)

    def split(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, C) cut into one (B, N_k) tensor per level in use, in at least float32.

        Raises:
            ValueError: not (B, C) floats with C of the tree and B of at least 1.
        """
        check_logits(logits, self.class_count)
        # Half precision loses the small probabilities of a level with thousands of classes.
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        by_level = wide if self.ordered else _reorder(wide, self.order, self.position)
        # One split and one concatenation in backward; the levels not in use get zeros there.
        return by_level.split(self.all_sizes, dim=1)[: len(self.sizes)]

    def targets(self, target: Tensor, batch: int) -> Tensor:
        """Classes (B,) to positions within each level (B, L), -1 below a class's own depth.

        Args:
            target: class indices of any integer type, of classes at any depth.
            batch: B of the logits that the targets belong to.

        Raises:
            ValueError: not (B,) integers, or, on the CPU, an index outside the class list. On an
                accelerator, where reading the values would stall it, such an index stops the
                look-up with the device's own error.
        """
        check_target(target, batch, self.class_count)
        # index_select refuses negative indices, which plain indexing would wrap around.
        return self.target_table.index_select(0, target.long())


def check_tree(tree: object) -> None:
    """Raise TypeError unless ``tree`` is a ``SemanticTree``."""
    if not isinstance(tree, SemanticTree):
        raise TypeError(
            f"tree is {str(tree)!r:.80} of type {type(tree).__name__}, expected a SemanticTree: "
            "SemanticTree.load(path) reads the file of one"
        )


def check_logits(
    logits: Tensor,
    class_count: int,
    name: str = "logits",
    columns: str = "one column per class of the tree",
) -> None:
    """Raise ValueError unless ``logits`` are (B, C) floats with C = ``class_count`` and B >= 1."""
    if logits.ndim != 2 or logits.shape[1] != class_count:
        raise ValueError(
            f"{name} have shape {tuple(logits.shape)}, expected (batch, {class_count}): {columns}"
        )
    if not logits.is_floating_point():
        raise ValueError(f"{name} have type {logits.dtype}, expected floats")
    if len(logits) == 0:
        raise ValueError(
            f"{name} have shape {tuple(logits.shape)}: an empty batch has no mean; skip it"
        )


def check_target(target: Tensor, batch: int, class_count: int) -> None:
    """Raise ValueError unless ``target`` is (B,) integers; the range is checked on the CPU only."""
    if tuple(target.shape) != (batch,):
        raise ValueError(
            f"target has shape {tuple(target.shape)}, expected ({batch},): one class index per "
            "sample (soft targets go to SoftTargetCrossEntropy)"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"target has type {target.dtype}, expected integers")
    check_class_range(target, class_count)


def check_class_range(classes: Tensor, class_count: int, name: str = "target") -> None:
    """Raise ValueError where indices on the CPU lie outside ``class_count`` classes.

    Not on accelerators, where reading the values would wait for all work, and not in compiled code,
    which it would cut in two.
    """
    if classes.device.type != "cpu" or torch.compiler.is_compiling() or classes.numel() == 0:
        return
    lowest, highest = (int(bound) for bound in classes.aminmax())
    if lowest < 0 or highest >= class_count:
        raise ValueError(
            f"{name} holds classes from {lowest} to {highest}, expected 0 to {class_count - 1}: "
            "were the labels made with another class list?"
        )


def _published_level_count(tree: SemanticTree, compat: str) -> int:
    sizes = tuple(len(level) for level in tree.levels)
    if compat != "imagenet21k":
        raise ValueError(f"compat is {compat!r}, expected 'imagenet21k' or None")
    if len(sizes) == 1:
        raise ValueError(
            "compat='imagenet21k' leaves out the deepest level, and this tree has no other: "
            "use compat=None, or a tree with parents"
        )
    if 1 in sizes[:-1]:
        raise ValueError(
            f"compat='imagenet21k' has no numbers for this tree: level {sizes.index(1)} holds one "
            "class, and the published code mixes up targets and levels there. Use compat=None"
        )
    used = len(sizes) - 1
    if not (tree.is_data_class & (tree.level < used)).any():
        raise ValueError(
            "compat='imagenet21k' leaves out the deepest level, and all "
            f"{int(tree.is_data_class.sum()):,} classes of the data stand there, with inner nodes "
            "alone above them: none of them would be trained. Use compat=None"
        )
    return used


class _Reorder(torch.autograd.Function):
    """Columns in another order; backward gathers too, where autograd's own would scatter-add."""

    @staticmethod
    def forward(columns: Tensor, order: Tensor, position: Tensor) -> Tensor:
        del position
        return columns.index_select(1, order)

    @staticmethod
    def setup_context(
        ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor
    ) -> None:
        del output
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: BackwardCFunction, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        order, position = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        return _reorder(grad_outputs[0], position, order), None, None


def _reorder(columns: Tensor, order: Tensor, position: Tensor) -> Tensor:
    """``columns[:, order]``; ``position`` is the inverse permutation."""
    return cast("Tensor", _Reorder.apply(columns, order, position))

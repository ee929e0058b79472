"""The levels of a tree as tensors: logits split by level, targets from one table, level weights.

# B batch, C classes, L levels in use, N_k classes at level k
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from labelkit.hierarchy import SemanticTree, paper_level_weights
from labelkit.tensor_checks import check_floats, check_logits, check_not_empty, check_target

if TYPE_CHECKING:
    from torch.autograd.function import BackwardCFunction, FunctionCtx

Compat: TypeAlias = Literal["imagenet21k"] | None
LevelWeights: TypeAlias = Literal["paper", "uniform"] | Sequence[float]

OR_PROBABILITIES = ", or (batch, classes) probabilities"


class TreeLevels(nn.Module):
    """The levels of a semantic tree, ready to split logits (B, C) and targets (B,) by level.

    A level contains the classes of one depth; level k has N_k of them, in the order of
    ``tree.levels[k]``. If the class list is ordered by level, logits are split without a copy; in
    any other order, one gather sorts them first.

    The tables are buffers: they move with ``.to()``, but are not part of the ``state_dict``, since
    they follow from the tree.

    Args:
        tree: the classes and their chains.
        compat: ``"imagenet21k"`` drops the deepest level, as the published code does.

    Attributes:
        sizes: N_k of each level in use, from the roots down.
        class_count: C.

    Raises:
        TypeError: ``tree`` is not a ``SemanticTree``.
        ValueError: ``compat`` is unknown, the published code fails on this tree, or it drops every
            class that images can have.
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
        """Logits (B, C) split into one (B, N_k) tensor per level in use, in at least float32.

        Raises:
            ValueError: not (B, C) floats, where C is the tree's and B is at least 1.
        """
        self.check(logits)
        # Half precision rounds the small probabilities of a level of thousands of classes to 0.
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        by_level = wide if self.ordered else _reorder(wide, self.order, self.position)
        # One split, and one concatenation in backward, where the unused levels get zeros.
        return by_level.split(self.all_sizes, dim=1)[: len(self.sizes)]

    def targets(self, target: Tensor, batch: int) -> Tensor:
        """Classes (B,) to positions within each level (B, L), -1 below the class's depth.

        Args:
            target: class indices of any integer type, of classes at any depth.
            batch: B of the logits that the targets belong to.

        Raises:
            ValueError: not (B,) integers, or, on the CPU, an index outside the class list. On a
                GPU, where reading the values would wait for all pending work, the look-up of such
                an index fails with the device's error.
        """
        check_target(target, batch, self.class_count, hint=OR_PROBABILITIES)
        # index_select refuses negative indices, which plain indexing would wrap around.
        return self.target_table.index_select(0, target.long())

    def check(self, logits: Tensor, name: str = "logits") -> None:
        """Raise ValueError unless ``logits`` are (B, C) floats with at least one row."""
        check_logits(
            logits, self.class_count, name=name, columns="one column per class of the tree"
        )
        check_floats(**{name: logits})
        check_not_empty(logits, name)


def resolve_level_weights(
    level_weights: LevelWeights, sizes: Sequence[int], *, paper: bool = True
) -> tuple[float, ...]:
    """One weight O_k per level, from the name of a formula or from numbers.

    Args:
        level_weights: ``"paper"``: ``min(20, C / sum_{j>=k} N_j)``; ``"uniform"``: 1; or numbers.
        sizes: N_k of every level of the tree, from the roots down.
        paper: whether the loss knows the paper's formula.

    Raises:
        ValueError: an unknown name, a wrong number of weights, or a weight below 0 or not finite.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic softmax training.
    """
    if isinstance(level_weights, str):
        match level_weights:
            case "paper" if paper:
                return paper_level_weights(sizes)
            case "uniform":
                return (1.0,) * len(sizes)
            case _:
                names = "'paper', 'uniform'" if paper else "'uniform'"
                raise ValueError(f"level_weights is {level_weights!r}, expected {names} or numbers")
    weights = tuple(float(weight) for weight in level_weights)
    if len(weights) != len(sizes):
        raise ValueError(
            f"level_weights has {len(weights)} weights, expected {len(sizes)}: "
            "one per level of the tree"
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ValueError(f"level_weights are {weights}, expected finite numbers >= 0")
    return weights


def check_tree(tree: object) -> None:
    """Raise TypeError unless ``tree`` is a ``SemanticTree``."""
    if not isinstance(tree, SemanticTree):
        raise TypeError(
            f"tree is {str(tree)!r:.80} of type {type(tree).__name__}, expected a SemanticTree: "
            "read a tree file with SemanticTree.load(path)"
        )


def _published_level_count(tree: SemanticTree, compat: str) -> int:
    sizes = tuple(len(level) for level in tree.levels)
    if compat != "imagenet21k":
        raise ValueError(f"compat is {compat!r}, expected 'imagenet21k' or None")
    if len(sizes) == 1:
        raise ValueError(
            "compat='imagenet21k' drops the deepest level, and this tree has only one level: use "
            "compat=None, or a tree with parents"
        )
    if 1 in sizes[:-1]:
        raise ValueError(
            f"compat='imagenet21k' does not work for this tree: level {sizes.index(1)} has one "
            "class, and the published code mixes up targets and levels there. Use compat=None"
        )
    used = len(sizes) - 1
    if not (tree.is_data_class & (tree.level < used)).any():
        raise ValueError(
            "compat='imagenet21k' drops the deepest level, which holds all "
            f"{int(tree.is_data_class.sum()):,} classes of the data, with only inner nodes above "
            "them: no class would be trained. Use compat=None"
        )
    return used


class _Reorder(torch.autograd.Function):
    """Permute columns; backward gathers too, which is faster than autograd's scatter-add."""

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

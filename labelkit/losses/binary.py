"""Binary cross-entropy at every class of a tree: one image is of a class and of all above it.

# B batch, C classes, T classes of the target
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.losses.levels import TreeLevels
from labelkit.losses.tree_targets import SoftTarget, TreeTargets
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labelkit.hierarchy import SemanticTree


class TreeBinaryCrossEntropy(nn.Module):
    """Sigmoid cross-entropy with the class and all classes above it, as independent labels.

    ``loss = (1/B) sum_b sum_c -(q_bc log s_bc + (1 - q_bc) log(1 - s_bc))``

    where s_bc is the sigmoid of the logit, and q_bc is 1 for the classes on the chain of b's
    target, else 0. For a target that is a distribution, q_bc is the sum of its probabilities over c
    and c's descendants; a target that sums to m < 1 counts as m such targets.

    It is summed over the classes, so that the gradient of a target's logit is as large as in
    cross-entropy. Computed in at least float32. Nothing enters the ``state_dict``.

    Args:
        tree: the classes, in the order of the logits, and their chains.
        target_classes: the class ids of the columns of targets given as probabilities; None for
            those of the tree, as for ``SemanticSoftmaxLoss``.

    Raises:
        TypeError: ``tree`` is not a ``SemanticTree``.
        ValueError: some of ``target_classes`` are not in the tree.

    Source: Ridnik et al. 2021 (arXiv 2104.10972): the multi-label scheme to which semantic softmax
    is compared.
    """

    def __init__(self, tree: SemanticTree, *, target_classes: Iterable[str] | None = None) -> None:
        super().__init__()
        self.levels = TreeLevels(tree)
        self.soft_targets = TreeTargets(tree, target_classes)

    def forward(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 logits).

        Args:
            logits: floats (B, C).
            target: class indices (B,), integers, of classes at any depth; or their probabilities,
                floats (B, C) or ``SparseProbabilities``, into which no gradient flows.

        Raises:
            ValueError: a wrong shape or type, an empty batch; or, on the CPU, a class outside the
                list, a negative probability or NaN.
        """
        by_level = self.levels.split(logits)
        if not isinstance(target, SparseProbabilities) and target.ndim == 1:
            mass = by_level[0].new_ones(len(logits))
            chains = self.levels.targets(target, len(logits)).unbind(dim=1)
            pulled = sum(map(_at, by_level, chains), mass.new_zeros(()))
        else:
            levels = self.soft_targets.levels(logits, target, by_level[0])
            mass = _mass(target, self.soft_targets.class_count).to(by_level[0].dtype)
            products = (
                (present * level).sum() for present, level in zip(levels, by_level, strict=True)
            )
            pulled = sum(products, mass.new_zeros(()))
        # -(q log s + (m - q) log(1 - s)) = m softplus(x) - q x
        pushed = F.softplus(torch.cat(by_level, dim=1)).sum(dim=1)
        return ((mass * pushed).sum() - pulled) / len(logits)


def _at(logits: Tensor, place: Tensor) -> Tensor:
    """The sum of one level's logits (B, N_k) at the places (B,), without those of -1."""
    found = logits.gather(1, place.clamp(min=0).unsqueeze(1)).squeeze(1)
    return found.masked_fill(place < 0, 0).sum()


def _mass(target: SoftTarget, class_count: int) -> Tensor:
    """What each row of a target sums to (B,)."""
    if isinstance(target, SparseProbabilities):
        return target.excess.sum(dim=1) + target.rest * class_count
    return target.sum(dim=1)

"""Hierarchical distance: how far from the right class the predicted ones lie in the tree.

# B batch, C classes of the tree, inner nodes included, L levels
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from labelkit.hierarchy import hierarchical_distance
from labelkit.metrics.hits import NOTHING_COUNTED, check_predictions
from labelkit.metrics.sums import Sums

if TYPE_CHECKING:
    from labelkit.hierarchy import DistanceKind, SemanticTree


def mean_hierarchical_distance(
    logits: Tensor,
    target: Tensor,
    tree: SemanticTree,
    k: int = 1,
    *,
    mistakes_only: bool = False,
) -> float:
    """Mean height of the lowest common ancestor of the target and the k best classes.

    ``HierarchicalDistance`` for a single batch; see there.

    Raises:
        ValueError: an argument is out of its range, or the batch is empty.
    """
    distance = HierarchicalDistance(tree, k, mistakes_only=mistakes_only)
    distance.update(logits, target)
    return distance.compute()


class HierarchicalDistance:
    """Mean distance between the target and the k best classes, over any number of batches.

    By default the distance is the height of the lowest common ancestor: 0 for a leaf and itself, 1
    for two classes that share a parent with no deeper branch. Above several roots stands one more
    node. Where a tree has inner nodes, only the data's own classes compete.

    Args:
        tree: the classes.
        k: how many of the highest logits count, with equal weight.
        mistakes_only: leave out samples whose best class is right. For k = 1.
        kind: ``"height"``, ``"path"`` or ``"lca_depth"``, as in
            ``labelkit.hierarchy.hierarchical_distance``.

    Raises:
        ValueError: k or kind is out of its range, or mistakes_only is asked for with k above 1.

    Source: Bertinetto et al. 2020 (arXiv 1912.09393), section 4: the hierarchical distance of a
    mistake, and the average hierarchical distance of top-k.
    """

    def __init__(
        self,
        tree: SemanticTree,
        k: int = 1,
        *,
        mistakes_only: bool = False,
        kind: DistanceKind = "height",
    ) -> None:
        self._own = torch.from_numpy(np.flatnonzero(tree.is_data_class))
        if not 1 <= k <= len(self._own):
            raise ValueError(f"k is {k}, expected 1 to {len(self._own)}, the number of classes")
        if mistakes_only and k > 1:
            raise ValueError(f"k is {k}: a mistake is the best class of a sample, so k must be 1")
        self.k = k
        self.mistakes_only = mistakes_only
        self.kind = kind
        nodes = np.arange(len(tree.classes))
        # A node is the lowest common ancestor of itself and itself.
        of_node = hierarchical_distance(tree, nodes, nodes, "lca_depth" if kind == "path" else kind)
        of_top = -1 if kind != "height" else int(of_node.max()) + 1
        self._of_ancestor = torch.from_numpy(np.append(of_node, of_top))
        self._chains = torch.from_numpy(tree.chain_table.copy())
        self._depth = torch.from_numpy(tree.depth.copy())
        self._sums = Sums(3)

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch of logits (B, C) against class indices (B,).

        Args:
            logits: one column per class of the tree; or, for a model without outputs for the inner
                nodes, one per class of the data.
            target: class indices of any integer type: columns of the logits.

        Raises:
            ValueError: a wrong shape or type, or a class outside the list.
        """
        own = self._own = self._own.to(logits.device)
        whole = logits.ndim == 2 and logits.shape[1] == len(self._depth)
        check_predictions(logits, target, len(self._depth) if whole else len(own))
        scores = logits.index_select(1, own) if whole and len(own) < len(self._depth) else logits
        predicted = own[scores.topk(self.k, dim=1, sorted=False).indices]
        wanted = target.long() if whole else own[target.long()]
        distance = self._distance(predicted, wanted.unsqueeze(1))
        wrong = predicted != wanted.unsqueeze(1)
        counted = wrong if self.mistakes_only else torch.ones_like(wrong)
        pairs = torch.tensor(wrong.numel(), device=wrong.device)
        self._sums.add(torch.stack([(distance * counted).sum(), counted.sum(), pairs]))

    def compute(self) -> float:
        """Mean distance over all batches since the start or the last reset, and all processes.

        NaN if only mistakes count and there were none.

        Raises:
            ValueError: no samples were counted.
        """
        distance, counted, pairs = self._sums.total().tolist()
        if pairs == 0:
            raise ValueError(NOTHING_COUNTED)
        return distance / counted if counted else math.nan

    def reset(self) -> None:
        """Forget all batches."""
        self._sums = Sums(3)

    def _distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Distances between classes of the tree, of the shapes' broadcast."""
        device = first.device
        self._chains, self._depth = self._chains.to(device), self._depth.to(device)
        self._of_ancestor = self._of_ancestor.to(device)
        left, right = self._chains[first], self._chains[second]
        # Each node has one level, so what two chains share they have in the same place; depths
        # grow along a chain, and the last shared node is the deepest.
        common = torch.where(left == right, left, -1)
        place = torch.arange(1, common.shape[-1] + 1, device=device) * (common >= 0)
        last = common.gather(-1, place.argmax(dim=-1, keepdim=True)).squeeze(-1)
        found = self._of_ancestor[last]  # -1, where nothing is shared, is the node above all roots
        if self.kind == "path":
            return self._depth[first] + self._depth[second] - 2 * found
        return found

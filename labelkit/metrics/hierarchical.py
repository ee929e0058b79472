"""Hierarchical distance: how far the predicted classes are from the correct one in the tree.

# B batch, C classes of the tree, inner nodes included, L levels
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from labelkit.hierarchy import hierarchical_distance
from labelkit.metrics.counting import NOTHING_COUNTED, Sums
from labelkit.tensor_checks import check_logits, check_target

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

    ``HierarchicalDistance`` for a single batch; see there, also for the tree's rule.

    Raises:
        ValueError: an argument is out of range, or the batch is empty.
    """
    distance = HierarchicalDistance(tree, k, mistakes_only=mistakes_only)
    distance.update(logits, target)
    return distance.compute()


class HierarchicalDistance:
    """Mean distance between the target and the k best classes, over any number of batches.

    By default the distance is the height of the lowest common ancestor: 0 for a leaf and itself, 1
    for two leaves whose parent has no deeper branch. If there are several roots, one more node is
    assumed above them. Inner nodes of the tree do not compete.

    Distances depend on the rule that chose the parents, which ``tree.source["rule"]`` names. For
    WordNet's animals build the tree with ``Taxonomy.wordnet(rule="longest")`` or ``labelkit
    build-tree --rule longest``: by the default, ImageNet's own choice, a tabby is nearer to a husky
    than to a lynx, since pets are below *domestic animal*.

    Args:
        tree: the classes, with inner nodes if none is above another.
        k: the number of highest logits that count, with equal weight.
        mistakes_only: skip samples whose best class is correct. Only for k = 1.
        kind: ``"height"``, ``"path"`` or ``"lca_depth"``, as in
            ``labelkit.hierarchy.hierarchical_distance``.

    Raises:
        ValueError: k or kind is out of range, or mistakes_only is given with k above 1.

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
        self._classes = torch.from_numpy(np.flatnonzero(tree.is_data_class))
        if not 1 <= k <= len(self._classes):
            raise ValueError(f"k is {k}, expected 1 to {len(self._classes)}, the number of classes")
        if mistakes_only and k > 1:
            raise ValueError(f"k is {k}, but mistakes_only needs k=1: only the best class counts")
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
            logits: one column per node of the tree; or, for a model without outputs for the inner
                nodes, one per class of the data.
            target: class indices of any integer type, as columns of the logits.

        Raises:
            ValueError: a wrong shape or type, or a class outside the list.
        """
        classes = self._classes = self._classes.to(logits.device)
        nodes = len(self._depth)
        has_inner = logits.ndim == 2 and logits.shape[1] == nodes
        columns = nodes if has_inner else len(classes)
        check_logits(logits, columns)
        check_target(target, len(logits), columns, on_accelerators=True)
        if has_inner and len(classes) < nodes:
            logits = logits.index_select(1, classes)
        predicted = classes[logits.topk(self.k, dim=1, sorted=False).indices]
        correct = target.long() if has_inner else classes[target.long()]
        distance = self._distance(predicted, correct.unsqueeze(1))
        wrong = predicted != correct.unsqueeze(1)
        counted = wrong if self.mistakes_only else torch.ones_like(wrong)
        pairs = torch.tensor(wrong.numel(), device=wrong.device)
        self._sums.add(torch.stack([(distance * counted).sum(), counted.sum(), pairs]))

    def compute(self) -> float:
        """Mean distance over all batches since the start or the last reset, and all processes.

        NaN if only mistakes count and there are none.

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
        # A node has one level, so the nodes that two chains share are at the same positions; depths
        # grow along a chain, so the last shared node is the deepest.
        common = torch.where(left == right, left, -1)
        position = torch.arange(1, common.shape[-1] + 1, device=device) * (common >= 0)
        last = common.gather(-1, position.argmax(dim=-1, keepdim=True)).squeeze(-1)
        # -1, where nothing is shared, selects the value of the node above all roots.
        of_ancestor = self._of_ancestor[last]
        if self.kind == "path":
            return self._depth[first] + self._depth[second] - 2 * of_ancestor
        return of_ancestor

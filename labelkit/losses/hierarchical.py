"""Cross-entropy at every node above a class, for lists in which no class lies under another.

# B batch, C the data's own classes, D longest chain
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from labelkit.losses.levels import check_logits, check_target, check_tree
from labelkit.losses.node_probability import NodeLogProbabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.hierarchy import SemanticTree

NodeWeights: TypeAlias = Literal["uniform"] | Sequence[float]


class HierarchicalCrossEntropy(nn.Module):
    """Cross-entropy with the class and with each inner node above it, from one flat softmax.

    A node's probability is the sum over the classes below it, so the model has one output per class
    and none for inner nodes::

        loss = (1/B) sum_b sum over the nodes n of target b's chain of w_n * -log P_b(n)

    With ``alpha``, the hierarchical cross-entropy of Bertinetto et al. instead: each node's
    probability given its parent, weighted by ``exp(-alpha * height)``, where the height of a class
    is 0 and that of a node one more than its highest child's. At ``alpha=0`` it is plain
    cross-entropy; the greater alpha, the less the upper splits count. Above several roots stands
    one more node, of probability 1.

    Sums are taken in log space, in float32 at least. Nothing enters the ``state_dict``.

    Args:
        tree: C classes, none below another, and the inner nodes above them.
        alpha: of the weights ``exp(-alpha * height)``; None for the plain sum over the chain.
        level_weights: w_n of the plain sum: ``"uniform"``, 1; or one number per level of the tree.

    Attributes:
        nodes: the probabilities of the classes and the inner nodes.

    Raises:
        TypeError: ``tree`` is no tree.
        ValueError: a class lies under another, an argument is out of its range, or both kinds of
            weights are given.

    Source: Bertinetto et al. 2020 (arXiv 1912.09393), section 3.1.
    """

    chain: Tensor
    weight: Tensor

    def __init__(
        self,
        tree: SemanticTree,
        alpha: float | None = None,
        level_weights: NodeWeights = "uniform",
    ) -> None:
        super().__init__()
        _check(tree, alpha, level_weights)
        self.nodes = NodeLogProbabilities(tree)
        by_level = _numbers(level_weights, len(tree.counts)) if alpha is None else None
        chains = [tree.chain(at)[::-1] for at in np.flatnonzero(tree.is_data_class).tolist()]
        chain_table = np.zeros((len(chains), max(map(len, chains))), dtype=np.int64)
        weights = np.zeros(chain_table.shape)
        for row, chain in enumerate(chains):
            chain_table[row, : len(chain)] = self.nodes.column[chain]
            weights[row, : len(chain)] = (
                _given_parent(tree.height[chain], alpha or 0.0)
                if by_level is None
                else by_level[tree.level[chain]]
            )
        # As indices, since a model that is cast to half precision casts its buffers of floats.
        values, index = np.unique(weights, return_inverse=True)
        self.weights = tuple(values.tolist())
        self.register_buffer("chain", torch.from_numpy(chain_table), persistent=False)
        index = torch.from_numpy(index.reshape(weights.shape))
        self.register_buffer("weight", index, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 logits).

        Args:
            logits: floats (B, C), one column per class of the data, without inner nodes.
            target: class indices (B,) among the C, integers.

        Raises:
            ValueError: a wrong shape or type, an empty batch, or, on the CPU, a class outside the
                C.
        """
        classes = self.nodes.class_count
        columns = "one column per class of the data, none for inner nodes"
        check_logits(logits, classes, columns=columns)
        check_target(target, len(logits), classes)
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        chain, weight = (
            table.index_select(0, target.long()) for table in (self.chain, self.weight)
        )
        found = self.nodes(wide).gather(1, chain)
        weights = found.new_tensor(self.weights)[weight]
        # What has no weight may be -inf.
        return -(found.masked_fill(weights == 0, 0) * weights).sum() / len(logits)


def _given_parent(height: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """Weights of -log P(node) along a chain, from the class up, that sum to those given parents.

    sum_l e_l (log P(n_l+1) - log P(n_l)) = sum_l (e_l - e_l-1) * -log P(n_l), e_l = exp(-alpha h_l)
    """
    return np.diff(np.exp(-alpha * height), prepend=0.0)


def _numbers(level_weights: NodeWeights, levels: int) -> NDArray[np.float64]:
    """One weight per level of the tree."""
    if isinstance(level_weights, str):
        return np.ones(levels)
    weights = np.array([float(weight) for weight in level_weights])
    if len(weights) != levels:
        raise ValueError(
            f"level_weights holds {len(weights)} weights, expected {levels}: "
            "one per level of the tree"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(
            f"level_weights are {weights.tolist()}, expected finite numbers of at least 0"
        )
    return weights


def _check(tree: SemanticTree, alpha: float | None, level_weights: NodeWeights) -> None:
    check_tree(tree)
    below = np.flatnonzero((tree.parent >= 0) & tree.is_data_class[tree.parent])
    if len(below):
        lower, upper = tree.classes[int(below[0])], tree.classes[int(tree.parent[below[0]])]
        raise ValueError(
            f"class {lower!r} lies under class {upper!r}, and one softmax cannot hold both: use "
            "SemanticSoftmaxLoss, or a tree of exclusive classes with inner nodes"
        )
    if isinstance(level_weights, str) and level_weights != "uniform":
        raise ValueError(f"level_weights is {level_weights!r}, expected 'uniform' or numbers")
    if alpha is None:
        return
    if level_weights != "uniform":
        raise ValueError("got alpha and level_weights, expected one of them")
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha is {alpha}, expected a finite number of at least 0")

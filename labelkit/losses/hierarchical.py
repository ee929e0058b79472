"""Cross-entropy at every node above a class, for exclusive classes under inner nodes.

# B batch, C classes of the data, M inner nodes, m of them at one depth, D longest chain
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from labelkit.losses.levels import OR_PROBABILITIES, check_tree, resolve_level_weights
from labelkit.losses.tree_targets import SoftTarget, TreeTargets
from labelkit.targets import SparseProbabilities
from labelkit.tensor_checks import check_floats, check_logits, check_not_empty, check_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from labelkit.hierarchy import SemanticTree

NodeWeights: TypeAlias = Literal["uniform"] | Sequence[float]


class HierarchicalCrossEntropy(nn.Module):
    """Cross-entropy with the class and with each inner node above it, from one flat softmax.

    A node's probability is the sum over the classes below it, so the model has one output per class
    and none for inner nodes::

        loss = (1/B) sum_b sum over the nodes n of target b's chain of w_n * -log P_b(n)

    With ``alpha``, it is the hierarchical cross-entropy of Bertinetto et al. instead: the
    probability of each node given its parent, weighted by ``exp(-alpha * depth)``, where the root's
    children have depth 1::

        loss = (1/B) sum_b sum over the nodes n of target b's chain of
               exp(-alpha * depth of n) * -log P_b(n | parent of n)

    At ``alpha=0`` this is plain cross-entropy; the larger alpha, the less the lower splits count,
    so that a mistake between siblings costs less than one between distant classes. If there are
    several roots, one more node of probability 1 is assumed above them, and they have depth 1.

    The paper's text calls the exponent's factor height, but says that errors further from the root
    must cost less, and its code uses the depth. That code also divides all weights by their sum,
    a constant factor that is left out here.

    A target may also be a distribution over the classes, as label maps, CutMix and MixUp give it.
    The loss is the mean of the losses of the single classes, weighted by their probabilities: each
    node counts with the sum of the probabilities of the classes below it.

    Sums are taken in log space, in at least float32. Nothing enters the ``state_dict``.

    Args:
        tree: C classes, none below another, and the inner nodes above them. For WordNet's animals
            build it with ``rule="longest"``; see ``labelkit.hierarchy.hierarchical_distance``.
        alpha: of the weights ``exp(-alpha * depth)``; None for the plain sum over the chain.
        level_weights: w_n of the plain sum: ``"uniform"``, 1; or one number per level of the tree.
        target_classes: the class ids of the columns of targets given as probabilities, in any
            order; None for those of the logits.

    Attributes:
        nodes: the probabilities of the classes and the inner nodes.

    Raises:
        TypeError: ``tree`` is not a ``SemanticTree``.
        ValueError: a class is below another, an argument is out of range, both kinds of weights are
            given, or some of ``target_classes`` are not classes of the tree.

    Source: Bertinetto et al. 2020 (arXiv 1912.09393), section 3.1, and the authors' code
    (``get_exponential_weighting`` in github.com/fiveai/making-better-mistakes).
    """

    chain: Tensor
    weight: Tensor
    node: Tensor
    node_weight: Tensor

    def __init__(
        self,
        tree: SemanticTree,
        alpha: float | None = None,
        level_weights: NodeWeights = "uniform",
        *,
        target_classes: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        _check(tree, alpha, level_weights)
        self.nodes = NodeLogProbabilities(tree)
        by_level = np.array(resolve_level_weights(level_weights, tree.counts, paper=False))
        roots = (tree.parent < 0) & (self.nodes.column >= 0)
        from_root = tree.depth + (1 if roots.sum() > 1 else 0)
        chains = [tree.chain(at)[::-1] for at in np.flatnonzero(tree.is_data_class).tolist()]
        chain_table = np.zeros((len(chains), max(map(len, chains))), dtype=np.int64)
        weights = np.zeros(chain_table.shape)
        for row, chain in enumerate(chains):
            chain_table[row, : len(chain)] = self.nodes.column[chain]
            weights[row, : len(chain)] = (
                by_level[tree.level[chain]]
                if alpha is None
                else _weights_given_parent(from_root[chain], alpha)
            )
        # Weights are stored as indices, since casting a model to half precision casts its buffers
        # of floats.
        values, index = np.unique(weights, return_inverse=True)
        self.weights = tuple(values.tolist())
        index = index.reshape(weights.shape)
        self.register_buffer("chain", torch.from_numpy(chain_table), persistent=False)
        self.register_buffer("weight", torch.from_numpy(index), persistent=False)
        # For soft targets: each column's weight, the same in every chain, and place by level.
        self.soft_targets = TreeTargets(tree, target_classes, exclusive=True)
        column = self.nodes.column[np.concatenate(tree.levels)]
        node = np.argsort(column)[np.count_nonzero(column < 0) :]
        node_weight = np.zeros(len(node), dtype=np.int64)
        for row, chain in enumerate(chains):
            node_weight[self.nodes.column[chain]] = index[row, : len(chain)]
        self.register_buffer("node", torch.from_numpy(node), persistent=False)
        self.register_buffer("node_weight", torch.from_numpy(node_weight), persistent=False)

    def forward(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 logits).

        Args:
            logits: floats (B, C), one column per class of the data, none for inner nodes.
            target: class indices (B,) among the C, integers; or their probabilities, floats (B, C)
                or ``SparseProbabilities``, into which no gradient flows. A row that sums to less
                than 1 counts less.

        Raises:
            ValueError: a wrong shape or type, an empty batch; or, on the CPU, a class outside the
                C, a negative probability or NaN.
        """
        classes = self.nodes.class_count
        columns = "one column per class of the data, none for inner nodes"
        check_logits(logits, classes, columns=columns)
        check_floats(logits=logits)
        check_not_empty(logits)
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        if isinstance(target, SparseProbabilities) or target.ndim == 2:
            levels = tuple(self.soft_targets.levels(logits, target, wide))
            below = torch.cat(levels, dim=1).index_select(1, self.node)
            log_probability = self.nodes(wide)
            weights = below * below.new_tensor(self.weights)[self.node_weight]
        else:
            check_target(target, len(logits), classes, hint=OR_PROBABILITIES)
            tables = self.chain, self.weight
            chain, weight = (table.index_select(0, target.long()) for table in tables)
            log_probability = self.nodes(wide).gather(1, chain)
            weights = log_probability.new_tensor(self.weights)[weight]
        # Without the mask, a log-probability of -inf times a weight of 0 would be NaN.
        return -(log_probability.masked_fill(weights == 0, 0) * weights).sum() / len(logits)


class NodeLogProbabilities(nn.Module):
    """Log-probabilities of classes and inner nodes; a node's is the sum over the classes below it.

    Nodes are summed depth by depth, from the deepest, in log space, so that small probabilities
    keep their precision.

    Args:
        tree: C classes, none of them above another, and inner nodes. Inner nodes without a class
            below them are skipped.

    Attributes:
        column: the column of each node of the tree in the result, the C classes first, and -1 for
            skipped nodes: (nodes of the tree,).
        class_count: C.
    """

    def __init__(self, tree: SemanticTree) -> None:
        super().__init__()
        classes = np.flatnonzero(tree.is_data_class)
        self.class_count = len(classes)
        self.column = np.full(len(tree.classes), -1)
        self.column[classes] = np.arange(len(classes))
        columns = count(len(classes))
        deeper = np.empty(0, dtype=np.int64)  # inner nodes one step down, in the order of columns
        self._sizes: list[int] = []
        for depth in range(int(tree.depth.max()), 0, -1):
            leaves = classes[tree.depth[classes] == depth]
            children = np.concatenate([leaves, deeper])
            deeper, slot = np.unique(tree.parent[children], return_inverse=True)
            self.column[deeper] = [next(columns) for _ in deeper]
            step = len(self._sizes)
            self._sizes.append(len(deeper))
            for name, table in ((f"leaves_{step}", self.column[leaves]), (f"slot_{step}", slot)):
                self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Logits (B, C), in at least float32, to log-probabilities (B, C + M)."""
        classes = logits.log_softmax(dim=1)
        by_depth = [classes]
        deeper = classes[:, :0]
        for size, leaves, slot in self._steps():
            children = torch.cat([classes.index_select(1, leaves), deeper], dim=1)
            deeper = _log_sum_by_slot(children, slot, size)
            by_depth.append(deeper)
        return torch.cat(by_depth, dim=1)

    def _steps(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For each depth, from the deepest: m, the classes one below, and each child's parent."""
        for step, size in enumerate(self._sizes):
            yield size, self.get_buffer(f"leaves_{step}"), self.get_buffer(f"slot_{step}")


def _log_sum_by_slot(children: Tensor, slot: Tensor, size: int) -> Tensor:
    """Log of the sum of exp(children) over the columns of each slot: (B, n) -> (B, size)."""
    limits = torch.finfo(children.dtype)
    highest = children.new_full((len(children), size), limits.min)
    highest.scatter_reduce_(1, slot.expand(len(children), -1), children.detach(), "amax")
    scaled = (children - highest.index_select(1, slot)).exp()
    total = torch.zeros_like(highest).index_add(1, slot, scaled)
    # If all classes below a node have logit -inf, the total is 0, whose log has no gradient.
    return total.clamp(min=limits.tiny).log() + highest


def _weights_given_parent(depth: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """Weights of -log P(node) along a chain, from the class up.

    They turn a sum over nodes into the sum over nodes given their parents:
    sum_l e_l (log P(n_l+1) - log P(n_l)) = sum_l (e_l - e_l-1) * -log P(n_l), e_l = exp(-alpha d_l)
    """
    return np.diff(np.exp(-alpha * depth), prepend=0.0)


def _check(tree: SemanticTree, alpha: float | None, level_weights: NodeWeights) -> None:
    check_tree(tree)
    nested = np.flatnonzero((tree.parent >= 0) & tree.is_data_class[tree.parent])
    if len(nested):
        lower, upper = tree.classes[int(nested[0])], tree.classes[int(tree.parent[nested[0]])]
        raise ValueError(
            f"class {lower!r} is below class {upper!r}, but one softmax needs exclusive classes: "
            "use SemanticSoftmaxLoss, or a tree whose classes have only inner nodes above them"
        )
    if alpha is None:
        return
    if not (isinstance(level_weights, str) and level_weights == "uniform"):
        raise ValueError("got alpha and level_weights, expected only one of them")
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha is {alpha}, expected a finite number >= 0")

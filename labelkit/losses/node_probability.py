"""How probable each inner node of a tree is, from one softmax over the data's own classes.

# B batch, C the data's own classes, M inner nodes, m of them at one depth
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.hierarchy import SemanticTree


class NodeLogProbabilities(nn.Module):
    """Log-probabilities of classes and inner nodes: a node has the sum of the classes below it.

    Nodes are summed depth by depth, from the deepest, in log space: what is small stays exact.

    Args:
        tree: C classes, none of them above another, and inner nodes. Inner nodes with no class
            below them are left out.

    Attributes:
        column: (classes and inner nodes of the tree,) where each stands in the result, -1 for those
            left out: the C classes first.
        class_count: C.
    """

    def __init__(self, tree: SemanticTree) -> None:
        super().__init__()
        own = np.flatnonzero(tree.is_data_class)
        self.class_count = len(own)
        self.column = np.full(len(tree.classes), -1)
        self.column[own] = np.arange(len(own))
        columns = count(len(own))
        deeper = np.empty(0, dtype=np.int64)  # inner nodes one step down, in the order of columns
        self._sizes: list[int] = []
        for depth in range(int(tree.depth.max()), 0, -1):
            leaves = own[tree.depth[own] == depth]
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
        found = [classes]
        deeper = classes[:, :0]
        for size, leaves, slot in self._steps():
            children = torch.cat([classes.index_select(1, leaves), deeper], dim=1)
            deeper = _log_sum_by_slot(children, slot, size)
            found.append(deeper)
        return torch.cat(found, dim=1)

    def _steps(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For each depth, from the deepest: m, the classes one below, and each child's parent."""
        for step, size in enumerate(self._sizes):
            yield size, self.get_buffer(f"leaves_{step}"), self.get_buffer(f"slot_{step}")


def _log_sum_by_slot(children: Tensor, slot: Tensor, size: int) -> Tensor:
    """Log of the sum of exp(children) over the columns of each slot: (B, n) -> (B, size)."""
    smallest = torch.finfo(children.dtype)
    highest = children.new_full((len(children), size), smallest.min)
    highest.scatter_reduce_(1, slot.expand(len(children), -1), children.detach(), "amax")
    scaled = (children - highest.index_select(1, slot)).exp()
    total = torch.zeros_like(highest).index_add(1, slot, scaled)
    # Above classes of logit -inf alone the total is 0, and its log would have no gradient.
    return total.clamp(min=smallest.tiny).log() + highest

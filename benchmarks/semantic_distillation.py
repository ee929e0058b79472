"""Semantic distillation, forward and backward, against the published method.

Run from the repository root: ``python benchmarks/semantic_distillation.py``. One thread, float32,
the 11,221 classes of ImageNet-21K-P, a batch of 256. They alternate within each round;
the figures are medians over the rounds.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelkit.hierarchy import SemanticTree, Taxonomy, read_class_list
from labelkit.losses import SemanticDistillationLoss

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 256
ROUNDS = 15
COMMAND = "python benchmarks/semantic_distillation.py"


class PublishedMethod:
    """The published computation reimplemented: level by level, all but the deepest."""

    def __init__(self, tree: SemanticTree) -> None:
        self.levels = [torch.from_numpy(level.copy()) for level in tree.levels[:-1]]

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss as a scalar, summed over the batch."""
        total = student.new_zeros(())
        for classes in self.levels:
            probability = student[:, classes].softmax(dim=1)
            target = teacher[:, classes].softmax(dim=1)
            confidence = target.topk(-(-len(classes) // 20), dim=1).values.sum(dim=1)
            total = total + ((probability - target).pow(2).sum(dim=1) * confidence).sum()
        return total


def milliseconds(
    loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor
) -> float:
    """Wall time of one forward and backward pass."""
    student.grad = None
    start = time.perf_counter()
    loss(student, teacher).backward()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Check that all agree, time them, print one line."""
    torch.set_num_threads(1)
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, BATCH, len(tree.classes), generator=generator).unbind()
    student = student.clone().requires_grad_()
    published = PublishedMethod(tree)
    same = SemanticDistillationLoss(tree, compat="imagenet21k")
    torch.testing.assert_close(same(student, teacher), published(student, teacher))

    losses = (
        published,
        SemanticDistillationLoss(tree),
        SemanticDistillationLoss(tree.ordered_by_level()),
    )
    rounds = [[milliseconds(loss, student, teacher) for loss in losses] for _ in range(ROUNDS)]
    old, any_order, level_order = map(statistics.median, zip(*rounds[1:], strict=True))
    print(
        f"semantic distillation, B={BATCH}, C={len(tree.classes):,}, forward+backward, one thread: "
        f"published {old:.1f} ms, any class order {any_order:.1f} ms ({old / any_order:.1f}x), "
        f"ordered by level {level_order:.1f} ms ({old / level_order:.1f}x)  [{COMMAND}]"
    )


if __name__ == "__main__":
    main()

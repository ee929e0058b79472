"""The losses with a tree: soft targets, dense and sparse, against class indices.

Run from the repository root: ``python benchmarks/soft_targets_of_trees.py``. One thread, float32, a
batch of 256, forward and backward; the 11,221 classes of ImageNet-21K-P ordered by level, and
ImageNet-1k's below all inner nodes. Sparse targets have 136 entries; "densify" makes dense targets
of them first. All alternate; the figures are medians over the rounds.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch

from labelkit.hierarchy import SemanticTree, Taxonomy, read_class_list
from labelkit.losses import HierarchicalCrossEntropy, SemanticDistillationLoss, SemanticSoftmaxLoss
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BATCH = 256
ENTRIES = 136
ROUNDS = 21
COMMAND = "python benchmarks/soft_targets_of_trees.py"


def sparse_targets(classes: int, generator: torch.Generator) -> SparseProbabilities:
    """What pooling gives in the default form: some classes differ, all others are equal."""
    listed = torch.rand(BATCH, classes, generator=generator).topk(ENTRIES, dim=1).indices
    shares = torch.rand(BATCH, ENTRIES, generator=generator)
    excess = 0.9 * shares / shares.sum(dim=1, keepdim=True)
    return SparseProbabilities(listed, excess, torch.full((BATCH,), 0.1 / classes))


def milliseconds(loss: Callable[[Tensor], Tensor], logits: Tensor) -> float:
    """Wall time of one forward and backward pass."""
    logits.grad = None
    start = time.perf_counter()
    loss(logits).backward()
    return 1e3 * (time.perf_counter() - start)


def report(name: str, classes: int, losses: dict[str, Callable[[Tensor], Tensor]]) -> None:
    """Time the losses in turn, and print one line."""
    logits = torch.randn(BATCH, classes, generator=torch.Generator().manual_seed(1))
    logits.requires_grad_()
    torch.testing.assert_close(losses["sparse"](logits), losses["dense"](logits))
    rounds = [[milliseconds(loss, logits) for loss in losses.values()] for _ in range(ROUNDS)]
    medians = map(statistics.median, zip(*rounds[1:], strict=True))
    figures = ", ".join(f"{kind} {ms:.1f} ms" for kind, ms in zip(losses, medians, strict=True))
    print(f"{name}, B={BATCH}, C={classes:,}, forward+backward, one thread: {figures}  [{COMMAND}]")


def main() -> None:
    """Print one line per loss."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    wordnet = Taxonomy.wordnet()
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), wordnet).ordered_by_level()
    flat = SemanticTree.build(read_class_list("imagenet-1k"), wordnet, inner_levels="all")
    softmax, distance = SemanticSoftmaxLoss(tree), SemanticDistillationLoss(tree)
    given_parent = HierarchicalCrossEntropy(flat, alpha=0.4)
    for name, loss, classes in (
        ("semantic softmax", softmax, len(tree.classes)),
        ("hierarchical cross-entropy", given_parent, 1000),
    ):
        sparse = sparse_targets(classes, generator)
        dense, index = sparse.dense(classes), sparse.classes[:, 0]
        losses: dict[str, Callable[[Tensor], Tensor]] = {
            "indices": lambda logits, of=loss, target=index: of(logits, target),
            "dense": lambda logits, of=loss, target=dense: of(logits, target),
            "sparse": lambda logits, of=loss, target=sparse: of(logits, target),
            "densify": lambda logits, of=loss, target=sparse: of(
                logits, target.dense(logits.shape[1])
            ),
        }
        report(name, classes, losses)
    sparse = sparse_targets(len(tree.classes), generator)
    dense = sparse.dense(len(tree.classes))
    teacher = dense.log()
    report(
        "semantic distillation",
        len(tree.classes),
        {
            "teacher's logits": lambda logits: distance(logits, teacher),
            "dense": lambda logits: distance(logits, target=dense),
            "sparse": lambda logits: distance(logits, target=sparse),
        },
    )


if __name__ == "__main__":
    main()

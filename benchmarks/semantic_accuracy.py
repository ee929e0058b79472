"""Semantic accuracy of a batch against the published method.

Run from the repository root: ``python benchmarks/semantic_accuracy.py``. One thread, float32, the
11,221 classes of ImageNet-21K-P, a batch of 256. They alternate within each round; the
figures are medians over the rounds.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from labelkit.hierarchy import SemanticTree, Taxonomy, read_class_list
from labelkit.metrics import SemanticAccuracy

BATCH = 256
ROUNDS = 31
COMMAND = "python benchmarks/semantic_accuracy.py"


class PublishedMethod:
    """The published computation reimplemented: a mean of hits over levels, level by level.

    The targets' positions within each level are precomputed.
    """

    def __init__(self, tree: SemanticTree, target: Tensor) -> None:
        self.levels = [torch.from_numpy(level.copy()) for level in tree.levels]
        chains = torch.from_numpy(tree.chain_table.copy())[target]
        self.positions = [
            (chains[:, depth : depth + 1] == classes).int().argmax(dim=1)
            for depth, classes in enumerate(self.levels)
        ]
        self.present = [chains[:, depth] >= 0 for depth in range(len(self.levels))]

    def __call__(self, logits: Tensor) -> float:
        """Percent of (sample, level) pairs that are correct."""
        correct = pairs = 0
        for classes, position, present in zip(
            self.levels, self.positions, self.present, strict=True
        ):
            best = logits[:, classes].softmax(dim=1).argmax(dim=1)
            correct += int(((best == position) & present).sum())
            pairs += int(present.sum())
        return 100 * correct / pairs


def ours(tree: SemanticTree, logits: Tensor, target: Tensor) -> float:
    """Milliseconds of one batch; the tables are built once per evaluation."""
    accuracy = SemanticAccuracy(tree)
    start = time.perf_counter()
    accuracy.update(logits, target)
    accuracy.compute()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Check that all agree, time them, print one line."""
    torch.set_num_threads(1)
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    by_level = tree.ordered_by_level()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(BATCH, len(tree.classes), generator=generator)
    target = torch.randint(0, len(tree.classes), (BATCH,), generator=generator)
    published = PublishedMethod(tree, target)
    accuracy = SemanticAccuracy(tree)
    accuracy.update(logits, target)
    assert abs(accuracy.compute() - published(logits)) < 1e-9

    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        published(logits)
        old = 1e3 * (time.perf_counter() - start)
        rounds.append([old, ours(tree, logits, target), ours(by_level, logits, target)])
    old, any_order, level_order = map(statistics.median, zip(*rounds[1:], strict=True))
    print(
        f"semantic accuracy, B={BATCH}, C={len(tree.classes):,}, one thread: published method "
        f"{old:.1f} ms, any class order {any_order:.1f} ms ({old / any_order:.1f}x), ordered by "
        f"level {level_order:.1f} ms ({old / level_order:.1f}x)  [{COMMAND}]"
    )


if __name__ == "__main__":
    main()

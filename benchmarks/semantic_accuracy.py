"""Semantic accuracy of a batch against the published way of computing it.

Run from the repository root: ``python benchmarks/semantic_accuracy.py``. One thread, float32, the
11,221 classes of ImageNet-21K-P, a batch of 256. The contenders take turns within each round; the
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


class PublishedWay:
    """The published computation in our own words: a mean of hits over levels, level by level.

    With the targets' positions within each level ready made.
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
        """Percent of (sample, level) pairs that are right."""
        right = pairs = 0
        for classes, position, present in zip(
            self.levels, self.positions, self.present, strict=True
        ):
            best = logits[:, classes].softmax(dim=1).argmax(dim=1)
            right += int(((best == position) & present).sum())
            pairs += int(present.sum())
        return 100 * right / pairs


def ours(tree: SemanticTree, logits: Tensor, target: Tensor) -> float:
    """Milliseconds of one batch; the tables are made once per evaluation."""
    accuracy = SemanticAccuracy(tree)
    start = time.perf_counter()
    accuracy.update(logits, target)
    accuracy.compute()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Check that the contenders agree, time them, print one line."""
    torch.set_num_threads(1)
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    by_level = tree.ordered_by_level()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(BATCH, len(tree.classes), generator=generator)
    target = torch.randint(0, len(tree.classes), (BATCH,), generator=generator)
    published = PublishedWay(tree, target)
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
        f"semantic accuracy, B={BATCH}, C={len(tree.classes):,}, one thread: published way "
        f"{old:.1f} ms, any class order {any_order:.1f} ms ({old / any_order:.1f}x), ordered by "
        f"level {level_order:.1f} ms ({old / level_order:.1f}x)  [{COMMAND}]"
    )


if __name__ == "__main__":
    main()

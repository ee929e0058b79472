"""Semantic softmax loss, forward and backward, against the published method.

Run from the repository root: ``python benchmarks/semantic_softmax.py``. One thread, float32, the
11,221 classes of ImageNet-21K-P, a batch of 256, smoothing 0.2. They alternate within
each round; the figures are medians.

# B batch, C classes, L levels
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelkit.hierarchy import SemanticTree, Taxonomy, read_class_list
from labelkit.losses import SemanticSoftmaxLoss

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 256
ROUNDS = 31
SMOOTHING = 0.2
COMMAND = "python benchmarks/semantic_softmax.py"


class PublishedMethod:
    """The published computation reimplemented: Python loops for targets, dense one-hot rows."""

    def __init__(self, tree: SemanticTree) -> None:
        self.chains = [tree.chain(child).tolist() for child in range(len(tree.classes))]
        self.levels = [torch.from_numpy(level.copy()) for level in tree.levels[:-1]]
        self.weights = SemanticSoftmaxLoss(tree, compat="imagenet21k").level_weights

    def targets(self, target: Tensor) -> Tensor:
        """Positions within each level (B, L), found sample by sample and level by level."""
        found = torch.full((len(target), len(self.levels)), -1)
        for sample, child in enumerate(target.tolist()):
            for depth, member in enumerate(self.chains[child][: len(self.levels)]):
                found[sample, depth] = torch.where(self.levels[depth] == member)[0]
        return found

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss as a scalar."""
        level_targets = self.targets(target)
        total = logits.new_zeros(())
        for depth, (classes, weight) in enumerate(zip(self.levels, self.weights, strict=True)):
            level_logits = logits[:, classes]
            log_probability = level_logits.log_softmax(dim=1)
            position = level_targets[:, depth]
            soft_target = torch.zeros_like(level_logits)
            soft_target.scatter_(1, position.clamp(min=0).unsqueeze(1), 1.0)
            soft_target.mul_(1 - SMOOTHING).add_(SMOOTHING / len(classes))
            rows = -(soft_target * log_probability) * (position >= 0).unsqueeze(1)
            total = total + weight * rows.sum(dim=1).mean()
        return total


def milliseconds(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> float:
    """Wall time of one forward and backward pass."""
    logits.grad = None
    start = time.perf_counter()
    loss(logits, target).backward()
    return 1e3 * (time.perf_counter() - start)


def time_targets(published: PublishedMethod, loss: SemanticSoftmaxLoss, target: Tensor) -> None:
    """Print how long the targets of a batch take, by loops and by table."""
    torch.testing.assert_close(loss.levels.targets(target, len(target)), published.targets(target))
    times: list[list[float]] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        published.targets(target)
        between = time.perf_counter()
        loss.levels.targets(target, len(target))
        times.append([between - start, time.perf_counter() - between])
    loops, table = map(statistics.median, zip(*times, strict=True))
    print(
        f"semantic targets, B={BATCH}: loops {1e3 * loops:.1f} ms, table {1e6 * table:.0f} us "
        f"({loops / table:.0f}x)  [{COMMAND}]"
    )


def main() -> None:
    """Check that all agree, time them, print one line for the loss and one for the targets."""
    torch.set_num_threads(1)
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    by_level = tree.ordered_by_level()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(BATCH, len(tree.classes), generator=generator).requires_grad_()
    target = torch.randint(0, len(tree.classes), (BATCH,), generator=generator)
    published = PublishedMethod(tree)
    same = SemanticSoftmaxLoss(tree, SMOOTHING, compat="imagenet21k")
    torch.testing.assert_close(same(logits, target), published(logits, target))

    losses = [SemanticSoftmaxLoss(classes, SMOOTHING) for classes in (tree, by_level)]
    candidates = (published, *losses, *map(torch.compile, losses))
    rounds = [[milliseconds(loss, logits, target) for loss in candidates] for _ in range(ROUNDS)]
    old, *ours = map(statistics.median, zip(*rounds[1:], strict=True))
    names = ("any class order", "ordered by level", "compiled, any", "compiled, by level")
    figures = ", ".join(
        f"{name} {new:.1f} ms ({old / new:.1f}x)" for name, new in zip(names, ours, strict=True)
    )
    print(
        f"semantic softmax, B={BATCH}, C={len(tree.classes):,}, forward+backward, one thread: "
        f"published method {old:.1f} ms, {figures}  [{COMMAND}]"
    )
    time_targets(published, same, target)


if __name__ == "__main__":
    main()

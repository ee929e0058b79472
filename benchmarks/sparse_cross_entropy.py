"""Cross-entropy with sparse soft targets, forward and backward, against dense ones.

Run from the repository root: ``python benchmarks/sparse_cross_entropy.py``. One thread, float32, a
batch of 256. Both alternate; the figures are medians over the rounds.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from labelkit.losses import SoftTargetCrossEntropy
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 256
ROUNDS = 41
COMMAND = "python benchmarks/sparse_cross_entropy.py"


def densify_first(logits: Tensor, target: SparseProbabilities) -> Tensor:
    """The baseline: a dense target over all classes, and torch's loss."""
    return F.cross_entropy(logits, target.dense(logits.shape[1]))


def milliseconds(
    loss: Callable[[Tensor, SparseProbabilities], Tensor],
    logits: Tensor,
    target: SparseProbabilities,
) -> float:
    """Wall time of one forward and backward pass."""
    logits.grad = None
    start = time.perf_counter()
    loss(logits, target).backward()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Check that both agree, time them, print one line per size."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for classes in (1000, 11_221):
        for entries in (30, 136):
            logits = torch.randn(BATCH, classes, generator=generator).requires_grad_()
            listed = torch.rand(BATCH, classes, generator=generator).topk(entries, dim=1).indices
            shares = torch.rand(BATCH, entries, generator=generator)
            excess = 0.9 * shares / shares.sum(dim=1, keepdim=True)
            target = SparseProbabilities(listed, excess, torch.full((BATCH,), 0.1 / classes))
            sparse = SoftTargetCrossEntropy()
            torch.testing.assert_close(sparse(logits, target), densify_first(logits, target))
            rounds = [
                [milliseconds(loss, logits, target) for loss in (densify_first, sparse)]
                for _ in range(ROUNDS)
            ]
            dense_time, sparse_time = map(statistics.median, zip(*rounds[1:], strict=True))
            print(
                f"soft cross-entropy, B={BATCH}, C={classes:,}, E={entries}, forward+backward, one "
                f"thread: densify {dense_time:.2f} ms, sparse {sparse_time:.2f} ms "
                f"({dense_time / sparse_time:.1f}x)  [{COMMAND}]"
            )


if __name__ == "__main__":
    main()

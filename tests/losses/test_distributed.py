"""Two processes give the gradients and metrics of one process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from labelkit.losses import SemanticSoftmaxLoss
from labelkit.metrics import (
    CalibrationError,
    HierarchicalDistance,
    MultiLabelAccuracy,
    SemanticAccuracy,
    TopKAccuracy,
)
from labelkit.metrics.counting import Sums
from tests.oracles.forests import Parents, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL: Parents = (4, -1, 1, 4, -1, 0)
BATCH = 6


def whole_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH, 3, generator=generator)
    return inputs, torch.randint(0, len(SMALL), (BATCH,), generator=generator)


def new_model() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, len(SMALL))


def gradient(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    SemanticSoftmaxLoss(tree_of(SMALL), 0.1)(model(inputs), target).backward()
    return torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    )


def metric_values(inputs: torch.Tensor, target: torch.Tensor, samples: slice) -> list[float]:
    """Every metric over these samples, twice: compute() must not change the counts."""
    tree, model = tree_of(SMALL), new_model()
    plain = [
        TopKAccuracy(2),
        SemanticAccuracy(tree),
        HierarchicalDistance(tree),
        CalibrationError(),
    ]
    multi = MultiLabelAccuracy()
    if len(target[samples]):
        logits = model(inputs[samples])
        for metric in plain:
            metric.update(logits, target[samples])
        multi.update(logits, target[samples].unsqueeze(1))
    return [metric.compute() for metric in (*plain, multi) for _ in range(2)]


def rank_gradient(rank: int) -> object:
    inputs, target = whole_batch()
    model = nn.parallel.DistributedDataParallel(new_model())
    half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    return gradient(model, inputs[half], target[half])


def rank_metrics(rank: int) -> object:
    """Rank 0 gets four samples, then all of them; rank 1 gets two, then none."""
    inputs, target = whole_batch()
    uneven = metric_values(inputs, target, slice(0, 4) if rank == 0 else slice(4, BATCH))
    return uneven, metric_values(inputs, target, slice(None) if rank == 0 else slice(0))


def rank_sums(rank: int) -> object:
    """What this rank adds before and after total() counts once."""
    sums, found = Sums(2), []
    for amounts in ([1, rank], [10, 10 * rank]):
        sums.add(torch.tensor(amounts))
        found.append(sums.total().tolist())
    return found


def one_rank(rank: int, folder: str, works: tuple[Callable[[int], object], ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save([work(rank) for work in works], f"{folder}/{rank}.pt")
    dist.destroy_process_group()
    # DistributedDataParallel keeps threads of Gloo, which may abort when Python ends before them.
    os._exit(0)


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    """Gradients of DistributedDataParallel, and metrics over unequal numbers of samples."""
    mp.spawn(one_rank, (str(tmp_path), (rank_gradient, rank_metrics, rank_sums)), nprocs=2)  # type: ignore[no-untyped-call]
    inputs, target = whole_batch()
    expected_gradient = gradient(new_model(), inputs, target)
    expected = metric_values(inputs, target, slice(None))
    for rank in range(2):
        found_gradient, (uneven, one_idle), sums = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found_gradient, expected_gradient)
        assert sums == [[2, 1], [22, 11]]
        assert uneven == pytest.approx(expected, rel=1e-12)
        assert one_idle == pytest.approx(expected, rel=1e-12)

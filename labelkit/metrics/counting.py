"""Exact counts and sums over batches, and over the processes of a distributed run."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

NOTHING_COUNTED = "no samples were counted: call update(logits, target) before compute()"


class Sums:
    """A few running sums in one 64-bit tensor, independent of the size and order of the batches.

    They stay on the device of the first batch until they are read; sums of floats move to the CPU,
    since not every device supports float64.

    Args:
        size: the number of sums.
        dtype: int64 for counts, float64 for measurements.
    """

    def __init__(self, size: int, dtype: torch.dtype = torch.int64) -> None:
        self._size = size
        self._dtype = dtype
        self._sums: Tensor | None = None

    def add(self, amounts: Tensor) -> None:
        """Add one amount to each sum: (size,)."""
        if self._dtype == torch.float64:
            amounts = amounts.cpu()
        amounts = amounts.to(self._dtype)
        self._sums = amounts if self._sums is None else self._sums + amounts.to(self._sums.device)

    def total(self) -> Tensor:
        """The sums (size,) on the CPU, over all processes of the default process group if any.

        Every process must call this, including one that saw no batch; all get the same result.
        """
        sums = self._sums
        if sums is None:
            sums = torch.zeros(self._size, dtype=self._dtype)
        if not (dist.is_available() and dist.is_initialized()):
            return sums.cpu()
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        # A copy, since all_reduce works in place: else the next call would count ours twice.
        over_all = sums.to(device, copy=True)
        dist.all_reduce(over_all)
        return over_all.cpu()


class HitCount:
    """Hits out of trials as 64-bit integers, over batches and processes (see ``Sums``)."""

    def __init__(self) -> None:
        self._sums = Sums(2)

    def add(self, hits: Tensor, trials: Tensor) -> None:
        """Count boolean ``hits`` among boolean ``trials``, two tensors of one shape."""
        self._sums.add(torch.stack([(hits & trials).sum(), trials.sum()]))

    def percent(self) -> float:
        """Hits as a percentage of the trials, over all processes if there are several.

        Raises:
            ValueError: nothing has been counted.
        """
        hits, trials = self._sums.total().tolist()
        if trials == 0:
            raise ValueError(NOTHING_COUNTED)
        return 100.0 * hits / trials

"""Sums over batches, and over the processes of a distributed run."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class Sums:
    """A few running sums as one 64-bit tensor, so that batch sizes and order change nothing.

    They stay on the device of the first batch until they are read; sums of floats go to the CPU,
    since not every device knows float64.

    Args:
        size: how many.
        dtype: int64 for counts, float64 for measures.
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

        Every process must then ask for them, those that saw no batch, too; all get the same.
        """
        sums = self._sums
        if sums is None:
            sums = torch.zeros(self._size, dtype=self._dtype)
        if not (dist.is_available() and dist.is_initialized()):
            return sums.cpu()
        on_device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        everyone = sums.to(on_device, copy=True)  # in place: ours must not be counted twice
        dist.all_reduce(everyone)
        return everyone.cpu()

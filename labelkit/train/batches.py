"""Which images are in a batch, and in which process.

# B batch, S image side
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler

from labelkit.train.data import Draw, EpochSampler, Loader, iterate_batches
from labelkit.train.processes import ALONE, Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.train.data import Batch


class BatchShares(Sampler[list[Draw]]):
    """A process's share of each batch of an epoch, in the sampler's order.

    With a shuffling sampler, an incomplete last batch is dropped unless it is the only one: batch
    norm and the loss would give it the same weight as the others.

    Args:
        sampler: the order of all samples.
        batch_size: of a whole batch.
        processes: those that share a batch.
    """

    def __init__(
        self, sampler: EpochSampler, batch_size: int, processes: Processes = ALONE
    ) -> None:
        self.sampler = sampler
        self.processes = processes
        count = sampler.count
        sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
        is_short = sampler.shuffle and len(sizes) > 1 and sizes[-1] < batch_size
        self.sizes = sizes[:-1] if is_short else sizes

    def __len__(self) -> int:
        return sum(self._is_shared(size) for size in self.sizes)

    def __iter__(self) -> Iterator[list[Draw]]:
        """The share of each batch, without empty ones."""
        draws = iter(self.sampler)
        for size in self.sizes:
            batch = list(islice(draws, size))
            if self._is_shared(size):
                yield batch[self.processes.share(size)]

    def positions(self, number: int) -> list[int]:
        """The samples of a whole batch of this epoch, by its number from 1."""
        start = sum(self.sizes[: number - 1])
        draws = islice(self.sampler, start, start + self.sizes[number - 1])
        return [position for position, _ in draws]

    def loaded(self, loader: Loader, side: int) -> Iterator[Batch]:
        """As many batches as all processes have; an empty share is a blank image and no target.

        Args:
            loader: of these batches.
            side: S.
        """
        batches = iterate_batches(loader)
        for size in self.sizes:
            if self._is_shared(size):
                yield next(batches)
            else:
                yield torch.zeros(1, 3, side, side), torch.zeros(0, dtype=torch.long)

    def _is_shared(self, size: int) -> bool:
        """Whether this process has a share of a batch of this size."""
        share = self.processes.share(size)
        return share.stop > share.start

"""Batches whose random crops follow from (seed, epoch, image) alone, whoever makes them.

The sampler hands out each image's own random seed with its position, so that workers, their number
and an interruption change nothing.

Legend: B batch, C classes, S image side.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from labelkit.data import LabelMapDataset
from labelkit.errors import LabelkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


Draw: TypeAlias = tuple[int, int]
Batch: TypeAlias = tuple[Tensor, Tensor]
Loader: TypeAlias = "DataLoader[Batch]"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sample could not be made. A value, since exceptions cross processes as tracebacks."""

    error: LabelkitError


class EpochSampler(Sampler[Draw]):
    """(position, random seed) of every sample, in an order that follows from (seed, epoch).

    Args:
        count: samples of the data set.
        seed: of the whole run.
        shuffle: False keeps the data set's order.
    """

    def __init__(self, count: int, seed: int, *, shuffle: bool) -> None:
        self.count = count
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        order, draws = np.random.SeedSequence([self.seed, self.epoch]).spawn(2)
        positions = range(self.count)
        if self.shuffle:
            positions = np.random.default_rng(order).permutation(self.count).tolist()
        seeds = draws.generate_state(self.count, np.uint64).tolist()
        return ((position, seeds[position]) for position in positions)


class SeededSamples(Dataset[Any]):
    """A data set that is asked for (position, random seed) and leaves torch's own state alone."""

    def __init__(self, samples: Dataset[Batch]) -> None:
        self.samples = samples

    def __getitem__(self, draw: Draw) -> Batch | Failure:
        return _seeded(self.samples.__getitem__, draw)

    def __getitems__(self, draws: Sequence[Draw]) -> Sequence[Batch | Failure]:
        """The samples of a batch, as torch's loader asks for them; targets are made together."""
        if not isinstance(self.samples, LabelMapDataset):
            return [self[draw] for draw in draws]
        crops = [_seeded(self.samples.draw, draw) for draw in draws]
        failures = [crop for crop in crops if isinstance(crop, Failure)]
        if failures:
            return failures
        try:
            return cast("list[Batch]", self.samples.complete(crops))
        except LabelkitError as error:
            return [Failure(error)]


def _seeded(make: Callable[[int], Any], draw: Draw) -> Any:  # noqa: ANN401
    """What is made of a position with its own random seed, or why it could not be made."""
    position, seed = draw
    # Only the CPU's generator draws crops; torch.manual_seed would also reset a GPU's.
    generator = torch.default_generator
    state = generator.get_state()
    try:
        generator.manual_seed(seed)
        return make(position)
    except LabelkitError as error:
        return Failure(error)
    finally:
        generator.set_state(state)


def make_loader(
    samples: Dataset[Batch],
    sampler: EpochSampler,
    *,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
) -> Loader:
    """Batches (B, 3, S, S) and targets, (B,) or (B, C), in the sampler's order.

    A shuffling sampler's last batch is left out if it is not full, since batch norm and the loss
    weigh it as much as the others; unless it is the only one.
    """
    return DataLoader(
        SeededSamples(samples),
        batch_size=batch_size,
        sampler=sampler,
        drop_last=sampler.shuffle and sampler.count > batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        collate_fn=_collate,
        # The loader draws a number at each start of its workers: not from the student's drop-out.
        generator=torch.Generator(),
        worker_init_fn=_ignore_interrupts,
    )


def whole_batches(loader: Loader) -> Iterator[Batch]:
    """The batches of one epoch.

    Raises:
        LabelkitError: a sample could not be made, as the data set said it.
    """
    for batch in loader:
        if isinstance(batch, Failure):
            raise batch.error
        yield batch


def _collate(samples: list[Batch | Failure]) -> Batch | Failure:
    failures = (sample for sample in samples if isinstance(sample, Failure))
    return next(failures, None) or default_collate(samples)


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the training process ends the workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)

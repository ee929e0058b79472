"""Each sample has its random seed, and a sample that cannot be read raises its original error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.data import Dataset

from labelkit.errors import DatasetError
from labelkit.train.batches import BatchShares
from labelkit.train.data import EpochSampler, Loader, iterate_batches, make_loader

if TYPE_CHECKING:
    from torch import Tensor


class RandomNumbers(Dataset[tuple["Tensor", "Tensor"]]):
    """Each sample is a random number and its position; one of them may be broken."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        if position == self.broken:
            raise DatasetError(f"cannot read image {position}")
        return torch.rand(1), torch.tensor(position)


def loader(
    workers: int = 0, *, count: int = 10, epoch: int = 1, shuffle: bool = True, broken: int = -1
) -> Loader:
    sampler = EpochSampler(count, seed=7, shuffle=shuffle)
    sampler.epoch = epoch
    return make_loader(RandomNumbers(broken), BatchShares(sampler, 4), workers=workers)


def drawn(batches: Loader) -> dict[int, float]:
    return {
        int(position): float(number)
        for numbers, positions in iterate_batches(batches)
        for number, position in zip(numbers, positions, strict=True)
    }


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_samples_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    assert drawn(loader(workers)) == drawn(loader(0))
    assert list(drawn(loader(workers))) == list(drawn(loader(0)))


def test_every_epoch_has_another_order_and_other_numbers() -> None:
    first, second = drawn(loader(epoch=1)), drawn(loader(epoch=2))
    assert list(first) != list(second)
    assert all(first[position] != second[position] for position in first.keys() & second.keys())
    assert len(set(first.values())) == len(first)


def test_loading_does_not_change_the_random_state_of_the_training_process() -> None:
    """Dropout must not depend on the process that loads the batches, nor on the first epoch."""
    state = torch.get_rng_state()
    drawn(loader(0))
    drawn(loader(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_training_drops_an_incomplete_last_batch_unless_it_is_the_only_one() -> None:
    assert len(drawn(loader(count=10))) == 8
    assert len(drawn(loader(count=3))) == 3
    assert list(drawn(loader(count=10, shuffle=False))) == list(range(10))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_raises_the_original_error(workers: int) -> None:
    """Also in a worker, whose exceptions torch would replace by a traceback as text."""
    with pytest.raises(DatasetError) as caught:
        drawn(loader(workers, shuffle=False, broken=5))
    assert str(caught.value) == "cannot read image 5"

"""Seeds travel with positions; what cannot be read comes back as the error that it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.data import Dataset

from labelkit.errors import DatasetError
from labelkit.train.batches import EpochSampler, Loader, make_loader, whole_batches

if TYPE_CHECKING:
    from torch import Tensor


class RandomNumbers(Dataset[tuple["Tensor", "Tensor"]]):
    """Each sample is a random number and its own position; some cannot be made."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        if position == self.broken:
            raise DatasetError(f"image {position} cannot be read")
        return torch.rand(1), torch.tensor(position)


def loader(
    workers: int = 0, *, count: int = 10, epoch: int = 1, shuffle: bool = True, broken: int = -1
) -> Loader:
    sampler = EpochSampler(count, seed=7, shuffle=shuffle)
    sampler.epoch = epoch
    return make_loader(RandomNumbers(broken), sampler, batch_size=4, workers=workers)


def drawn(batches: Loader) -> dict[int, float]:
    return {
        int(position): float(number)
        for numbers, positions in whole_batches(batches)
        for number, position in zip(numbers, positions, strict=True)
    }


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_sample_is_the_same_in_any_process(workers: int) -> None:
    assert drawn(loader(workers)) == drawn(loader(0))
    assert list(drawn(loader(workers))) == list(drawn(loader(0)))


def test_every_epoch_has_its_own_order_and_numbers() -> None:
    first, second = drawn(loader(epoch=1)), drawn(loader(epoch=2))
    assert list(first) != list(second)
    assert all(first[position] != second[position] for position in first.keys() & second.keys())
    assert len(set(first.values())) == len(first)


def test_reading_leaves_the_students_random_state_alone() -> None:
    """Drop-out between two batches must not depend on who read them, nor on the first epoch."""
    state = torch.get_rng_state()
    drawn(loader(0))
    drawn(loader(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_training_leaves_out_a_last_batch_that_is_not_full_unless_it_is_the_only_one() -> None:
    assert len(drawn(loader(count=10))) == 8
    assert len(drawn(loader(count=3))) == 3
    assert list(drawn(loader(count=10, shuffle=False))) == list(range(10))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_with_one_line(workers: int) -> None:
    """Also from a worker, whose exceptions torch would turn into a printed traceback."""
    with pytest.raises(DatasetError) as caught:
        drawn(loader(workers, shuffle=False, broken=5))
    assert str(caught.value) == "image 5 cannot be read"

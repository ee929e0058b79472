"""A full disk, a killed worker, full shared memory, a batch of one: one line, and what is kept."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import pytest
import torch

from labelkit.data import PackedBatch
from labelkit.errors import DatasetError, RecipeError, TrainingError
from labelkit.train import EpochRecord, StepRecord, read_recipe, train
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from labelkit.train import Event, Recipe


@pytest.fixture
def recipe(tmp_path: Path, photos: Path) -> Recipe:
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=3))
    return read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"])


@contextmanager
def file_sizes_up_to(size: int) -> Generator[None]:
    """As on a full disk, writing more fails (with EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1000, 100_000, 2_000_000])
def test_a_full_disk_keeps_the_epoch_before(recipe: Recipe, tmp_path: Path, size: int) -> None:
    """It stops the write of the log, of the student, and of the checkpoint."""
    kept = (tmp_path / "run").joinpath

    def after_an_epoch(event: Event) -> None:
        if isinstance(event, EpochRecord) and event.epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    with (
        file_sizes_up_to(resource.RLIM_INFINITY),
        pytest.raises(TrainingError, match=r"cannot write .*run/.*epoch 1 is kept.*again"),
    ):
        train(recipe, on_event=after_an_epoch)
    assert not list(kept().glob(".*.tmp"))
    assert [record.epoch for record in train(recipe).records] == [1, 2, 3]


def test_a_killed_worker_is_named_with_what_is_kept(recipe: Recipe) -> None:
    from msgspec.structs import replace

    shared = replace(recipe, data=replace(recipe.data, workers=1))

    def kill_the_worker(event: Event) -> None:
        if isinstance(event, StepRecord) and event.epoch == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)
                child.join()

    with pytest.raises(TrainingError, match=r"worker.*epoch 1 is kept.*data\.workers=0"):
        train(shared, on_event=kill_the_worker)
    assert [record.epoch for record in train(shared).records] == [1, 2, 3]


class Unsharable:
    """A batch whose tensors cannot be put into shared memory."""

    def __reduce__(self) -> str:
        raise RuntimeError("unable to write to file </torch_1>: No space left on device (28)")

    def pin_memory(self) -> Self:
        """The same object."""
        return self


def test_a_batch_that_does_not_fit_into_shared_memory_arrives_as_its_reason() -> None:
    """A queue would drop it, and training would wait for it forever."""
    packed = PackedBatch.of(Unsharable(), Reason)
    assert packed.unpack().text.startswith("unable to write to file")


class Reason:
    """Why there is no batch."""

    def __init__(self, text: str) -> None:
        self.text = text

    def pin_memory(self) -> Self:
        """The same object."""
        return self


def test_a_batch_of_one_image_is_explained(recipe: Recipe) -> None:
    from msgspec.structs import replace

    run = replace(recipe.run, batch_size=1)
    deep = replace(recipe.model, name="resnet18", kwargs={})
    data = replace(recipe.data, image_size=32)
    with pytest.raises(RecipeError, match=r"batch norm.*run\.batch_size is 1"):
        train(replace(recipe, run=run, model=deep, data=data))


class Exhausted(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """An image that needs more memory than there is."""

    def __getitem__(self, _: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise MemoryError


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_too_large_for_the_memory_is_named(workers: int) -> None:
    from labelkit.train.batches import BatchShares
    from labelkit.train.data import EpochSampler, iterate_batches, make_loader

    batches = BatchShares(EpochSampler(3, 0, shuffle=False), 2)
    loader = make_loader(Exhausted(), batches, workers=workers)
    with pytest.raises(DatasetError, match="not enough memory to read and crop image 0"):
        list(iterate_batches(loader))

"""Images of a folder in batches, in order; those that cannot be read come with the reason.

# R images that can be read, S image side
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from labelkit.data import read_image
from labelkit.errors import (
    DatasetError,
    TrainingError,
    first_line,
    is_out_of_memory,
)
from labelkit.sources import as_source
from labelkit.train.checked_images import ON_DISK, Fault, unreadable_images
from labelkit.train.data import (
    WorkerFailed,
    ignore_interrupts,
    iterate_batches,
    packed_in_worker,
)
from labelkit.train.failures import machine_failures

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable, Iterator

    from torchvision.transforms import v2

    from labelkit.sources import ImageSource


class ReadImages(NamedTuple):
    """A batch of images as read from the disk.

    Attributes:
        images: those that can be read, (R, 3, S, S).
        keys: of all images of the batch.
        faults: why the others cannot be read, by key.
    """

    images: Tensor
    keys: tuple[str, ...]
    faults: dict[str, Fault]

    @property
    def readable(self) -> list[str]:
        """The keys of ``images``: R."""
        return [key for key in self.keys if key not in self.faults]

    def pin_memory(self) -> ReadImages:
        """The same batch in page-locked memory, which a GPU copies faster."""
        return self._replace(images=self.images.pin_memory())


def read_images(  # noqa: PLR0913 -- as torch's loader
    images: ImageSource | str | os.PathLike[str],
    keys: Iterable[str],
    transform: v2.Transform,
    *,
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[ReadImages]:
    """Read images in batches of ``batch_size`` keys, in their order.

    Memory does not grow with the number of keys: they may come from an iterator.

    Args:
        images: a source, or the path of one.
        keys: of images in it.
        transform: from an image to a tensor (3, S, S).
        batch_size: keys per batch; unreadable images make a batch's tensor shorter.
        workers: processes that read; 0 reads in this one.
        pin_memory: for a GPU.

    Raises:
        DatasetError: the disk, the network or a permission failed; the images may be intact.
        WorkerFailed: a worker could not return its batch.
    """
    samples: Any = _Images(
        as_source(images), transform
    )  # indexed by key, which torch does not type
    loader: DataLoader[ReadImages] = DataLoader(
        samples,
        batch_sampler=_batches(keys, batch_size),
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=_collate,
        generator=torch.Generator(),
        worker_init_fn=ignore_interrupts,
    )
    for batch in iterate_batches(loader):
        of_disk = {key: fault for key, fault in batch.faults.items() if fault.of_disk}
        if of_disk:
            raise unreadable_images(of_disk, ON_DISK)
        yield batch


def full_batches(
    batches: Iterable[ReadImages], batch_size: int, unreadable: dict[str, str]
) -> Iterator[tuple[Tensor, list[str]]]:
    """Images (B, 3, S, S) and their keys, where B is ``batch_size`` for all batches but the last.

    Sums over batches then do not depend on where the unreadable images are.

    Args:
        batches: from ``read_images``.
        batch_size: images per batch.
        unreadable: gets the reason for each image that cannot be read.
    """
    images, keys = torch.empty(0), list[str]()
    for batch in batches:
        unreadable.update({key: fault.reason for key, fault in batch.faults.items()})
        if readable := batch.readable:
            images = torch.cat([images, batch.images]) if keys else batch.images
            keys += readable
        while len(keys) >= batch_size:
            yield images[:batch_size], keys[:batch_size]
            images, keys = images[batch_size:], keys[batch_size:]
    if keys:
        yield images, keys


@contextmanager
def reading_failures(what: str, batch_size: int) -> Generator[None]:
    """Explain a lack of memory or a lost worker while images are read and predicted.

    Args:
        what: was going on, for the message.
        batch_size: images per batch.

    Raises:
        TrainingError: with what to do.
    """
    remedy = f"Run it again with --workers 0, or with a --batch-size below {batch_size}"
    try:
        with machine_failures(what, lambda: remedy):
            yield
    except WorkerFailed as error:
        reason = f"a data-loading worker failed to return a batch: {error}"
        raise TrainingError(f"{what} stopped ({reason}). {remedy}") from error


def _batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch


class _Images(Dataset["tuple[str, Tensor | Fault]"]):
    """Images by key."""

    def __init__(self, source: ImageSource, transform: v2.Transform) -> None:
        self.source = source
        self.transform = transform

    def __getitem__(self, key: str) -> tuple[str, Tensor | Fault]:
        try:
            return key, self.transform(read_image(self.source.file(key)))
        except DatasetError as error:
            return key, Fault(str(error))
        except OSError as error:
            return key, Fault(error.strerror or first_line(error), of_disk=True)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return key, Fault("not enough memory to decode and resize it")


def _collate(samples: list[tuple[str, Tensor | Fault]]) -> Any:  # noqa: ANN401 -- packed in a worker
    def collate() -> ReadImages:
        images = [each for _, each in samples if isinstance(each, Tensor)]
        return ReadImages(
            default_collate(images) if images else torch.empty(0),
            tuple(key for key, _ in samples),
            {key: each for key, each in samples if isinstance(each, Fault)},
        )

    return packed_in_worker(collate)

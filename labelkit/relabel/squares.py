"""Images as the teacher takes them: the whole image, resized to one or several squares.

Legend: B batch, S side of a square.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset, get_worker_info
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.data import read_image
from labelkit.errors import DatasetError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Square:
    """One image at each size (3, S, S), or why there is none: its own fault, or the disk's."""

    key: str
    images: tuple[torch.Tensor, ...] = ()
    reason: str = ""
    disk_error: str = ""


@dataclass(frozen=True)
class Batch:
    """Images (B, 3, S, S) of each size as uint8, with their keys; unreadable ones apart.

    ``disk_error`` names an image that the disk, the network or a permission kept back: it may well
    be whole, so it must not be recorded as unreadable. ``not_passed`` says why a worker could not
    hand its images over; there are none then.
    """

    keys: list[str]
    images: tuple[torch.Tensor, ...]
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    disk_error: str = ""
    not_passed: str = ""

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for a quick way to a GPU."""
        return replace(self, images=tuple(images.pin_memory() for images in self.images))


@dataclass(frozen=True)
class PackedBatch:
    """A worker's batch on its way to the process that asked for it.

    A queue would pickle a batch in a thread of its own, and drop it where its pixels cannot be put
    into shared memory: the other side would wait for ever. So the worker does that part itself.
    """

    content: bytes

    @classmethod
    def of(cls, batch: Batch) -> PackedBatch:
        """Put the pixels into shared memory; where that fails, the batch says so instead."""
        try:
            return cls(bytes(ForkingPickler.dumps(batch)))
        except (OSError, RuntimeError) as error:
            return cls(bytes(ForkingPickler.dumps(Batch([], (), not_passed=first_line(error)))))

    def unpack(self) -> Batch:
        """The batch, its pixels taken over from the worker.

        Raises:
            OSError: the worker is gone, or this process may open no more files.
            EOFError: the worker went meanwhile.
        """
        return pickle.loads(self.content)  # noqa: S301 -- from a process of our own

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, for a quick way to a GPU."""
        return self.unpack().pin_memory()


class Squares(Dataset[Square]):
    """The squares of a folder's images, by position; an unreadable image is a fact, not an error.

    Args:
        root: the folder that the keys are relative to.
        keys: the images.
        squares: side S of each square, and ``bicubic`` or ``bilinear``; always with antialiasing.
    """

    def __init__(self, root: Path, keys: Sequence[str], squares: Sequence[tuple[int, str]]) -> None:
        self.root = root
        self.keys = keys
        self.squares = [(size, InterpolationMode(name)) for size, name in squares]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> Square:
        key = self.keys[position]
        try:
            image = read_image(self.root / key)
        except DatasetError as error:
            return Square(key, reason=str(error))
        except OSError as error:
            return Square(key, disk_error=str(error))
        squares = (
            VF.resize(image, [size, size], interpolation, antialias=True)
            for size, interpolation in self.squares
        )
        return Square(key, tuple(squares))

    def collate(self, squares: list[Square]) -> Batch | PackedBatch:
        """Squares as one batch; in a worker, as one that is on its way."""
        batch = self._batch(squares)
        return batch if get_worker_info() is None else PackedBatch.of(batch)

    def _batch(self, squares: list[Square]) -> Batch:
        whole = [square for square in squares if square.images]
        return Batch(
            keys=[square.key for square in whole],
            images=tuple(
                torch.stack([square.images[at] for square in whole])
                if whole
                else torch.empty(0, 3, size, size, dtype=torch.uint8)
                for at, (size, _) in enumerate(self.squares)
            ),
            unreadable={square.key: square.reason for square in squares if not square.images},
            disk_error=next((square.disk_error for square in squares if square.disk_error), ""),
        )

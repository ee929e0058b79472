"""The classes of a map's entries and of its background as bytes, and back.

Legend: N images, K entries per cell, H W grid, V values, D classes of a palette.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from labelkit.label_maps.byte_coding import byte_planes, from_byte_planes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.label_maps.form import MapForm

LARGEST_PALETTE = 256


class ClassCodec:
    """Class indices of one form of maps.

    Args:
        form: what the maps have in common.
        num_classes: length of the class list; an index takes 2 bytes up to 65,536 classes, else 4.

    Attributes:
        width: bytes of an index.
        nbytes: bytes that the entries' classes take in a record.
    """

    def __init__(self, form: MapForm, num_classes: int) -> None:
        self._form = form
        self._num_classes = num_classes
        self._dtype = "<u2" if num_classes <= 1 << 16 else "<u4"
        # Sums of differences must not wrap around.
        self._sum = np.uint32 if num_classes <= 1 << 16 else np.uint64
        self.width = np.dtype(self._dtype).itemsize
        self._entries = form.top_k * form.grid[0] * form.grid[1]
        self.nbytes = self._entries_bytes()

    def encode_entries(self, area: NDArray[np.uint8], index: NDArray[np.integer]) -> None:
        """Write the classes of N images into their part of the records (N, nbytes).

        Args:
            area: zeros.
            index: (N, K, H, W), or ascending (N, K) where all cells store the same classes.
        """
        flat = index.reshape(len(index), math.prod(index.shape[1:]))
        if self._form.selection == "image":
            area[:] = self.encode_ascending(flat)
            return
        for record, classes in zip(area, flat, strict=True):
            self._put_palette(record, classes)

    def of_cells(self, records: NDArray[np.uint8], start: int) -> NDArray[np.unsignedinteger]:
        """The class of every entry (N, K*H*W) of records (N, R), where each cell stores its own.

        Raises:
            ValueError: a palette that is none, or a class outside the list.
        """
        classes = np.empty((len(records), self._entries), self._dtype)
        for row in range(len(records)):
            classes[row] = self._from_palette(records[row : row + 1], start)
        return classes

    def _from_palette(self, record: NDArray[np.uint8], start: int) -> NDArray[np.unsignedinteger]:
        """The classes of one packed record (1, R)."""
        size = int(record[0, start : start + 4].copy().view("<u4")[0])
        if size > LARGEST_PALETTE:
            raise ValueError(f"a palette of {size} classes, expected {LARGEST_PALETTE} at most")
        start += 4
        if not size:
            return self._known(from_byte_planes(record, start, self._entries, self._dtype))[0]
        places = record[0, start : start + self._entries]
        (palette,) = self.ascending(record, start + self._entries, size)
        try:
            return palette.take(places)
        except IndexError as error:
            raise ValueError(f"a place outside the palette of {size} classes") from error

    def encode_ascending(self, classes: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Ascending classes (N, V): the first, then each one's difference to the one before."""
        return byte_planes(np.diff(classes, axis=1, prepend=0), self._dtype)

    def ascending(
        self, records: NDArray[np.uint8], start: int, count: int
    ) -> NDArray[np.unsignedinteger]:
        """Undo ``encode_ascending`` for records (N, R): (N, count).

        Raises:
            ValueError: a class outside the list, or classes that do not ascend.
        """
        gaps = from_byte_planes(records, start, count, self._dtype)
        classes = np.add.accumulate(gaps, axis=1, dtype=self._sum)
        if not (gaps[:, 1:] != 0).all() or (classes[:, -1] >= self._num_classes).any():
            raise ValueError(f"classes that do not ascend within the list of {self._num_classes}")
        return classes.astype(self._dtype, copy=False)

    def _entries_bytes(self) -> int:
        if self._form.selection == "image":
            return self._form.top_k * self.width
        plain = self._entries * self.width
        return 4 + max(self._entries + LARGEST_PALETTE * self.width, plain)

    def _put_palette(self, area: NDArray[np.uint8], classes: NDArray[np.integer]) -> None:
        """Write a palette's size, places and palette, or the classes where they are too many."""
        present = np.zeros(self._num_classes, bool)
        present[classes] = True
        palette = np.flatnonzero(present)
        start = 4
        if len(palette) > LARGEST_PALETTE:
            planes = byte_planes(classes[None], self._dtype)[0]
        else:
            area[:4] = np.array([len(palette)], "<u4").view(np.uint8)
            place = np.empty(self._num_classes, np.uint8)
            place[palette] = np.arange(len(palette))
            area[start : start + len(classes)] = place[classes]
            start += len(classes)
            planes = self.encode_ascending(palette[None])[0]
        area[start : start + len(planes)] = planes

    def _known(self, stored: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
        classes = cast("NDArray[np.unsignedinteger]", stored)
        if (classes >= self._num_classes).any():
            raise ValueError(f"class {classes.max()} of a list of {self._num_classes}")
        return classes

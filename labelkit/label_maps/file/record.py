"""A row's record: the encoded maps of one image, concatenated and compressed.

Legend: N images, R bytes of a plain record.
"""

from __future__ import annotations

import zlib
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.file.codec import MapCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps.label_map import LabelMaps, MapForm

_COMPRESSION_LEVEL = 6
_MEMORY_LEVEL = 9
# Decoding takes a few times as much memory.
_LARGEST = 1 << 22
_MOST_FORMS = 64


class RecordCodec:
    """Encode the label maps of an image, one of each form, as one record, and decode it.

    Args:
        forms: the forms of the maps, in order; at least one.
        num_classes: length of the class list.

    Attributes:
        nbytes: bytes of a plain record, R.

    Raises:
        ValueError: no forms or more than 64, a form that is impossible for such a class list, or
            records of more than 4 MiB.
    """

    def __init__(self, forms: Sequence[MapForm], num_classes: int) -> None:
        if not 1 <= len(forms) <= _MOST_FORMS:
            raise ValueError(f"{len(forms)} maps per image, expected 1 to {_MOST_FORMS}")
        self._codecs = [MapCodec(form, num_classes) for form in forms]
        ends = list(accumulate((codec.nbytes for codec in self._codecs), initial=0))
        self._slices = [slice(*pair) for pair in pairwise(ends)]
        self.nbytes = ends[-1]
        if self.nbytes > _LARGEST:
            raise ValueError(
                f"{len(forms)} maps per image take {self.nbytes:,} bytes, expected at most "
                f"{_LARGEST:,}"
            )
        self._breaks = [
            place.start + offset
            for place, codec in zip(self._slices, self._codecs, strict=True)
            for offset in ((0, *codec.breaks) if place.start else codec.breaks)
        ]

    @property
    def longest_stored(self) -> int:
        """The most bytes that a compressed record can take."""
        return self.nbytes + self.nbytes // 8 + 1024

    def encode(self, maps: Sequence[LabelMaps]) -> NDArray[np.uint8]:
        """Encode N images as plain records (N, R), given their maps of each form.

        Raises:
            ValueError: the maps do not match the forms, or differ in the number of images.
        """
        if len(maps) != len(self._codecs):
            raise ValueError(f"maps of {len(maps)} forms, expected {len(self._codecs)}")
        if len({len(each) for each in maps}) != 1:
            raise ValueError("the forms have maps of different numbers of images")
        parts = [codec.encode(each) for codec, each in zip(self._codecs, maps, strict=True)]
        return np.concatenate(parts, axis=1)

    def decode(self, records: NDArray[np.uint8]) -> tuple[LabelMaps, ...]:
        """Decode plain records (N, R): for each form, the maps of all N images.

        Raises:
            ValueError: a record is damaged.
        """
        if records.shape[1] != self.nbytes:
            raise ValueError(f"a record of {records.shape[1]} bytes, expected {self.nbytes}")
        pairs = zip(self._codecs, self._slices, strict=True)
        return tuple(codec.decode(records[:, place]) for codec, place in pairs)

    def compress(self, record: bytes) -> bytes:
        """A plain record as the file stores it: one zlib stream.

        A new deflate block, with its own Huffman code, begins wherever the kind of bytes changes.
        """
        stream = zlib.compressobj(_COMPRESSION_LEVEL, memLevel=_MEMORY_LEVEL)
        ends = [0, *self._breaks, len(record)]
        parts: list[bytes] = []
        for start, end in pairwise(ends):
            parts.append(stream.compress(record[start:end]))
            parts.append(stream.flush(zlib.Z_FINISH if end == len(record) else zlib.Z_BLOCK))
        return b"".join(parts)

    def expand(self, stored: bytes) -> bytes:
        """The plain record of a compressed one.

        Raises:
            ValueError: not exactly one zlib stream of one record.
        """
        stream = zlib.decompressobj()
        try:
            record = stream.decompress(stored, self.nbytes)
            more = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if len(record) != self.nbytes or more or not stream.eof or stream.unused_data:
            raise ValueError("not one compressed record")
        return record

"""A row's record: the records of one image's maps, one after the other, compressed.

Legend: N images, R bytes of a record.
"""

from __future__ import annotations

import zlib
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.codec import MapCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps.form import MapForm
    from labelkit.label_maps.label_map import LabelMaps

_COMPRESSION_LEVEL = 6
_MEMORY_LEVEL = 9
# What decoding takes is a few times as much.
_LARGEST = 1 << 22
_MOST_FORMS = 64


class RecordCodec:
    """The label maps of an image, one for each form, to one record and back.

    Args:
        forms: of the maps, in their order; at least one.
        num_classes: length of the class list.

    Attributes:
        nbytes: bytes of a plain record, R.

    Raises:
        ValueError: no forms or more than 64, a form that such a class list cannot have, or records
            of more than 4 MiB.
    """

    def __init__(self, forms: Sequence[MapForm], num_classes: int) -> None:
        if not 1 <= len(forms) <= _MOST_FORMS:
            raise ValueError(f"{len(forms)} maps an image, expected 1 to {_MOST_FORMS}")
        self._codecs = [MapCodec(form, num_classes) for form in forms]
        ends = list(accumulate((codec.nbytes for codec in self._codecs), initial=0))
        self._slices = [slice(*pair) for pair in pairwise(ends)]
        self.nbytes = ends[-1]
        if self.nbytes > _LARGEST:
            raise ValueError(
                f"{len(forms)} maps an image take {self.nbytes:,} bytes, expected {_LARGEST:,} at "
                "most"
            )
        self._breaks = [
            place.start + at
            for place, codec in zip(self._slices, self._codecs, strict=True)
            for at in ((0, *codec.breaks) if place.start else codec.breaks)
        ]

    def encode(self, maps: Sequence[LabelMaps]) -> NDArray[np.uint8]:
        """The plain records (N, R) of N images, whose maps of each form are given.

        Raises:
            ValueError: maps that are not of their form, or of another number of images.
        """
        if len(maps) != len(self._codecs):
            raise ValueError(f"maps of {len(maps)} forms, expected {len(self._codecs)}")
        if len({len(each) for each in maps}) != 1:
            raise ValueError("the forms have maps of different numbers of images")
        parts = [codec.encode(each) for codec, each in zip(self._codecs, maps, strict=True)]
        return np.concatenate(parts, axis=1)

    def decode(self, records: NDArray[np.uint8]) -> tuple[LabelMaps, ...]:
        """The maps of plain records (N, R), of each form those of all N images.

        Raises:
            ValueError: a record is damaged.
        """
        return tuple(codec.decode(part) for codec, part in self.split(records))

    def split(self, records: NDArray[np.uint8]) -> list[tuple[MapCodec, NDArray[np.uint8]]]:
        """The part of plain records that holds the maps of each form, with its codec.

        Raises:
            ValueError: records of another length.
        """
        self._require_length(records.shape[1])
        pairs = zip(self._codecs, self._slices, strict=True)
        return [(codec, records[:, place]) for codec, place in pairs]

    def compress(self, record: bytes) -> bytes:
        """A plain record as it stands in the file: one zlib stream.

        Bytes of another kind begin a new deflate block, with a Huffman code of its own.
        """
        stream = zlib.compressobj(_COMPRESSION_LEVEL, memLevel=_MEMORY_LEVEL)
        ends = [0, *self._breaks, len(record)]
        parts: list[bytes] = []
        for start, end in pairwise(ends):
            parts.append(stream.compress(record[start:end]))
            parts.append(stream.flush(zlib.Z_FINISH if end == len(record) else zlib.Z_BLOCK))
        return b"".join(parts)

    def expand(self, stored: bytes) -> bytes:
        """A plain record from what stands in the file.

        Raises:
            ValueError: not one zlib stream of a record.
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

    def _require_length(self, nbytes: int) -> None:
        if nbytes != self.nbytes:
            raise ValueError(f"a record of {nbytes} bytes, expected {self.nbytes}")

    @property
    def longest_stored(self) -> int:
        """The most bytes that a record can take in the file."""
        return self.nbytes + self.nbytes // 8 + 1024

"""The names and types inside a label-map file, shared by the one writer and the one reader.

``label_maps/SPEC.md`` in the repository says byte for byte what they are. ``keys`` ascend by their
UTF-8 bytes, so that a look-up is a binary search. Rows, keys and records lie in the file as they
are, in one piece each: a reader finds them once and then takes a row's bytes from the file itself,
from any process or thread, without HDF5 and without a table of all rows in memory.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from labelkit.errors import LabelMapError
from labelkit.label_maps.form import MapForm  # noqa: TC001 -- msgspec reads the annotations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.hierarchy import ClassList

FORMAT = "labelkit-label-maps"
VERSION = 1
LIBVER = ("v110", "v110")  # readable by any HDF5 since 1.10
DATASETS = ("classes", "keys", "records", "rows", "unreadable")
MAX_KEY_BYTES = 4096
ROW = np.dtype([("key_end", "<u8"), ("record_end", "<u8"), ("crc32", "<u4")])


# What is read in whole has its limits; the rows have none.
LARGEST_HEADER = 1 << 20
LARGEST_CLASSES = 1 << 24  # bytes that a compressed class list may expand to
LARGEST_PLAIN_CLASSES = 24 << 20  # bytes of one that is not compressed
LARGEST_UNREADABLE = 32 << 20


class Kind(msgspec.Struct, frozen=True):
    """The part of the header that every version has."""

    format: str
    version: int


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file says of itself; JSON in the root attribute ``header``.

    ``content`` is what ``ContentDigest`` gives.
    """

    format: str
    version: int
    maps: tuple[MapForm, ...]
    classes_name: str
    classes_digest: str
    source: dict[str, Any]
    made_with: dict[str, Any]
    content: str = ""


def is_foreign(error: BaseException) -> bool:
    """Whether a RuntimeError comes from elsewhere than HDF5, and says nothing about the file.

    torch raises one in the middle of anything when a data loader's worker is killed. h5py's own
    begin with the words below.
    """
    words = ("Can't", "Unable to", "Unspecified error")
    return isinstance(error, RuntimeError) and not str(error).startswith(words)


def check_key(key: str) -> bytes:
    """A row's key as UTF-8 bytes.

    Raises:
        LabelMapError: the key is empty, too long, absolute, holds ``..`` or NUL, or is not Unicode.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise LabelMapError(f"the file name {key!r} is not UTF-8: rename it") from None
    if not key or "\0" in key or len(encoded) > MAX_KEY_BYTES:
        raise LabelMapError(
            f"key {key[:80]!r} is empty, holds NUL or exceeds {MAX_KEY_BYTES} bytes"
        )
    if key.startswith("/") or ".." in PurePosixPath(key).parts:
        raise LabelMapError(f"key {key!r} leaves the data set's folder")
    return encoded


def row_crc32(key: bytes, record: bytes) -> int:
    """CRC-32 of a key and its plain record, so that neither can be moved without the other."""
    return zlib.crc32(record, zlib.crc32(key))


def require_crc32(key: bytes, record: bytes, expected: int) -> None:
    """Raise unless a key and its plain record are those that were written.

    Raises:
        ValueError: they are not.
    """
    if row_crc32(key, record) != expected:
        raise ValueError("checksum differs")


class ContentDigest:
    """SHA-256 of what a file holds, as it streams by; how it is compressed does not count."""

    def __init__(self) -> None:
        self._parts = [hashlib.sha256() for _ in range(3)]

    def update(self, keys: bytes, rows: NDArray[np.void]) -> None:
        """Take in the next rows.

        Args:
            keys: their keys, one after the other.
            rows: their entries in the dataset ``rows``.
        """
        for part, content in zip(
            self._parts, (keys, rows["key_end"].tobytes(), rows["crc32"].tobytes()), strict=True
        ):
            part.update(content)

    def hexdigest(self, unreadable: bytes) -> str:
        """Of all rows and the dataset ``unreadable``, in hexadecimal."""
        digests = [part.digest() for part in self._parts]
        return hashlib.sha256(b"".join([*digests, hashlib.sha256(unreadable).digest()])).hexdigest()


def encode_strings(strings: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Byte strings as one fixed-width array, as HDF5 stores them without variable-length types."""
    return np.array(strings, dtype=f"S{max(map(len, strings), default=1) or 1}")


def encode_unreadable(unreadable: dict[str, str]) -> bytes:
    """Images without a row, key -> reason, as the dataset ``unreadable`` holds them.

    Of more than a reader takes in, the keys alone are kept.
    """
    ordered = dict(sorted(unreadable.items(), key=lambda item: check_key(item[0])))
    encoded = msgspec.json.encode(ordered)
    if len(encoded) > LARGEST_UNREADABLE:
        encoded = msgspec.json.encode(dict.fromkeys(ordered, ""))
    return encoded


def require_room(header: Header, classes: ClassList) -> None:
    """Raise unless a reader takes the header, with the digests that it will get, and the classes.

    Raises:
        LabelMapError: they are too long.
    """
    longest = max(len(class_id.encode()) for class_id in classes)
    if longest * len(classes) > LARGEST_PLAIN_CLASSES:
        raise LabelMapError(
            f"{classes}: {len(classes):,} ids, all as long as the longest with its {longest:,} "
            f"bytes, exceed a label-map file's {LARGEST_PLAIN_CLASSES >> 20} MiB: shorten them"
        )
    size = len(msgspec.json.encode(header)) + 128
    if size > LARGEST_HEADER:
        raise LabelMapError(
            f"source and made_with take {size:,} bytes; a label-map file has room for "
            f"{LARGEST_HEADER:,}: name less in them"
        )

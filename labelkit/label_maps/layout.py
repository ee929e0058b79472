"""The names and types inside a label-map file, shared by the one writer and the one reader.

``label_maps/SPEC.md`` in the repository says byte for byte what they are. The format is a draft,
version 1, and may still change. ``keys`` ascend by their UTF-8 bytes, so that a look-up is a binary
search.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from labelkit.errors import LabelMapError
from labelkit.label_maps.codec import RecordLayout

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = "labelkit-label-maps"
VERSION = 1
LIBVER = ("v110", "v110")  # readable by any HDF5 since 1.10; its chunk index takes least space
DATASETS = ("classes", "keys", "records", "crc32", "unreadable_keys", "unreadable_reasons")
MAX_KEY_BYTES = 4096


class Kind(msgspec.Struct, frozen=True):
    """The part of the header that every version has."""

    format: str
    version: int


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file says of itself; JSON in the root attribute ``header``.

    ``content`` is what ``content_digest`` gives.
    """

    format: str
    version: int
    top_k: int
    grid: tuple[int, int]
    background: int
    classes_name: str
    classes_digest: str
    source: dict[str, Any]
    made_with: dict[str, Any]
    content: str = ""

    def record_layout(self, num_classes: int) -> RecordLayout:
        """The layout of this file's records."""
        return RecordLayout(self.top_k, self.grid, num_classes, self.background)


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


def content_digest(
    keys: Iterable[bytes], crc32: bytes, unreadable: Iterable[tuple[bytes, bytes]]
) -> str:
    """SHA-256 of all keys, their rows' checksums, and the images without a row, in hexadecimal.

    Args:
        keys: of all rows, ascending.
        crc32: of all rows, little-endian uint32.
        unreadable: key and reason, ascending.
    """
    digest = hashlib.sha256(b"\0".join(keys))
    digest.update(b"\0\0" + crc32)
    for key, reason in unreadable:
        digest.update(b"\0" + key + b"\0" + reason)
    return digest.hexdigest()


def encode_strings(strings: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Byte strings as one fixed-width array, as HDF5 stores them without variable-length types."""
    return np.array(strings, dtype=f"S{max(map(len, strings), default=1) or 1}")

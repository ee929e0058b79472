"""The names, types, limits and digests of a label-map file, shared by its writer and its reader.

``label_maps/SPEC.md`` in the repository specifies them byte for byte. ``keys`` ascend by their
UTF-8 bytes, so a lookup is a binary search. Rows, keys and records are contiguous in the file: a
reader finds each column once and then reads a row's bytes from the file itself, in any process or
thread, without HDF5 and without a table of all rows in memory.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from labelkit.errors import LabelMapError
from labelkit.image_folders import key_fault

# msgspec reads the annotations of a Struct.
from labelkit.label_maps.calibration import Calibration  # noqa: TC001
from labelkit.label_maps.label_map import MapForm  # noqa: TC001
from labelkit.targets import OTHER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.hierarchy import ClassList

FORMAT = "labelkit-label-maps"
VERSION = 1
LIBVER = ("v110", "v110")  # readable by any HDF5 since 1.10
DATASETS = ("classes", "keys", "records", "rows", "unreadable")
DIGESTS = "image_sha256"  # a root attribute beside the format: uint8 (N, 16)
DIGEST_BYTES = 16
NO_DIGEST = bytes(DIGEST_BYTES)
ROW = np.dtype([("key_end", "<u8"), ("record_end", "<u8"), ("crc32", "<u4")])

# Whatever is read whole has a limit; the number of rows has none.
LARGEST_HEADER = 1 << 20
_LATER = 1 << 13  # bytes of a header for its digest, and for a calibration of 64 maps
LARGEST_CLASSES = 1 << 24  # bytes that a compressed class list may expand to
LARGEST_PLAIN_CLASSES = 24 << 20  # bytes of an uncompressed one
LARGEST_UNREADABLE = 32 << 20

_NOT_IDENTITY = frozenset({"classes_name", "made_with", "content", "calibration"})


class FormatVersion(msgspec.Struct, frozen=True):
    """The part of the header that every version has."""

    format: str
    version: int


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The root attribute ``header``, a JSON object; ``content`` is from ``ContentDigest``."""

    format: str
    version: int
    maps: tuple[MapForm, ...]
    classes_name: str
    classes_digest: str
    source: dict[str, Any]
    made_with: dict[str, Any]
    content: str = ""
    other: bool = False
    calibration: Calibration | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of all that targets depend on: classes, rows, *other*, calibration."""
        texts = [self.classes_digest, self.content, "other" if self.other else ""]
        numbers = self.calibration.numbers if self.calibration else []
        return hashlib.sha256(
            "".join(texts).encode() + np.array(numbers, "<f8").tobytes()
        ).hexdigest()


class FieldDifference(NamedTuple):
    """The first field in which two JSON objects differ.

    Attributes:
        name: its path, such as ``source.teacher.name``.
        first: its value in the first object; None if missing.
        second: its value in the second object; None if missing.
    """

    name: str
    first: object
    second: object


def identity(header: Header) -> dict[str, Any]:
    """The part of a header that rows of one file must share: format, forms, classes, source."""
    members: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(header))
    return {name: value for name, value in members.items() if name not in _NOT_IDENTITY}


def first_difference(first: dict[str, Any], second: dict[str, Any]) -> FieldDifference | None:
    """The first field, by name, in which two JSON objects differ; None if they are equal.

    >>> first_difference({"maps": [{"top_k": 5}]}, {"maps": [{"top_k": 12}]})
    FieldDifference(name='maps.0.top_k', first=5, second=12)
    """
    for name in sorted(first.keys() | second.keys()):
        old, new = first.get(name), second.get(name)
        inside = None
        if isinstance(old, dict) and isinstance(new, dict):
            inside = first_difference(old, new)
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            inside = first_difference(_numbered(old), _numbered(new))
        elif old != new:
            return FieldDifference(name, old, new)
        if inside:
            return inside._replace(name=f"{name}.{inside.name}")
    return None


def _numbered(values: list[Any]) -> dict[str, Any]:
    return {str(number): value for number, value in enumerate(values)}


def is_foreign(error: BaseException) -> bool:
    """Whether a RuntimeError does not come from h5py, and so says nothing about the file.

    torch raises one at any point when a data-loading worker is killed. h5py's begin with the words
    below.
    """
    words = ("Can't", "Unable to", "Unspecified error")
    return isinstance(error, RuntimeError) and not str(error).startswith(words)


def check_key(key: str) -> bytes:
    """A row's key as UTF-8 bytes.

    Raises:
        LabelMapError: the key is empty, too long, absolute, contains ``..`` or NUL, or is not valid
            Unicode.
    """
    if fault := key_fault(key):
        raise LabelMapError(fault)
    return key.encode()


def row_crc32(key: bytes, record: bytes) -> int:
    """CRC-32 of a key and its plain record, so that neither can be moved without the other."""
    return zlib.crc32(record, zlib.crc32(key))


class ContentDigest:
    """A streaming SHA-256 of a file's content; how records are compressed does not matter."""

    def __init__(self) -> None:
        self._parts = [hashlib.sha256() for _ in range(3)]

    def update(self, keys: bytes, rows: NDArray[np.void]) -> None:
        """Add the next rows.

        Args:
            keys: their keys, concatenated.
            rows: their entries in the dataset ``rows``.
        """
        for part, content in zip(
            self._parts, (keys, rows["key_end"].tobytes(), rows["crc32"].tobytes()), strict=True
        ):
            part.update(content)

    def hexdigest(self, unreadable: bytes) -> str:
        """The digest of all rows and of the dataset ``unreadable``, in hexadecimal."""
        digests = [part.digest() for part in self._parts]
        return hashlib.sha256(b"".join([*digests, hashlib.sha256(unreadable).digest()])).hexdigest()


def encode_strings(strings: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Byte strings as one fixed-width array, which HDF5 stores without variable-length types."""
    return np.array(strings, dtype=f"S{max(map(len, strings), default=1) or 1}")


def encode_unreadable(unreadable: dict[str, str]) -> bytes:
    """Images without a row, key -> reason, as the dataset ``unreadable`` stores them.

    The reasons are dropped if a reader would refuse their size.
    """
    ordered = dict(sorted(unreadable.items(), key=lambda item: check_key(item[0])))
    encoded = msgspec.json.encode(ordered)
    if len(encoded) > LARGEST_UNREADABLE:
        encoded = msgspec.json.encode(dict.fromkeys(ordered, ""))
    return encoded


def require_room(header: Header, classes: ClassList) -> None:
    """Raise unless a reader will accept the header, with its digests, and the class list.

    Raises:
        LabelMapError: one of them is too long, or a class has the name of *other*.
    """
    if header.other and OTHER in classes.index:
        raise LabelMapError(
            f"{classes} has a class {OTHER!r}, as the output for all other classes is called: "
            "rename the class, or leave that output out (labelkit relabel --no-other)"
        )
    longest = max(len(class_id.encode()) for class_id in classes)
    if longest * len(classes) > LARGEST_PLAIN_CLASSES:
        raise LabelMapError(
            f"{classes}: {len(classes):,} ids, each padded to the longest one's {longest:,} bytes, "
            f"exceed a label-map file's {LARGEST_PLAIN_CLASSES >> 20} MiB: shorten them"
        )
    size = len(msgspec.json.encode(header)) + _LATER
    if size > LARGEST_HEADER:
        raise LabelMapError(
            f"source and made_with take {size:,} bytes, more than a label-map file's "
            f"{LARGEST_HEADER:,}: shorten them"
        )

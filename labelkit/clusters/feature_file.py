"""Features on the disk: an array that grows in chunks, and survives ``kill -9`` between any two.

A folder holds ``features.bin``, the rows of all images in the order of their keys, and
``features.json``, which says how many rows are complete, with the SHA-256 of each chunk. Rows are
flushed to the disk before the JSON counts them.
"""

# N images, D features

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from labelkit.errors import DatasetError
from labelkit.files import decode_json, replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK = 1024  # rows
ROWS, STATE = "features.bin", "features.json"
FORMAT, VERSION = "labelkit-features", 1
Precision = Literal["float16", "float32"]


class FeatureState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``features.json`` holds.

    Attributes:
        model: what the features are from, for people.
        model_digest: SHA-256 of its weights and preprocessing.
        keys_digest: SHA-256 of all keys, in order.
        images: N.
        size: D.
        precision: the number type of a feature.
        chunks: SHA-256 of each finished chunk of 1024 rows; the last may be shorter.
        unreadable: why images of finished chunks could not be read, by key; their rows are zeros.
    """

    format: str
    version: int
    model: str
    model_digest: str
    keys_digest: str
    images: int
    size: int
    precision: Precision
    chunks: tuple[str, ...] = ()
    unreadable: dict[str, str] = {}

    @property
    def rows(self) -> int:
        """The number of finished rows."""
        return min(len(self.chunks) * CHUNK, self.images)

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return self.size * np.dtype(self.precision).itemsize

    @property
    def is_complete(self) -> bool:
        """Whether all rows are finished."""
        return self.rows == self.images


class ReadableRows:
    """The rows of the images that can be read, in order; only what is used is in memory."""

    def __init__(self, rows: NDArray[np.floating], positions: NDArray[np.int64]) -> None:
        self._rows = rows
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[np.floating]:
        return np.asarray(self._rows[self.positions[where]])


@dataclass(frozen=True)
class FeatureFile:
    """The features of all images of a data set.

    Attributes:
        folder: where they are.
        state: what they are.
    """

    folder: Path
    state: FeatureState

    @property
    def digest(self) -> str:
        """SHA-256 of the finished rows, through their chunks."""
        return hashlib.sha256("".join(self.state.chunks).encode()).hexdigest()

    def rows(self) -> NDArray[np.floating]:
        """All rows (N, D), mapped into memory: only what is used is read."""
        shape = (self.state.images, self.state.size)
        return np.memmap(self.folder / ROWS, self.state.precision, "r", shape=shape)

    def readable_rows(self, keys: Sequence[str]) -> ReadableRows:
        """The rows of the images that can be read.

        Args:
            keys: of all images, in order.
        """
        unreadable = self.state.unreadable
        positions = [at for at, key in enumerate(keys) if key not in unreadable]
        return ReadableRows(self.rows(), np.array(positions, np.int64))

    def append(self, rows: NDArray[np.float32], unreadable: dict[str, str]) -> FeatureFile:
        """The file with one more chunk, which is on the disk when this returns.

        Raises:
            DatasetError: a feature is too large for the precision, or not a number.
            OSError: the disk is full.
        """
        # Large features overflow to infinity in float16, which is checked.
        with np.errstate(over="ignore"):
            content = rows.astype(self.state.precision)
        if not np.isfinite(content).all():
            raise DatasetError(
                f"features of {self.state.model} are not finite in {self.state.precision}: "
                + ("pass --float32" if np.isfinite(rows).all() else "its weights are unusable")
            )
        flags = "r+b" if (self.folder / ROWS).exists() else "w+b"
        with (self.folder / ROWS).open(flags) as file:
            file.seek(self.state.rows * self.state.row_bytes)
            file.write(content.tobytes())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        digest = hashlib.sha256(content.tobytes()).hexdigest()
        state = msgspec.structs.replace(
            self.state,
            chunks=(*self.state.chunks, digest),
            unreadable=self.state.unreadable | unreadable,
        )
        replace_file(self.folder / STATE, msgspec.json.encode(state))
        return replace(self, state=state)

    def verify(self) -> None:
        """Compare the finished rows with their digests.

        Raises:
            DatasetError: a chunk is missing or damaged.
            OSError: the file cannot be read.
        """
        if not self.state.chunks:
            return
        with (self.folder / ROWS).open("rb") as file:
            for number, digest in enumerate(self.state.chunks):
                rows = min(CHUNK, self.state.images - number * CHUNK)
                content = file.read(rows * self.state.row_bytes)
                if hashlib.sha256(content).hexdigest() != digest:
                    raise DatasetError(
                        f"{self.folder / ROWS} is damaged in rows {number * CHUNK:,} to "
                        f"{number * CHUNK + rows:,}. Remove the folder {self.folder}, and run the "
                        "same command again"
                    )


def keys_digest(keys: Sequence[str]) -> str:
    """SHA-256 of keys in order."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def open_features(folder: str | os.PathLike[str], wanted: FeatureState) -> FeatureFile:
    """The features in a folder, complete or not; a new folder starts with none.

    Args:
        folder: created if it does not exist.
        wanted: what they must be; its chunks are ignored.

    Raises:
        DatasetError: the folder has features of other images or of another model, is damaged, or
            is something else.
        OSError: the folder cannot be read or written.
    """
    path = Path(folder)
    if not (path / STATE).is_file():
        if path.is_dir() and any(path.iterdir()) and not (path / ROWS).exists():
            raise DatasetError(f"{path} holds other files: choose another folder for the features")
        path.mkdir(exist_ok=True)
        return FeatureFile(path, wanted)
    content = (path / STATE).read_bytes()
    again = f"remove the folder {path}, and run the same command again"
    state = decode_json(content, FeatureState, path / STATE, DatasetError, again)
    for name, what in _DIFFERENCES.items():
        if getattr(state, name) != getattr(wanted, name):
            raise DatasetError(
                f"{path} has features {what}: {getattr(state, name)}, not "
                f"{getattr(wanted, name)}. Choose another folder with --features, or {again}"
            )
    found = FeatureFile(path, state)
    found.verify()
    return found


_DIFFERENCES = {
    "format": "in another format",
    "version": "in another version",
    "model_digest": "of another model or preprocessing",
    "images": "of another number of images",
    "keys_digest": "of other images",
    "size": "of another length",
    "precision": "in another precision",
}

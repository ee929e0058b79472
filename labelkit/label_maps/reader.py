"""Read label maps from a file, by key or by position, from any process or thread."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from labelkit.errors import LabelMapError
from labelkit.label_maps.checks import (
    check_content,
    damage_explained,
    open_datasets,
    read_identity,
    read_keys,
    read_unreadable,
)
from labelkit.label_maps.layout import check_key, is_foreign, row_crc32

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import h5py

    from labelkit.label_maps.label_map import LabelMap


class LabelMapFile:
    """A finished label-map file.

    Safe in DataLoader workers under fork and spawn: the open HDF5 handle stays in the process that
    opened it, and a pickled copy holds the path only.

    Attributes:
        path: the file.
        classes: the class list of its indices.
        attrs: how the maps were made: teacher, weights, input size.
        made_with: what does not identify the maps: versions, how exact the teacher's head is.
        unreadable: images of the data set without a map, key -> reason.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._handle: h5py.File | None = None
        self._handle_pid = -1
        self._opened: dict[str, h5py.Dataset] = {}
        datasets = self._datasets()
        try:
            with damage_explained(self.path):
                header, self.classes = read_identity(datasets, self.path)
                self._layout = header.record_layout(len(self.classes))
                self.attrs: dict[str, Any] = header.source
                self.made_with: dict[str, Any] = header.made_with
                self._keys = read_keys(datasets["keys"])
                self._crc32 = datasets["crc32"][()]
                unreadable = read_unreadable(datasets)
                check_content(header, self._keys, self._crc32, unreadable)
                self._content = header.content
                self.unreadable = {
                    self._checked_key(key): reason.decode() for key, reason in unreadable.items()
                }
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a finished file.

        Raises:
            LabelMapError: not a label-map file, damaged, or of a version that is not known here.
            FileNotFoundError: no such file.
        """
        return cls(path)

    @property
    def top_k(self) -> int:
        """Entries per cell."""
        return self._layout.top_k

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of every map."""
        return self._layout.grid

    @property
    def background(self) -> int:
        """How many classes each map's background holds; 0 for maps without one."""
        return self._layout.background

    @property
    def digest(self) -> str:
        """SHA-256 of the classes, the keys and the rows' checksums, in hexadecimal."""
        return hashlib.sha256(f"{self.classes.digest}{self._content}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> Iterator[str]:
        """The keys of all rows, ascending by their UTF-8 bytes.

        Raises:
            LabelMapError: a key that is no text, or leaves the data set's folder.
        """
        yield from map(self._checked_key, self._keys)

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._position(key) is not None

    def __getitem__(self, key: str) -> LabelMap:
        """The label map of one image.

        Raises:
            LabelMapError: the file has no such key, or the row is damaged.
        """
        position = self._position(key)
        if position is None:
            raise LabelMapError(f"{self.path} has no label map for {key!r}: {self.why_not(key)}")
        return self.at(position)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that the file has no label map for, in their order."""
        wanted = [key.encode(errors="surrogatepass") for key in keys]
        found = np.isin(np.array(wanted, dtype=np.bytes_), self._keys)
        return [key for key, known in zip(keys, found.tolist(), strict=True) if not known]

    def why_not(self, key: str) -> str:
        """Why a key has no label map, as far as the file can tell."""
        if key in self.unreadable:
            reason = self.unreadable[key]
            return f"the image could not be read ({reason}): repair it and relabel, or remove it"
        if not len(self):
            return "it is empty"
        example = self._keys[0].decode(errors="replace")
        return f"its keys look like {example!r}; is it a file of this data set, at the same root?"

    def at(self, position: int) -> LabelMap:
        """The label map at a row number, 0 to len - 1.

        Raises:
            IndexError: no such row.
            LabelMapError: the row's checksum or content is wrong.
        """
        if not 0 <= position < len(self._keys):
            raise IndexError(f"row {position} of a file with {len(self._keys)} rows")
        record = self._record(position)
        if row_crc32(self._keys[position], record) != self._crc32[position]:
            raise LabelMapError(
                f"{self._row_name(position)}: checksum differs, the row is damaged. "
                "Copy the file again, or remove it and make it anew"
            )
        try:
            return self._layout.decode(record)
        except ValueError as error:
            raise LabelMapError(f"{self._row_name(position)}: {error}: damaged row") from error

    def raw_rows(self) -> Iterator[tuple[bytes, bytes, int]]:
        """Each row as (key, compressed record, CRC-32 of key and record), to copy it as it is."""
        records = self._datasets()["records"]
        for position, key in enumerate(self._keys):
            _, chunk = records.id.read_direct_chunk((position, 0))
            yield key, chunk, int(self._crc32[position])

    def close(self) -> None:
        """Close the file in this process; the next read opens it again."""
        if self._handle is not None and self._handle_pid == os.getpid():
            self._handle.close()
        self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def _datasets(self) -> dict[str, h5py.Dataset]:
        """The datasets of this process's own handle; a handle must not cross a fork."""
        if self._handle is None or self._handle_pid != os.getpid():
            self._handle, self._opened = open_datasets(self.path)
            self._handle_pid = os.getpid()
        return self._opened

    def _record(self, position: int) -> bytes:
        try:
            mask, chunk = self._datasets()["records"].id.read_direct_chunk((position, 0))
            record = chunk if mask else zlib.decompressobj().decompress(chunk, self._layout.nbytes)
        except (OSError, RuntimeError, MemoryError, zlib.error) as error:
            if is_foreign(error):
                raise
            raise LabelMapError(f"{self._row_name(position)} cannot be read: {error}") from error
        return record

    def _checked_key(self, encoded: bytes) -> str:
        try:
            key = encoded.decode()
        except UnicodeDecodeError as error:
            raise LabelMapError(f"{self.path} has the key {encoded!r}, which is no text") from error
        check_key(key)
        return key

    def _row_name(self, position: int) -> str:
        return f"{self.path}, row {position} ({self._keys[position].decode(errors='replace')})"

    def _position(self, key: str) -> int | None:
        encoded = key.encode(errors="surrogatepass")
        if len(encoded) > self._keys.dtype.itemsize:
            return None
        position = int(np.searchsorted(self._keys, np.bytes_(encoded)))
        found = position < len(self._keys) and self._keys[position] == encoded
        return position if found else None

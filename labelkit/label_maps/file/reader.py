"""Read label maps from a file, by key or by row number, in any process or thread."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from labelkit.errors import LabelMapError, first_line
from labelkit.label_maps.file.codec import RecordCodec
from labelkit.label_maps.file.layout import DIGEST_BYTES, NO_DIGEST, check_key, row_crc32
from labelkit.label_maps.file.rows import OpenFile, RowTable, StoredRow, file_changed
from labelkit.label_maps.file.validation import (
    damage_explained,
    decode_key,
    open_parts,
    read_digests,
    read_unreadable,
)
from labelkit.targets import OTHER

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Container, Iterator, Sequence
    from types import TracebackType

    from labelkit.label_maps.calibration import Calibration
    from labelkit.label_maps.file.layout import Header
    from labelkit.label_maps.file.rows import Descriptor
    from labelkit.label_maps.label_map import LabelMap, LabelMaps

_BYTES_AT_ONCE = 1 << 18


class DamagedRow(LabelMapError):  # noqa: N818 -- the name states the fact
    """The content of one row is not what was written; other rows may be intact.

    Attributes:
        reason: what is wrong, without the names of file and row.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class StoredRows:
    """The rows of an open file as bytes and as label maps, checked; for copying and merging.

    Args:
        path: the file, for messages.
        file: the open file.
        table: the positions of its rows.
        codec: the codec of its records.
        calibration: that of the file.
    """

    def __init__(
        self,
        path: Path,
        file: OpenFile,
        table: RowTable,
        codec: RecordCodec,
        calibration: Calibration | None,
    ) -> None:
        self._path, self._file = path, file
        self._table, self._codec, self._calibration = table, codec, calibration
        self._at_once = max(1, _BYTES_AT_ONCE // codec.nbytes)

    @property
    def key_bytes(self) -> int:
        """Bytes of all keys."""
        return self._table.key_bytes

    @property
    def record_bytes(self) -> int:
        """Bytes of all records, as stored."""
        return self._table.record_bytes

    def keys(self) -> Iterator[str]:
        """The keys of all rows, in order.

        Raises:
            LabelMapError: a key is not valid UTF-8, or points outside the data set's folder.
        """
        with damage_explained(self._path):
            for key in self._table.stream(self._file.descriptor):
                yield decode_key(key, self._path)

    def entries(self) -> Iterator[tuple[bytes, int, int]]:
        """Each row's key, the size of its stored record, and its CRC-32, without the record."""
        with damage_explained(self._path):
            yield from self._table.entries(self._file.descriptor)

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """Each row's key, and the digest of its image's content; zeros if that is not known."""
        for position, key in enumerate(self.keys()):
            yield key, self.digest(position)

    def digest(self, position: int) -> bytes:
        """The digest of the content of one row's image; zeros if that is not known."""
        if not self._images:
            return NO_DIGEST
        return self._images[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES]

    def unchecked(self) -> Iterator[tuple[bytes, bytes, int, bytes]]:
        """Each row's key, stored record, CRC-32 and image's digest, for copying, unverified.

        Raises:
            LabelMapError: a row cannot be read, or the file has changed.
        """
        for position in range(self._table.count):
            yield *self._unchecked(position), self.digest(position)

    def checked(self, keys: Container[str] | None = None) -> Iterator[StoredRow]:
        """Each row as bytes, after a check of its checksum and content.

        Args:
            keys: only the rows of these keys; None for all rows.

        Raises:
            LabelMapError: a row is damaged.
        """
        positions = self._positions(keys)
        for some in iter(lambda: list(islice(positions, self._at_once)), []):
            for position, row in zip(some, self.read(some)[0], strict=True):
                yield row._replace(image=self.digest(position))

    def faults(self, keys: Container[str] | None = None) -> Iterator[LabelMapError | None]:
        """What is wrong with each row, in order; None for intact rows.

        Args:
            keys: only the rows of these keys; None for all rows.
        """
        positions = self._positions(keys)
        for some in iter(lambda: list(islice(positions, self._at_once)), []):
            try:
                self.read(some)
            except LabelMapError:
                yield from map(self._fault, some)
            else:
                yield from repeat(None, len(some))

    def read(self, positions: Sequence[int]) -> tuple[list[StoredRow], tuple[LabelMaps, ...]]:
        """Rows as bytes, and their maps of each form.

        Raises:
            IndexError: no such row.
            LabelMapError: the checksum or content of a row is wrong; the message names it.
        """
        rows = [self._expanded(position) for position in positions]
        plain = np.frombuffer(b"".join(row.plain for row in rows), np.uint8)
        try:
            maps = self._codec.decode(plain.reshape(len(rows), self._codec.nbytes))
        except (ValueError, MemoryError) as error:
            if len(rows) == 1:
                raise self._damaged(positions[0], error) from error
            for position in positions:
                self.read([position])
            raise
        return rows, tuple(replace(each, calibration=self._calibration) for each in maps)

    def _positions(self, keys: Container[str] | None) -> Iterator[int]:
        if keys is None:
            return iter(range(self._table.count))
        return (position for position, key in enumerate(self.keys()) if key in keys)

    def _unchecked(self, position: int) -> tuple[bytes, bytes, int]:
        if not 0 <= position < self._table.count:
            raise IndexError(f"row {position} of a file with {self._table.count} rows")
        # Row numbers and column positions are those of the file as it was opened.
        descriptor = self._file.unchanged
        try:
            return self._table.row(descriptor, position, self._codec.longest_stored)
        except (OSError, ValueError) as error:
            raise self._damaged(position, error) from error

    def _expanded(self, position: int) -> StoredRow:
        key, stored, crc32 = self._unchecked(position)
        try:
            record = self._codec.expand(stored)
        except (ValueError, MemoryError) as error:
            raise self._damaged(position, error) from error
        if row_crc32(key, record) != crc32:
            raise self._damaged(position, ValueError("checksum differs"))
        return StoredRow(key, stored, record, crc32)

    @cached_property
    def _images(self) -> bytes:
        """The digests of all images; empty if the file has none."""
        with damage_explained(self._path):
            found = read_digests(self._path, self._table.count)
            return found if self._file.is_at_its_path() else b""

    def _fault(self, position: int) -> LabelMapError | None:
        try:
            self.read([position])
        except LabelMapError as error:
            return error
        return None

    def _damaged(self, position: int, error: Exception) -> LabelMapError:
        if self._file.time_has_changed:
            # Perhaps another file is being copied over this one.
            return file_changed(self._path)
        try:
            (key,) = self._table.keys(self._file.descriptor, position, position + 1)
        except (OSError, ValueError):
            key = b"?"
        name = f"{self._path}, row {position} ({key.decode(errors='replace')})"
        if isinstance(error, ValueError):
            reason = str(error)
            return DamagedRow(
                f"{name} is damaged: {reason}. "
                "Copy the file again, or make such rows again: labelkit relabel --reuse this file",
                reason,
            )
        # A failing disk or lack of memory says nothing about what was written.
        return LabelMapError(
            f"{name} cannot be read ({first_line(error)}): check the disk and free memory, then "
            "run the same command again"
        )


class LabelMapFile:
    """A finished label-map file, open for reading.

    Opening it reads all keys once, to check them; a sample of them stays in memory, a few MB for
    any number of rows. It can be shared between threads, inherited by forked processes and pickled
    to spawned ones, since rows are read at an offset, without a shared position.

    Attributes:
        path: the file.
        header: the whole header.
        classes: the class list of the indices.
        outputs: what the indices stand for: the classes, and last ``*other*`` if the file stores
            the teacher's probability of none of them.
        calibration: what pooling applies to the mean logits; None for nothing.
        forms: the form of each map of an image; most files store one map per image.
        attrs: how the maps were made: teacher, weights, input size.
        made_with: what does not identify the maps: versions, how exact the teacher's head is.
        unreadable: images of the data set without a map, key -> reason.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._file = OpenFile(self.path)
        try:
            with damage_explained(self.path):
                self._read_all()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a finished file.

        Raises:
            LabelMapError: not a label-map file, damaged, or of an unknown version.
            FileNotFoundError: no such file.
        """
        return cls(path)

    @property
    def digest(self) -> str:
        """SHA-256 of the classes, keys, rows' checksums and calibration, in hexadecimal."""
        return self.header.digest

    @property
    def record_bytes(self) -> int:
        """Bytes of all records, as stored."""
        return self._rows.record_bytes

    def __len__(self) -> int:
        return self._table.count

    def keys(self) -> Iterator[str]:
        """The keys of all rows, in ascending order of their UTF-8 bytes.

        Raises:
            LabelMapError: a key is not valid UTF-8, or points outside the data set's folder.
        """
        return self._rows.keys()

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.position(key) is not None

    def __getitem__(self, key: str) -> LabelMap:
        """The label map of one image.

        Raises:
            LabelMapError: no such key, several maps per image, or a damaged row.
        """
        return self._only(self.maps(key))

    def maps(self, key: str) -> tuple[LabelMap, ...]:
        """All label maps of one image, in the order of ``forms``.

        Raises:
            LabelMapError: no such key, or a damaged row.
        """
        position = self.position(key)
        if position is None:
            raise LabelMapError(f"{self.path} has no label map for {key!r}: {self.why_not(key)}")
        (row,), maps = self._rows.read([position])
        if row.key != key.encode():
            raise file_changed(self.path)
        return tuple(each[0] for each in maps)

    def at(self, position: int) -> LabelMap:
        """The label map at a row number, 0 to len - 1.

        Raises:
            IndexError: no such row.
            LabelMapError: several maps per image, or the row's checksum or content is wrong.
        """
        return self._only(self.maps_at(position))

    def maps_at(self, position: int) -> tuple[LabelMap, ...]:
        """All label maps at a row number, in the order of ``forms``.

        Raises:
            IndexError: no such row.
            LabelMapError: the row's checksum or content is wrong.
        """
        return tuple(each[0] for each in self.batch([position]))

    def batch(self, positions: Sequence[int]) -> tuple[LabelMaps, ...]:
        """The label maps at several row numbers, for each form; much faster than one by one.

        Raises:
            IndexError: no such row.
            LabelMapError: a row's checksum or content is wrong.
        """
        return self._rows.read(positions)[1]

    def position(self, key: str) -> int | None:
        """The row number of a key; None if the file does not have it."""
        with damage_explained(self.path):
            return self._table.position(self._file.descriptor, key.encode(errors="surrogatepass"))

    def key_at(self, position: int) -> str:
        """The key of a row number, 0 to len - 1.

        Raises:
            IndexError: no such row.
            LabelMapError: the key is not valid UTF-8, or points outside the data set's folder.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"row {position} of a file with {len(self)} rows")
        with damage_explained(self.path):
            (key,) = self._table.keys(self._file.descriptor, position, position + 1)
        return decode_key(key, self.path)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that the file has no label map for, in order."""
        return [key for key in keys if self.position(key) is None]

    def why_not(self, key: str) -> str:
        """Why a key probably has no label map."""
        if key in self.unreadable:
            reason = self.unreadable[key]
            return f"the image could not be read ({reason}): repair it and relabel, or remove it"
        if not len(self):
            return "the file has no rows"
        return (
            f"its keys look like {self.key_at(0)!r}; was the file made from this data set, with "
            "the same root folder?"
        )

    def image_digests(self) -> Iterator[tuple[str, bytes]]:
        """Each row's key, with the digest of its image's content where that is known.

        The first 16 bytes of the SHA-256 of the image's file, as it was when its map was made.
        """
        for key, digest in self._rows.digests():
            if digest != NO_DIGEST:
                yield key, digest

    def check_rows(self) -> None:
        """Read every row and verify its checksum and content.

        Raises:
            LabelMapError: a row is damaged.
        """
        for error in self.faults():
            if error is not None:
                raise error

    def faults(self) -> Iterator[LabelMapError | None]:
        """What is wrong with each row, in order; None for intact rows.

        ``DamagedRow`` if the content is not what was written.
        """
        return self._rows.faults()

    def close(self) -> None:
        """Close the file in this process; the next read opens it again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path, str], LabelMapFile], tuple[Path, str]]:
        return _open_same, (self.path, self.digest)

    def _read_all(self) -> None:
        parts = open_parts(self.path)
        header = self.header = parts.header
        self.classes, self.forms = parts.classes, header.maps
        self.attrs: dict[str, Any] = header.source
        self.made_with: dict[str, Any] = header.made_with
        self._table = RowTable(parts.columns)
        if header.other and OTHER in self.classes.index:
            raise ValueError(f"it stores *other*, and a class is called {OTHER!r}")
        self.outputs = (*self.classes, OTHER) if header.other else self.classes.ids
        self.calibration = header.calibration
        if self.calibration:
            self.calibration.check(len(self.forms), len(self.outputs))
        codec = RecordCodec(header.maps, len(self.outputs), other=header.other)
        self._rows = StoredRows(self.path, self._file, self._table, codec, self.calibration)
        if not self._file.is_at_its_path():
            raise ValueError("it changed while it was being opened")
        if self._table.check(self._file.descriptor, parts.unreadable) != header.content:
            raise ValueError("its keys or checksums do not match the header's digest")
        self._file.has_expected_content = partial(_holds, self._table, parts.unreadable, header)
        self.unreadable = read_unreadable(parts.unreadable)
        for key in self.unreadable:
            check_key(key)

    def _only(self, maps: tuple[LabelMap, ...]) -> LabelMap:
        if len(maps) == 1:
            return maps[0]
        raise LabelMapError(f"{self.path} has {len(maps)} maps per image: use maps() or maps_at()")


def stored_rows(file: LabelMapFile) -> StoredRows:
    """The rows of a file as bytes, for the modules that copy them."""
    return file._rows  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _holds(table: RowTable, unreadable: bytes, header: Header, descriptor: Descriptor) -> bool:
    """Whether an open file has the keys and checksums of a header, as after ``touch``."""
    try:
        return table.check(descriptor, unreadable) == header.content
    except (OSError, ValueError):
        return False


def _open_same(path: Path, digest: str) -> LabelMapFile:
    """Open a file whose row numbers are already in use, such as in another process.

    Raises:
        LabelMapError: the file has another digest now, or is damaged.
        FileNotFoundError: no such file.
    """
    file = LabelMapFile(path)
    if file.digest != digest:
        file.close()
        raise file_changed(path)
    return file

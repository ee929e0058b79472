"""Read label maps from a file, by key or by position, from any process or thread."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from labelkit.errors import LabelMapError
from labelkit.label_maps.checked_rows import CheckedRows
from labelkit.label_maps.checks import (
    damage_explained,
    decode_key,
    open_parts,
    read_unreadable,
)
from labelkit.label_maps.layout import check_key
from labelkit.label_maps.record import RecordCodec
from labelkit.label_maps.row_table import RowTable
from labelkit.label_maps.same_file import SameFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Container, Iterator, Sequence
    from types import TracebackType

    from labelkit.label_maps.label_map import LabelMap, LabelMaps
    from labelkit.label_maps.row_table import StoredRow


class LabelMapFile:
    """A finished label-map file.

    Opening it reads all keys once, to check them; a sample of them stays in memory, so that it is
    the same few MB for any number of rows. Safe in threads, in forked processes and, pickled, in
    spawned ones: rows are read at their place in the file, without a shared position.

    Attributes:
        path: the file.
        header: all that it says of itself.
        classes: the class list of its indices.
        forms: what the maps of each kind have in common; most files hold one map an image.
        attrs: how the maps were made: teacher, weights, input size.
        made_with: what does not identify the maps: versions, how exact the teacher's head is.
        unreadable: images of the data set without a map, key -> reason.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._file = SameFile(self.path)
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
            LabelMapError: not a label-map file, damaged, or of a version that is not known here.
            FileNotFoundError: no such file.
        """
        return cls(path)

    @classmethod
    def open_same(cls, path: Path, digest: str) -> Self:
        """Open a file whose row numbers are known, such as in another process.

        Raises:
            LabelMapError: it has another digest by now, or is damaged.
            FileNotFoundError: no such file.
        """
        file = cls(path)
        if file.digest != digest:
            file.close()
            raise LabelMapError(f"{path} has changed since it was opened: open it anew")
        return file

    @property
    def digest(self) -> str:
        """SHA-256 of the classes, the keys and the rows' checksums, in hexadecimal."""
        content = f"{self.classes.digest}{self.header.content}"
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def record_bytes(self) -> int:
        """Bytes of all records, as they stand in the file."""
        return self._table.record_bytes

    @property
    def key_bytes(self) -> int:
        """Bytes of all keys."""
        return self._table.key_bytes

    def __len__(self) -> int:
        return self._table.count

    def keys(self) -> Iterator[str]:
        """The keys of all rows, ascending by their UTF-8 bytes.

        Raises:
            LabelMapError: a key that is no text, or leaves the data set's folder.
        """
        with damage_explained(self.path):
            for key in self._table.stream(self._file.descriptor):
                yield decode_key(key, self.path)

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.position(key) is not None

    def __getitem__(self, key: str) -> LabelMap:
        """The label map of one image.

        Raises:
            LabelMapError: the file has no such key or several maps an image, or the row is damaged.
        """
        return self._only(self.maps(key))

    def maps(self, key: str) -> tuple[LabelMap, ...]:
        """All label maps of one image, in the order of ``forms``.

        Raises:
            LabelMapError: the file has no such key, or the row is damaged.
        """
        position = self.position(key)
        if position is None:
            raise LabelMapError(f"{self.path} has no label map for {key!r}: {self.why_not(key)}")
        (row,), maps = self._rows.read([position])
        if row.key != key.encode():
            raise LabelMapError(f"{self.path} has changed since it was opened: open it anew")
        return tuple(each[0] for each in maps)

    def at(self, position: int) -> LabelMap:
        """The label map at a row number, 0 to len - 1.

        Raises:
            IndexError: no such row.
            LabelMapError: several maps an image, or the row's checksum or content is wrong.
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
        """The label maps at row numbers, of each form those of all images: much faster than each.

        Raises:
            IndexError: no such row.
            LabelMapError: a row's checksum or content is wrong.
        """
        return self._rows.read(positions)[1]

    def position(self, key: str) -> int | None:
        """The row number of a key; None if the file has no such key."""
        with damage_explained(self.path):
            return self._table.position(self._file.descriptor, key.encode(errors="surrogatepass"))

    def key_at(self, position: int) -> str:
        """The key of a row number, 0 to len - 1.

        Raises:
            IndexError: no such row.
            LabelMapError: a key that is no text, or leaves the data set's folder.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"row {position} of a file with {len(self)} rows")
        with damage_explained(self.path):
            (key,) = self._table.keys(self._file.descriptor, position, position + 1)
        return decode_key(key, self.path)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that the file has no label map for, in their order."""
        return [key for key in keys if self.position(key) is None]

    def why_not(self, key: str) -> str:
        """Why a key has no label map, as far as the file can tell."""
        if key in self.unreadable:
            reason = self.unreadable[key]
            return f"the image could not be read ({reason}): repair it and relabel, or remove it"
        if not len(self):
            return "it is empty"
        return f"its keys look like {self.key_at(0)!r}; is it a file of this data set, at its root?"

    def raw_rows(self) -> Iterator[tuple[bytes, bytes, int]]:
        """Each row as (key, stored record, CRC-32 of key and plain record), to copy it as it is.

        Raises:
            LabelMapError: a row that cannot be read; its checksum is not looked at.
        """
        yield from map(self._rows.unchecked, range(len(self)))

    def checked_rows(self, keys: Container[str] | None = None) -> Iterator[StoredRow]:
        """Each row as bytes, its checksum and content checked; with ``keys`` only their rows.

        Raises:
            LabelMapError: a row is damaged.
        """
        chosen = self._positions(keys)
        for positions in iter(lambda: list(islice(chosen, self._rows.at_once)), []):
            yield from self._rows.read(positions)[0]

    def entries(self) -> Iterator[tuple[bytes, int, int]]:
        """Each row's key, the size of its record in the file and its CRC-32, without the record."""
        with damage_explained(self.path):
            yield from self._table.entries(self._file.descriptor)

    def check_rows(self) -> None:
        """Read every row, and so check its checksum and content.

        Raises:
            LabelMapError: a row is damaged.
        """
        for error in self.faults():
            if error is not None:
                raise error

    def faults(self, keys: Container[str] | None = None) -> Iterator[LabelMapError | None]:
        """What is wrong with each row, in their order; with ``keys`` only with theirs.

        None for those that are whole, ``DamagedRow`` where the content is not what was written.
        """
        yield from self._rows.faults(self._positions(keys))

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

    def __reduce__(self) -> tuple[Callable[[Path, str], Self], tuple[Path, str]]:
        return self.open_same, (self.path, self.digest)

    def _read_all(self) -> None:
        parts = open_parts(self.path)
        header = self.header = parts.header
        self.classes, self.forms = parts.classes, header.maps
        self.attrs: dict[str, Any] = header.source
        self.made_with: dict[str, Any] = header.made_with
        self._table = RowTable(parts.columns)
        codec = RecordCodec(header.maps, len(self.classes))
        self._rows = CheckedRows(self.path, self._file, self._table, codec)
        if not self._file.is_at_its_path():
            raise ValueError("it was changed while it was opened")
        if self._table.check(self._file.descriptor, parts.unreadable) != header.content:
            raise ValueError("keys or checksums are not those that the header sums up")
        self.unreadable = read_unreadable(parts.unreadable)
        for key in self.unreadable:
            check_key(key)

    def _positions(self, keys: Container[str] | None) -> Iterator[int]:
        """The row numbers of those of ``keys`` that have a row; of all rows without."""
        if keys is None:
            return iter(range(len(self)))
        return (row for row, key in enumerate(self.keys()) if key in keys)

    def _only(self, maps: tuple[LabelMap, ...]) -> LabelMap:
        if len(maps) == 1:
            return maps[0]
        raise LabelMapError(
            f"{self.path} holds {len(maps)} maps of each image: take maps() or maps_at()"
        )

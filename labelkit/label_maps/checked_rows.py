"""The rows of an open file as bytes and as label maps; what is damaged is named."""

from __future__ import annotations

from itertools import islice, repeat
from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import LabelMapError, first_line
from labelkit.label_maps.layout import require_crc32
from labelkit.label_maps.row_table import StoredRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from labelkit.label_maps.label_map import LabelMaps
    from labelkit.label_maps.record import RecordCodec
    from labelkit.label_maps.row_table import RowTable
    from labelkit.label_maps.same_file import SameFile

_BYTES_AT_ONCE = 1 << 18


class DamagedRow(LabelMapError):  # noqa: N818 -- the name states the fact
    """One row's content is not what was written; the rest of the file may be whole.

    Attributes:
        reason: what is wrong with it, without the names of file and row.
    """

    def __init__(self, told: str, reason: str = "") -> None:
        super().__init__(told)
        self.reason = reason


class CheckedRows:
    """Reads rows of a file and checks them.

    Args:
        path: of the file, for messages.
        file: the open file.
        table: where its rows are.
        codec: of its records.

    Attributes:
        at_once: as many rows as are best read together.
    """

    def __init__(self, path: Path, file: SameFile, table: RowTable, codec: RecordCodec) -> None:
        self._path, self._file = path, file
        self._table, self._codec = table, codec
        self.at_once = max(1, _BYTES_AT_ONCE // codec.nbytes)

    def unchecked(self, position: int) -> tuple[bytes, bytes, int]:
        """A row's key, stored record and CRC-32, as they stand in the file.

        Raises:
            IndexError: no such row.
            LabelMapError: the row cannot be read, or the file has changed.
        """
        if not 0 <= position < self._table.count:
            raise IndexError(f"row {position} of a file with {self._table.count} rows")
        # Row numbers and the columns' places are of the file as it was opened.
        descriptor = self._file.unchanged
        try:
            return self._table.row(descriptor, position, self._codec.longest_stored)
        except (OSError, ValueError) as error:
            raise self._damaged(position, error) from error

    def read(self, positions: Sequence[int]) -> tuple[list[StoredRow], tuple[LabelMaps, ...]]:
        """Rows as bytes, and their maps of each form.

        Raises:
            IndexError: no such row.
            LabelMapError: the checksum or content of one is wrong; the message names it.
        """
        rows = [self._expanded(position) for position in positions]
        plain = np.frombuffer(b"".join(row.plain for row in rows), np.uint8)
        try:
            return rows, self._codec.decode(plain.reshape(len(rows), self._codec.nbytes))
        except (ValueError, MemoryError) as error:
            if len(rows) == 1:
                raise self._damaged(positions[0], error) from error
            for position in positions:
                self.read([position])
            raise

    def faults(self, positions: Iterable[int] | None = None) -> Iterator[LabelMapError | None]:
        """What is wrong with each row, in their order; None for those that are whole.

        Args:
            positions: row numbers; None takes all rows.
        """
        rows = iter(range(self._table.count) if positions is None else positions)
        for some in iter(lambda: list(islice(rows, self.at_once)), []):
            try:
                self.read(some)
            except LabelMapError:
                yield from map(self._fault, some)
            else:
                yield from repeat(None, len(some))

    def _fault(self, position: int) -> LabelMapError | None:
        try:
            self.read([position])
        except LabelMapError as error:
            return error
        return None

    def _expanded(self, position: int) -> StoredRow:
        key, stored, crc32 = self.unchecked(position)
        try:
            record = self._codec.expand(stored)
            require_crc32(key, record, crc32)
        except (ValueError, MemoryError) as error:
            raise self._damaged(position, error) from error
        return StoredRow(key, stored, record, crc32)

    def _damaged(self, position: int, error: Exception) -> LabelMapError:
        try:
            (key,) = self._table.keys(self._file.descriptor, position, position + 1)
        except (OSError, ValueError):
            key = b"?"
        name = f"{self._path}, row {position} ({key.decode(errors='replace')})"
        if isinstance(error, ValueError):
            reason = str(error)
            return DamagedRow(
                f"{name}: {reason}: the row is damaged. "
                "Copy the file again, or make such rows anew: labelkit relabel --reuse this file",
                reason,
            )
        # This says nothing about what was written.
        return LabelMapError(
            f"{name} cannot be read ({first_line(error)}). Mend the disk, or free memory, and run "
            "the same command again"
        )

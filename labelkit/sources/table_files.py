"""One file of a table: parquet, or Arrow as Hugging Face saves it. Cells in any order."""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from labelkit.errors import DatasetError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

_CACHED = 1 << 28  # bytes of row groups


class ParquetFile:
    """A parquet file. A cell is read with its whole row group, and the last ones are kept.

    Args:
        path: the file, as it is now.

    Raises:
        DatasetError: it is damaged.
        OSError: it cannot be read.

    Attributes:
        schema: of its columns.
        rows: their number.
        state: the file's size and time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.state = _state(path)
        self._opened: Any = None
        file = self._file()
        self.schema: pa.Schema = file.schema_arrow
        groups = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
        self._ends = list(accumulate(groups))
        self.rows = sum(groups)
        self._groups: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()

    def column(self, name: str, field: str = "") -> list[Any]:
        """A whole column, or one field of a column of structures."""
        wanted = f"{name}.{field}" if field else name
        found = _readable(self.path, lambda: self._file().read(columns=[wanted]).column(name))
        values = found.to_pylist()
        return [each and each[field] for each in values] if field else values

    def cell(self, name: str, row: int) -> Any:  # noqa: ANN401 -- what the column holds
        """One cell.

        Raises:
            OSError: the file has changed since it was opened first, or its disk fails.
        """
        number = bisect_right(self._ends, row)
        group = self._groups.get((name, number))
        if group is None:
            file = self._file()
            _require_unchanged(self.path, self.state)  # it may be rewritten while it is open
            group = _readable(
                self.path,
                lambda: file.read_row_group(number, columns=[name]).column(name),
            )
            self._groups[name, number] = group
            while len(self._groups) > 1 and sum(map(_size, self._groups.values())) > _CACHED:
                self._groups.popitem(last=False)
        else:
            self._groups.move_to_end((name, number))
        return group[row - (self._ends[number - 1] if number else 0)].as_py()

    def _file(self) -> Any:  # noqa: ANN401 -- pyarrow has no types
        if self._opened is None:
            import pyarrow.parquet as pq

            _require_unchanged(self.path, self.state)
            self._opened = _readable(self.path, lambda: pq.ParquetFile(self.path))
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": None, "_groups": OrderedDict()}


class ArrowFile:
    """An Arrow stream file, mapped into memory: no more is read than the cells asked for.

    Args, Attributes and errors as of ``ParquetFile``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.state = _state(path)
        self._opened: Any = None
        table = self._table()
        self.schema: pa.Schema = table.schema
        self.rows: int = table.num_rows

    def column(self, name: str, field: str = "") -> list[Any]:
        """A whole column, or one field of a column of structures."""
        column = self._table().column(name)
        if not field:
            return column.to_pylist()
        # Flattening copies nothing, so the images themselves are not read.
        names = [column.type.field(at).name for at in range(column.type.num_fields)]
        return column.flatten()[names.index(field)].to_pylist()

    def cell(self, name: str, row: int) -> Any:  # noqa: ANN401 -- what the column holds
        """One cell.

        Raises:
            OSError: the file has changed since it was opened first, or its disk fails.
        """
        table = self._table()
        _require_unchanged(self.path, self.state)  # it may be rewritten while it is open
        return table.column(name)[row].as_py()

    def _table(self) -> Any:  # noqa: ANN401 -- pyarrow has no types
        if self._opened is None:
            import pyarrow as pa

            _require_unchanged(self.path, self.state)
            self._opened = _readable(
                self.path, lambda: pa.ipc.open_stream(pa.memory_map(self.path)).read_all()
            )
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": None}


def _readable(path: str, read: Any) -> Any:  # noqa: ANN401 -- pyarrow has no types
    """What ``read`` returns.

    Raises:
        DatasetError: the file is damaged.
        OSError: the disk fails.
    """
    try:
        return read()
    except OSError as error:
        if error.errno is not None:
            raise
        raise DatasetError(f"{path} is damaged: {first_line(error)}") from error
    except (ValueError, KeyError, NotImplementedError) as error:  # those of pyarrow
        raise DatasetError(f"{path} is damaged: {first_line(error)}") from error


def _size(column: pa.ChunkedArray) -> int:
    return column.nbytes


def _state(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_size, status.st_mtime_ns


def _require_unchanged(path: str, state: tuple[int, int]) -> None:
    if _state(path) != state:
        raise OSError(errno.ESTALE, "the file has changed since its images were listed", path)

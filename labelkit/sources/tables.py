"""Images in parquet files, and in data sets that Hugging Face's ``datasets`` saved on disk."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from labelkit.errors import DatasetError, LabelkitError, first_line
from labelkit.files import decode_json
from labelkit.sources.listed import LABEL_COLUMNS, PATH_COLUMNS, PATH_RULE, ListedImages
from labelkit.sources.source import ImageLabels, IndexedImages, numbered_labels
from labelkit.sources.table_files import ArrowFile, ParquetFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from labelkit.sources.columns import Columns
    from labelkit.sources.source import ImageFile, ImageSource

_ADVICE = "Name a column of unique keys with --key-column"
_STATE = "state.json"


def is_parquet(path: str) -> bool:
    """Whether a file is a parquet file, by its first bytes."""
    with Path(path).open("rb") as file:
        return file.read(4) == b"PAR1"


def open_parquet(path: str, files: Sequence[str], columns: Columns) -> ImageSource:
    """The images in parquet files, or those whose paths are in them.

    Raises:
        DatasetError: a file is damaged, or has no such column; the message lists its columns.
        LabelkitError: pyarrow is not installed.
    """
    _require_pyarrow(path)
    _require_one_split(path, files)
    return _open(path, [ParquetFile(each) for each in files], columns)


def open_saved(path: str, columns: Columns) -> ImageSource:
    """The images of a data set that was saved with ``save_to_disk``.

    Raises:
        DatasetError: as ``open_parquet``.
        LabelkitError: likewise.
    """
    _require_pyarrow(path)
    state = Path(path) / _STATE
    content = decode_json(state.read_bytes(), dict[str, Any], state, DatasetError, "save it again")
    try:
        names = [str(each["filename"]) for each in content["_data_files"]]
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{state} names no data files: save the data set again") from error
    if any(Path(name).name != name for name in names):
        raise DatasetError(f"{state} names files outside its folder: {names[0]!r}")
    return _open(path, [ArrowFile(str(Path(path, name))) for name in names], columns)


def _open(path: str, files: Sequence[ParquetFile | ArrowFile], columns: Columns) -> ImageSource:
    schema = files[0].schema
    for each in files[1:]:
        if each.schema.names != schema.names:
            raise DatasetError(
                f"{each.path} has the columns {', '.join(each.schema.names)}, and {files[0].path} "
                f"has {', '.join(schema.names)}: name files of one table"
            )
    table = _Table(path, files)
    if len(set(schema.names)) < len(schema.names):
        raise DatasetError(f"{path} has two columns of one name: rename one. {table.listed}")
    image = table.image_column(columns.image)
    kind = schema.field(image).type
    if table.is_text(kind):
        paths, keys, rule = table.texts(image), None, PATH_RULE
        if columns.key is not None:
            keys, rule = table.keys(columns.key), f"column {columns.key!r}"
        table.require_one_folder(paths)
        return ListedImages(
            path, paths=paths, keys=keys, labels=table.labels, folder=table.folder, rule=rule
        )
    return TableImages(path, table, image, columns.key)


class TableImages(IndexedImages):
    """The images in a column of a table.

    A key is the content of the key column, or the path that is stored with the image: the file
    name, where that path is absolute. The class of an image is the content of the column ``label``
    or ``class``.

    Args:
        path: what the user named.
        table: the table.
        image: the column with the images.
        key: the column with the keys; None for the images' own paths.

    Raises:
        DatasetError: keys are missing, not allowed or equal; the message lists the columns.
    """

    def __init__(self, path: str, table: _Table, image: str, key: str | None) -> None:
        self._table, self._column = table, image
        advice = f"{_ADVICE}. {table.listed}"
        if key is not None:
            rule, keys = f"column {key!r}", table.keys(key)
        else:
            rule, keys = f"file name in column {image!r}", table.own_names(image)
        super().__init__(path, rule, keys, advice)

    def file(self, key: str) -> ImageFile:
        """The bytes of an image, or its path if the table has only that."""
        cell = self._table.cell(self._column, self.row(key))
        if isinstance(cell, dict):
            content = cell.get("bytes")
            cell = cell.get("path") if content is None else content
        if isinstance(cell, str):
            return Path(self._table.folder_of(self.row(key)), cell)
        if cell is None:
            raise DatasetError("the table holds no image here")
        return io.BytesIO(cell)

    def state(self, key: str) -> str:
        """What changes when the file of an image does."""
        return self._table.state(self.row(key))

    def place(self, row: int) -> str:
        """The file and the row of an image."""
        return self._table.place(row)

    @cached_property
    def stored_labels(self) -> ImageLabels | None:
        """The class of each image, from the column of labels."""
        labels = self._table.labels
        if labels is None:
            return None
        return ImageLabels(labels.classes, [labels.numbers[row] for row in self.rows])


class _Table:
    """The rows of one or several files, and what its columns are for.

    Args:
        path: what the user named.
        files: with the same columns.
    """

    def __init__(self, path: str, files: Sequence[ParquetFile | ArrowFile]) -> None:
        self.path, self.files = path, list(files)
        self.folder = Path(files[0].path).parent
        self.schema: pa.Schema = files[0].schema
        self._ends = list(accumulate(each.rows for each in files))

    @property
    def listed(self) -> str:
        """All columns with their types, as a sentence."""
        columns = ", ".join(f"{each.name} ({str(each.type)[:60]})" for each in self.schema)
        return f"The columns are {columns}"

    def image_column(self, name: str | None) -> str:
        """The column with images or their paths.

        Raises:
            DatasetError: there is no such column, or several.
        """
        if name is not None:
            self._require(name)
            if not self.holds_images(self.schema.field(name).type):
                raise DatasetError(
                    f"{self.path}: column {name!r} holds neither images nor paths. {self.listed}"
                )
            return name
        binary = [
            each.name
            for each in self.schema
            if self.holds_images(each.type) and not self.is_text(each.type)
        ]
        if "image" in binary or len(binary) == 1:
            return "image" if "image" in binary else binary[0]
        named = [name for name in PATH_COLUMNS if name in self.schema.names]
        texts = [name for name in named if self.is_text(self.schema.field(name).type)]
        if binary or not texts:
            which = "several columns may hold" if binary else "no column holds"
            raise DatasetError(
                f"{self.path}: {which} the images: name it with --image-column. {self.listed}"
            )
        return texts[0]

    def keys(self, name: str) -> list[str]:
        """The content of a column of texts or whole numbers, as keys."""
        import pyarrow as pa

        self._require(name)
        kind = self.schema.field(name).type
        if not self.is_text(kind) and not pa.types.is_integer(kind):
            raise DatasetError(
                f"{self.path}: column {name!r} holds {kind}, expected texts or whole numbers as "
                f"keys. {self.listed}"
            )
        return [self._known(each, name, row) for row, each in enumerate(self._column(name))]

    def texts(self, name: str) -> list[str]:
        """The content of a column of texts."""
        return [self._known(each, name, row) for row, each in enumerate(self._column(name))]

    def own_names(self, image: str) -> list[str]:
        """The path that is stored with each image; of an absolute one, the file name."""
        kind = self.schema.field(image).type
        names = {kind.field(at).name for at in range(kind.num_fields)}
        if "path" not in names:
            raise DatasetError(f"{self.path}: the images have no names. {_ADVICE}. {self.listed}")
        paths = self._column(image, "path")
        if None in paths:
            row = self.place(paths.index(None))
            raise DatasetError(f"{row}: the image has no file name. {_ADVICE}. {self.listed}")
        return [
            PurePosixPath(each).name if each.startswith("/") else each for each in map(str, paths)
        ]

    def cell(self, name: str, row: int) -> Any:  # noqa: ANN401 -- what the column holds
        """One cell, as Python's own type.

        Raises:
            OSError: the file has changed, or its disk fails.
        """
        file = bisect_right(self._ends, row)
        return self.files[file].cell(name, row - (self._ends[file - 1] if file else 0))

    def folder_of(self, row: int) -> Path:
        """The folder of a row's file, where relative paths start."""
        return Path(self.files[bisect_right(self._ends, row)].path).parent

    def require_one_folder(self, paths: Sequence[str]) -> None:
        """Raise if relative paths start at several folders, and so are no keys.

        Raises:
            DatasetError: the message names two folders.
        """
        for row, path in enumerate(paths):
            folder = self.folder_of(row)
            if folder != self.folder and not path.startswith("/"):
                raise DatasetError(
                    f"{self.path} names files in {self.folder} and in {folder}, and relative paths "
                    "start at the folder of their file: put the files into one folder"
                )

    def state(self, row: int) -> str:
        """The size and the time of a row's file when it was listed."""
        size, time = self.files[bisect_right(self._ends, row)].state
        return f"{size} {time}"

    def place(self, row: int) -> str:
        """The file and the row, for messages."""
        file = bisect_right(self._ends, row)
        start = self._ends[file - 1] if file else 0
        return f"{self.files[file].path}, row {row - start}"

    @cached_property
    def labels(self) -> ImageLabels | None:
        """The class of each row; None without a column of labels."""
        import pyarrow as pa

        for name in LABEL_COLUMNS:
            if name not in self.schema.names:
                continue
            kind = self.schema.field(name).type
            if pa.types.is_integer(kind):
                return self._numbers(name)
            if self.is_text(kind):
                return numbered_labels(self._column(name))
            if not pa.types.is_nested(kind):
                raise DatasetError(
                    f"{self.path}: column {name!r} holds {kind}, expected texts or whole numbers "
                    f"as labels: convert it, or rename it if it is none. {self.listed}"
                )
        return None

    def _numbers(self, name: str) -> ImageLabels:
        numbers: list[int | None] = self._column(name)
        classes = self._class_names(name)
        if classes is None:
            return numbered_labels(
                [None if each is None or each < 0 else str(each) for each in numbers]
            )
        known = [-1 if each is None else each for each in numbers]
        if any(not -1 <= each < len(classes) for each in known):
            raise DatasetError(f"{self.path}: column {name!r} has numbers that are no class")
        return ImageLabels(classes, known)

    def _class_names(self, name: str) -> list[str] | None:
        """The names of a Hugging Face ``ClassLabel``; None if the column is none."""
        try:
            described = json.loads((self.schema.metadata or {})[b"huggingface"])
            names = described["info"]["features"][name]["names"]
        except (KeyError, TypeError, ValueError):
            return None
        return [str(each) for each in names] if isinstance(names, list) else None

    def _require(self, name: str) -> None:
        if name not in self.schema.names:
            raise DatasetError(f"{self.path} has no column {name!r}. {self.listed}")

    def _known(self, value: Any, name: str, row: int) -> str:  # noqa: ANN401 -- a cell
        if value is None:
            raise DatasetError(f"{self.place(row)}: {name!r} is empty. {_ADVICE}. {self.listed}")
        return str(value)

    def _column(self, name: str, field: str = "") -> list[Any]:
        kinds = {self._kind(each.schema.field(name).type): each for each in self.files}
        if len(kinds) > 1:
            (one, first), (other, second), *_ = kinds.items()
            raise DatasetError(
                f"{self.path}: column {name!r} holds {one} in {first.path}, and {other} in "
                f"{second.path}: write it with one type"
            )
        return [value for file in self.files for value in file.column(name, field)]

    @staticmethod
    def is_text(kind: pa.DataType) -> bool:
        """Whether a type is text; also with each distinct one stored once."""
        import pyarrow as pa

        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    @classmethod
    def _kind(cls, kind: pa.DataType) -> str:
        """A type without the number of bits."""
        import pyarrow as pa

        if cls.is_text(kind):
            return "texts"
        return "whole numbers" if pa.types.is_integer(kind) else str(kind)

    @classmethod
    def holds_images(cls, kind: pa.DataType) -> bool:
        """Whether a column of a type may hold encoded images, or paths."""
        import pyarrow as pa

        if pa.types.is_struct(kind):
            return "bytes" in {kind.field(at).name for at in range(kind.num_fields)}
        binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        return binary or cls.is_text(kind)


def _require_pyarrow(path: str) -> None:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise LabelkitError(
            f"{path}: tables are read with pyarrow, which cannot be imported "
            f"({first_line(error)}): pip install 'labelkit[arrow]'"
        ) from error
    del pa


def _require_one_split(path: str, files: Sequence[str]) -> None:
    """Raise if files are of several splits, as Hugging Face names them: ``test-00000-of-00002``."""
    names = [Path(each).name for each in files]
    splits = sorted({name.partition("-0")[0] for name in names if "-of-" in name})
    if len(splits) > 1:
        raise DatasetError(
            f"{path} holds several splits ({', '.join(splits)}): pass the files of one, such as "
            f"'{Path(files[0]).parent}/{splits[0]}-*.parquet'"
        )

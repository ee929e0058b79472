"""Images whose paths are in a list: a table of text, or a parquet file."""

from __future__ import annotations

import csv
import io
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError, first_line
from labelkit.files import read_utf8
from labelkit.sources.source import ImageLabels, IndexedImages, numbered_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.sources.columns import Columns
    from labelkit.sources.source import ImageFile

PATH_COLUMNS = ("path", "file", "file_name", "filename", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "cls", "labels")
PATH_RULE = "path in the list"
_ADVICE = "Add a column of unique keys, and name it with --key-column"


class ListedImages(IndexedImages):
    """Images at the paths in a list; relative paths start at the list's folder.

    A key is the content of the key column, or the path as listed; of an absolute path below the
    list's folder, what follows that folder.

    Args:
        path: of the list.
        paths: of the images.
        keys: of the images; None derives them from the paths.
        labels: of the images, by row; None for their keys' first folders.
        folder: that of the list.
        rule: how the keys are made.
        first_row: the number of the first image's row, for messages.

    Raises:
        DatasetError: the list is empty; a key is not allowed, or two are equal.
    """

    def __init__(  # noqa: PLR0913 -- each is a part of a list
        self,
        path: str,
        *,
        paths: Sequence[str],
        keys: Sequence[str] | None,
        labels: ImageLabels | None,
        folder: Path,
        rule: str,
        first_row: int = 0,
    ) -> None:
        if not paths:
            raise DatasetError(f"{path} lists no images")
        self._paths, self._labels = list(paths), labels
        self._folder, self._first_row = folder.absolute(), first_row
        super().__init__(path, rule, self._below_folder() if keys is None else keys, _ADVICE)

    def file(self, key: str) -> ImageFile:
        """The path of an image.

        Raises:
            DatasetError: its cell is empty.
        """
        path = self._paths[self.row(key)]
        if not path:
            raise DatasetError("the list holds no path here")
        return self._folder / path

    def place(self, row: int) -> str:
        """The path of an image as listed."""
        return f"{self.path}, row {row + self._first_row}: {self._paths[row]}"

    @cached_property
    def stored_labels(self) -> ImageLabels | None:
        """The class of each image, from the list."""
        if self._labels is None:
            return None
        return ImageLabels(self._labels.classes, [self._labels.numbers[row] for row in self.rows])

    def _below_folder(self) -> list[str]:
        start = f"{self._folder}/"
        return [each.removeprefix(start).removeprefix("./") for each in self._paths]


def open_list(path: str, columns: Columns) -> ListedImages:
    """The images that a file lists: one path a line, or a table with a header.

    Raises:
        DatasetError: the file is not UTF-8, lists nothing, or has no such column; the message
            names those that it has.
    """
    text = read_utf8(Path(path), DatasetError)
    if path.lower().endswith(".txt"):
        rows = [[line] for line in text.split("\n") if line.strip()]
    else:
        rows = _cells(path, text)
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    named = {columns.image, columns.key} - {None}
    if len(header) <= 1 and not named and not set(header) & set(PATH_COLUMNS):
        return _from_table(path, ["path"], rows, columns, 1)
    header = [cell.strip() for cell in rows[0]] if rows else []
    return _from_table(path, header, rows[1:], columns, 2)


def _cells(path: str, text: str) -> list[list[str]]:
    """The cells of a table, without empty rows. A quoted cell may hold line breaks."""
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [row for row in lines if row]
    except csv.Error as error:
        raise DatasetError(
            f"{path}, line {lines.line_num}: {first_line(error)}. Quote cells that contain the "
            "delimiter, and double the quotes in them"
        ) from error


def _from_table(
    path: str, header: list[str], rows: list[list[str]], columns: Columns, first_row: int
) -> ListedImages:
    listed = f"The columns are {', '.join(header)}"
    for number, row in enumerate(rows, first_row):
        if len(row) != len(header):
            raise DatasetError(
                f"{path}, row {number} has {len(row)} cells, expected {len(header)}: quote cells "
                "that contain the delimiter"
            )
    if len(set(header)) < len(header):
        raise DatasetError(f"{path} has two columns of one name: rename one. {listed}")
    for name in (columns.image, columns.key):
        if name is not None and name not in header:
            raise DatasetError(f"{path} has no column {name!r}. {listed}")
    image = columns.image or next((name for name in header if name.lower() in PATH_COLUMNS), None)
    if image is None:
        raise DatasetError(f"{path}: name the column of paths with --image-column. {listed}")
    label = next((name for name in header if name.lower() in LABEL_COLUMNS), None)
    cells = {name: [row[at] for row in rows] for at, name in enumerate(header)}
    keys, rule = None, PATH_RULE
    if columns.key is not None:
        keys, rule = cells[columns.key], f"column {columns.key!r}"
    labels = None if label is None else numbered_labels([each or None for each in cells[label]])
    return ListedImages(
        path,
        paths=cells[image],
        keys=keys,
        labels=labels,
        folder=Path(path).parent,
        rule=rule,
        first_row=first_row,
    )

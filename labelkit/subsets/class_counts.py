"""A table of classes and their numbers of images, for data sets that are not on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError
from labelkit.files import read_utf8
from labelkit.wording import clipped

if TYPE_CHECKING:
    import os

_EXPECTED = "expected a class and its number of images in each line, with a tab or a comma between"


def read_class_counts(path: str | os.PathLike[str]) -> dict[str, int]:
    """The number of images of each class, from a table of two columns.

    Columns are separated by a tab, or by a comma if no line has a tab. A first line whose second
    column is not a number is a header; blank lines and lines that start with ``#`` are skipped.

    Raises:
        DatasetError: a line is not of this form, a class is repeated, or there are none.
        OSError: the file cannot be read.
    """
    file = Path(path)
    text = read_utf8(file, DatasetError)
    separator = "\t" if "\t" in text else ","
    lines = [
        (number, line)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    found: dict[str, int] = {}
    for at, (number, line) in enumerate(lines):
        class_id, _, count = (part.strip() for part in line.rpartition(separator))
        if not class_id or not (count.isascii() and count.isdecimal()):
            if at == 0 and class_id:
                continue
            raise DatasetError(f"{file}, line {number} is {clipped(line)}: {_EXPECTED}")
        if class_id in found:
            raise DatasetError(f"{file}, line {number}: duplicate class {clipped(class_id)}")
        found[class_id] = int(count)
    if not found:
        raise DatasetError(f"{file} has no classes: {_EXPECTED}")
    return found

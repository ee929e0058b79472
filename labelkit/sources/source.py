"""One data set of images, wherever it is stored: its keys, its images and their labels."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

from labelkit.errors import DatasetError
from labelkit.image_folders import key_fault, plain_spelling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
ImageFile: TypeAlias = Path | BinaryIO
"""What ``labelkit.data.open_image`` decodes: a path, or a binary file that can seek."""


class ImageLabels(NamedTuple):
    """The classes of a source, and the class of each image.

    Attributes:
        classes: the class ids.
        numbers: for each key, in order, a position in ``classes``; -1 for no class.
    """

    classes: list[str]
    numbers: list[int]


class ImageSource(ABC):
    """The images of a data set. It can be sent to other processes, which reopen its files.

    Args:
        path: what the user named: a folder, a file, or a pattern of files.
        rule: how keys are made, in words; empty for paths below a folder.

    Attributes:
        path: what the user named.
        rule: how keys are made, in words; label-map files record it.
    """

    def __init__(self, path: str, rule: str = "") -> None:
        self.path = path
        self.rule = rule

    @property
    @abstractmethod
    def keys(self) -> list[str]:
        """The keys of all images, each once, in ascending order.

        Raises:
            DatasetError: there are no images.
        """

    @abstractmethod
    def file(self, key: str) -> ImageFile:
        """The file of an image, as stored.

        Raises:
            DatasetError: the image has no content that could be decoded.
            OSError: there is no such image, or the disk fails.
        """

    @abstractmethod
    def where(self, key: str) -> str:
        """Where an image is stored, for messages."""

    @abstractmethod
    def find(self, key: str) -> str | None:
        """A key as this source spells it, if it has the image; accents and ``/`` may differ."""

    def state(self, key: str) -> str:
        """What changes when the file of an image does.

        Raises:
            OSError: there is no such file.
        """
        file = self.file(key)
        status = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"

    @cached_property
    def stored_labels(self) -> ImageLabels | None:
        """The class of each image, where it is stored beside the images; None where it is not.

        Raises:
            DatasetError: a label is not valid; the message names it.
        """
        return None

    def stored_label(self, key: str) -> str | None:
        """The stored class of an image; None without one.

        Raises:
            DatasetError: it is not valid; the message names it.
        """
        stored = self.stored_labels
        if stored is None:
            return None
        keys = self.keys
        row = bisect_left(keys, key)
        if row == len(keys) or keys[row] != key:
            return None
        number = stored.numbers[row]
        return None if number < 0 else stored.classes[number]

    @cached_property
    def labels(self) -> ImageLabels | None:
        """The class of each image: the stored one, or else its first folder.

        None if there are images outside of folders.

        Raises:
            DatasetError: a stored label is not valid; the message names it.
        """
        if (stored := self.stored_labels) is not None:
            return stored
        folders = [key.partition("/")[:2] for key in self.keys]
        if not all(slash for _, slash in folders):
            return None
        classes = sorted({name for name, _ in folders})
        places = {name: number for number, name in enumerate(classes)}
        return ImageLabels(classes, [places[name] for name, _ in folders])

    @property
    def identity(self) -> str:
        """What tells this data set from others on this machine."""
        place = str(Path(self.path).resolve())
        return f"{place} ({self.rule})" if self.rule else place

    def in_storage_order(self) -> Iterator[str]:
        """The keys in the order in which their images are stored, which reads fastest."""
        yield from self.keys

    def __len__(self) -> int:
        return len(self.keys)


class IndexedImages(ImageSource):
    """A source that knows the place of each image: its row, counted in the order of storage.

    Args:
        path: what the user named.
        rule: how keys are made.
        keys: by row.
        advice: what to do if two keys are equal.

    Raises:
        DatasetError: there are no images, a key is not allowed, or two are equal; the message
            names both places.
    """

    def __init__(self, path: str, rule: str, keys: Sequence[str], advice: str) -> None:
        super().__init__(path, rule)
        if not keys:
            raise DatasetError(f"{path} holds no images")
        for row, key in enumerate(keys):
            if fault := key_fault(key):
                raise DatasetError(f"{self.place(row)}: {fault}. {advice}")
        order = sorted(range(len(keys)), key=keys.__getitem__)
        for first, second in pairwise(order):
            if keys[first] == keys[second]:
                raise DatasetError(
                    f"{path}: duplicate key {keys[first]!r}: {self.place(first)}, and "
                    f"{self.place(second)}. {advice}"
                )
        self._keys = [keys[row] for row in order]
        self.rows = array("q", order)

    @abstractmethod
    def place(self, row: int) -> str:
        """Where the image of a row is stored, for messages."""

    @property
    def keys(self) -> list[str]:
        """The keys of all images, each once, in ascending order."""
        return self._keys

    def row(self, key: str) -> int:
        """The row of a key.

        Raises:
            FileNotFoundError: there is no such image.
        """
        position = bisect_left(self._keys, key)
        if position == len(self._keys) or self._keys[position] != key:
            raise FileNotFoundError(errno.ENOENT, f"{self.path} has no image", key)
        return self.rows[position]

    def where(self, key: str) -> str:
        """Where an image is stored, for messages."""
        return self.place(self.row(key))

    def find(self, key: str) -> str | None:
        """A key as this source spells it, if it has the image; accents and ``/`` may differ."""
        try:
            self.row(key)
        except FileNotFoundError:
            found = self._spelled.get(plain_spelling(key), ())
            return found[0] if len(found) == 1 else None
        return key

    def in_storage_order(self) -> Iterator[str]:
        """The keys in the order in which their images are stored, which reads fastest."""
        for position in sorted(range(len(self.rows)), key=self.rows.__getitem__):
            yield self._keys[position]

    @cached_property
    def _spelled(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key in self._keys:
            found.setdefault(plain_spelling(key), []).append(key)
        return found


def numbered_labels(names: Sequence[str | None]) -> ImageLabels:
    """Labels from the name of each image's class; numbers as text are sorted as numbers.

    >>> numbered_labels(["10", "9", None])
    ImageLabels(classes=['9', '10'], numbers=[1, 0, -1])
    """
    distinct = {name for name in names if name is not None}
    numeric = all(name.isascii() and name.isdecimal() for name in distinct)
    digits = {name: name.lstrip("0") if numeric else "" for name in distinct}
    classes = sorted(distinct, key=lambda name: (len(digits[name]), digits[name], name))
    places: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    return ImageLabels(classes, [places.get(name, -1) for name in names])

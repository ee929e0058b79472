"""What every dump is: classes, one after the other, and the images found in each."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from labelkit.errors import DatasetError
from labelkit.image_folders import is_image_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST_NAME, _LONGEST_PATH = 255, 3000  # bytes: of a file's name; of a path below a class
_LARGEST_IMAGE = 1 << 30


class DumpImage(NamedTuple):
    """An image of a class: its name there, and where its bytes are.

    Attributes:
        name: its path below the class, with ``/``.
        path: the file that holds it.
        offset: where it begins in a tar; -1 if it is a file.
        size: its bytes in a tar.
    """

    name: str
    path: str
    offset: int = -1
    size: int = 0

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            DatasetError: it is not a regular file, or too large.
            OSError: the disk fails, or a tar has become shorter.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would block
        except FileNotFoundError:
            if os.path.islink(self.path):  # noqa: PTH114 -- as the rest of this function
                raise DatasetError("a broken link") from None
            raise
        try:
            return self._read(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> bytes:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError("not a regular file")
        size = status.st_size if self.offset < 0 else self.size
        if size > _LARGEST_IMAGE:
            raise DatasetError(f"{size:,} bytes, more than {_LARGEST_IMAGE:,}")
        content = os.pread(descriptor, size, max(self.offset, 0))
        if len(content) < size:
            raise OSError(f"{self.path} has changed since its images were listed")
        return content


@dataclass(frozen=True)
class Listing:
    """The files found in one class.

    Attributes:
        images: each name once, sorted by the bytes of the name.
        skipped: what is not taken, and why: name -> reason.
        others: how many files are no images by their names.
    """

    images: list[DumpImage] = field(default_factory=list[DumpImage])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    others: int = 0


class DumpClass(ABC):
    """One class of a dump.

    Attributes:
        class_id: its name.
        where: the folder or the tar, for messages.
        weight: its share of the dump's ``weight``, for the time left.
    """

    def __init__(self, class_id: str, where: str, weight: float) -> None:
        self.class_id = class_id
        self.where = where
        self.weight = weight

    @abstractmethod
    def listing(self) -> Listing:
        """The images of the class.

        Raises:
            OSError: the disk fails.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Something that differs if the class has changed, made without reading its images."""

    def release(self) -> None:  # noqa: B027 -- most have nothing to release
        """Called when the images are no longer needed."""


class Dump(ABC):
    """The classes of a source.

    Attributes:
        path: what the user named.
        kind: what it is, in words.
        weight: the sum of the weights of its classes.
    """

    kind: str

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weight = 0.0

    @abstractmethod
    def classes(self, scratch: Path) -> Iterator[DumpClass]:
        """The classes, one at a time.

        Args:
            scratch: a folder for what must be unpacked to be read.

        Raises:
            PrepareError: a class name cannot be used, or the dump is damaged.
            OSError: the disk fails.
        """


def taken(name: str) -> bool:
    """Whether a file inside a class is an image by its name, and not hidden.

    >>> taken("sub/1.jpg"), taken(".sub/1.jpg"), taken("../1.jpg")
    (True, False, True)
    """
    parts = name.split("/")
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    return is_image_name(parts[-1]) and not hidden


def name_fault(name: str) -> str:
    """Why a file below a class cannot keep its name; empty if it can.

    >>> name_fault("sub/1.jpg"), name_fault("../1.jpg")
    ('', 'its path leaves the class')
    """
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    parts = name.split("/")
    if not name or "\0" in name:
        return "its name is empty or contains NUL"
    if name.startswith("/") or ".." in parts:
        return "its path leaves the class"
    if len(encoded) > _LONGEST_PATH or max(len(part.encode()) for part in parts) > _LONGEST_NAME:
        return f"its name is longer than {_LONGEST_NAME} bytes"
    return ""

"""The form of the packed WordNet files: a line of ASCII with numbers, then a zlib stream."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from labelkit.errors import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

Content = TypeVar("Content")


def read_packed(
    path: Path, magic: bytes, version: int, unpack: Callable[[bytes, list[int]], Content]
) -> Content:
    """Read a packed file: ``magic version number ...`` and what its stream holds.

    Args:
        path: the file.
        magic: the first word of its first line.
        version: the second; any other is refused.
        unpack: turns the stream's content and the line's further numbers into the result, and
            raises ValueError where they do not fit each other.

    Raises:
        TaxonomyError: the file is damaged or of another version.
    """
    header, _, packed = path.read_bytes().partition(b"\n")
    found, *numbers = header.split(b" ")
    if [found, *numbers[:1]] != [magic, b"%d" % version]:
        raise TaxonomyError(
            f"{path.name} begins with {header[:40]!r}, this labelkit reads "
            f"'{magic.decode()} {version}': reinstall labelkit"
        )
    try:
        return unpack(zlib.decompress(packed), list(map(int, numbers[1:])))
    except (ValueError, zlib.error) as error:
        raise TaxonomyError(f"{path.name} is damaged ({error}): reinstall labelkit") from error


def split_content(
    content: bytes, sections: Sequence[tuple[str, int]]
) -> tuple[list[npt.NDArray[np.integer]], list[str]]:
    """The arrays at the beginning, given as type and length, and the lines of text after them.

    Raises:
        ValueError: the content ends early, or the lines are no text in UTF-8.
    """
    arrays: list[npt.NDArray[np.integer]] = []
    offset = 0
    for dtype, count in sections:
        arrays.append(np.frombuffer(content, dtype, count, offset))
        offset += arrays[-1].nbytes
    return arrays, content[offset:].decode().split("\n")

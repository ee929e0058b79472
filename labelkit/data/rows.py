"""Each image's row in a label-map file: below which root, and in which spelling of its name.

A key is looked up as it is first. Where that fails, two things may differ without a doubt about the
image: how many folders of its path the key begins with, and how its characters are written.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import LabelMapError
from labelkit.files import evenly_spaced
from labelkit.image_folders import is_hidden, plain_spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps import LabelMapFile

_PROBES = 1000  # keys by which the root is found
_MOST_ABOVE = 8  # folders above the data set's root that a file's keys may begin with


def find_rows(
    keys: Sequence[str], above: Sequence[str] | None, finder: RowFinder
) -> tuple[list[str], NDArray[np.int64]]:
    """Each sample's key in the file, and its row, -1 for none.

    A data set's root may be above or below the folder that was relabelled, as that of torchvision's
    ``ImageNet`` is. If the file has no key below the root itself, the other folders of the images'
    paths are tried.

    Args:
        keys: of the samples, below their root.
        above: the names of the folders above all keys, the outermost first; None if the keys are
            the user's own.
        finder: of the file.

    Raises:
        LabelMapError: the file's keys fit below two of these folders.
    """
    given = keys
    keys, rows = finder.rows(given)
    if above is None or (rows >= 0).any() or not keys:
        return keys, rows
    probes = [keys[at] for at in evenly_spaced(len(keys), min(_PROBES, len(keys)))]
    fitting: dict[str, Callable[[str], str]] = {}
    for move in _other_roots(given, above):
        found = next((key for key in map(move, probes) if finder.row(key) is not None), None)
        if found is not None:
            fitting.setdefault(found, move)
    if len(fitting) > 1:
        first, second, *_ = fitting
        raise LabelMapError(
            f"{finder.maps.path} has {first!r} and {second!r}, and either may be the data set's "
            f"{probes[0]!r}: say which, with key=lambda position: ..."
        )
    return finder.rows([move(key) for move in fitting.values() for key in keys] or keys)


def _other_roots(keys: Sequence[str], above: Sequence[str]) -> Iterator[Callable[[str], str]]:
    """How keys change below other roots: without folders that all share, or with some above."""
    shared = _shared_folders(keys)
    for count in range(1, len(shared) + 1):
        length = len("/".join(shared[:count])) + 1
        yield lambda key, length=length: key[length:]
    for count in range(1, min(len(above), _MOST_ABOVE) + 1):
        prefix = "/".join(above[-count:])
        yield lambda key, prefix=prefix: f"{prefix}/{key}"


def _shared_folders(keys: Sequence[str]) -> list[str]:
    """The folders that all keys begin with: those of the first and the last in order."""
    first, last = (key.split("/")[:-1] for key in (min(keys), max(keys)))
    count = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[: min(len(first), len(last)) if count is None else count]


class RowFinder:
    r"""Rows by key; a key may be spelled in another way than in the file.

    Copies from a Mac write accents apart (NFD), and lists from Windows have ``\`` for ``/``. A key
    that the file lacks finds the one row that differs in nothing else.

    Args:
        maps: the file.
    """

    def __init__(self, maps: LabelMapFile) -> None:
        self.maps = maps
        self._spelled: dict[str, list[int]] | None = None

    def row(self, key: str) -> int | None:
        """The row of a key; None if the file has none, or several that might be meant."""
        row = self.maps.position(key)
        if row is not None:
            return row
        rows = self._other_spellings(key)
        return rows[0] if len(rows) == 1 else None

    def rows(self, keys: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
        """The keys as the file spells them, and their rows, -1 for none.

        Two keys never find one row by their spelling.
        """
        found = (self.maps.position(key) for key in keys)
        rows = np.fromiter((-1 if row is None else row for row in found), np.int64, len(keys))
        missing = dict.fromkeys(keys[at] for at in np.flatnonzero(rows < 0).tolist())
        claims = {key: self._other_spellings(key) for key in missing}
        counts = Counter(row for claimed in claims.values() for row in claimed)
        if not counts:
            return list(keys), rows
        counts.update(rows[rows >= 0].tolist())
        unique = {
            key: claimed[0]
            for key, claimed in claims.items()
            if len(claimed) == 1 and counts[claimed[0]] == 1
        }
        for at in np.flatnonzero(rows < 0).tolist():
            rows[at] = unique.get(keys[at], -1)
        spelled = {key: self.maps.key_at(row) for key, row in unique.items()}
        return [spelled.get(key, key) for key in keys], rows

    def why_not(self, key: str) -> str:
        """Why a key has no row."""
        if key not in self.maps.unreadable:
            others = self._other_spellings(key)
            if others:
                return (
                    f"it is the same as {self.maps.key_at(others[0])!a} up to Unicode "
                    f"normalisation (NFC, NFD) or \\ for /, but so are other files; this one is "
                    f"{key!a}. Rename the images, or pass key="
                )
            if is_hidden(key):
                return (
                    "names that start with a dot are hidden, and no images of the data set: use "
                    "labelkit.data.ClassFolders, which skips them, or delete them"
                )
        return self.maps.why_not(key)

    def _other_spellings(self, key: str) -> list[int]:
        """The rows of keys that differ from this one in their spelling only."""
        if self._spelled is None:
            self._spelled = {}
            for row, known in enumerate(self.maps.keys()):
                if not known.isascii() or "\\" in known:
                    self._spelled.setdefault(plain_spelling(known), []).append(row)
        plain = plain_spelling(key)
        row = self.maps.position(plain) if plain != key else None
        return sorted({*self._spelled.get(plain, ()), *(() if row is None else (row,))})

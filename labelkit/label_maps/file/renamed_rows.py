"""Rows of an older file for images that have other keys now."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from labelkit.label_maps.file.kept_rows import require_same_source
from labelkit.label_maps.file.layout import Header, check_key, row_crc32
from labelkit.label_maps.file.reader import DamagedRow, LabelMapFile, stored_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps.file.begun import Row


class RenamedRows:
    """The rows of an older file that serve for other keys, each read and checked.

    Args:
        old: the older file.
        same: key of the new file -> key of the row in ``old``; several may share a row.
        header: the header of the new file.
        classes: the class list of the new file.

    Attributes:
        keys: those of intact rows, as in the new file.
        damaged: those of rows with damaged content -> reason; ascending.

    Raises:
        LabelMapError: as ``ReusedRows``.
    """

    def __init__(
        self, old: LabelMapFile, same: Mapping[str, str], header: Header, classes: ClassList
    ) -> None:
        require_same_source(old, header, classes)
        self._old = old
        needed = frozenset(same.values())
        faults: dict[str, str] = {}
        places = {key: at for at, key in enumerate(old.keys()) if key in needed}
        for key, fault in zip(places, stored_rows(old).faults(needed), strict=True):
            if isinstance(fault, DamagedRow):
                faults[key] = fault.reason
            elif fault is not None:
                raise fault
        known = {key: there for key, there in same.items() if there in places}
        self.damaged = {
            key: faults[there] for key, there in sorted(known.items()) if there in faults
        }
        ordered = sorted(known.keys() - self.damaged.keys(), key=check_key)
        self._places = {key: places[known[key]] for key in ordered}
        self.keys = frozenset(self._places)
        encoded = msgspec.json.encode(dict(same), order="deterministic")
        self.digest = hashlib.sha256(old.digest.encode() + encoded).hexdigest()

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Each row's new key, and the size of its stored record in bytes."""
        sizes = [size for _, size, _ in stored_rows(self._old).entries()]
        for key, place in self._places.items():
            yield check_key(key), sizes[place]

    def rows(self) -> Iterator[Row]:
        """Each row under its new key, checked once more.

        Raises:
            LabelMapError: a row has been damaged since.
        """
        rows = stored_rows(self._old)
        for key, place in self._places.items():
            (row,), _ = rows.read([place])
            new = check_key(key)
            yield new, row.stored, row_crc32(new, row.plain), rows.digest(place)

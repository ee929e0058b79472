"""The rows that a new file takes over from an older one, as they stand there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.errors import LabelMapError
from labelkit.label_maps.checked_rows import DamagedRow
from labelkit.label_maps.identity import Difference, difference, identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps.layout import Header
    from labelkit.label_maps.reader import LabelMapFile


class TakenOver:
    """Rows of an older file whose images are still there; each one is read and checked at once.

    Opening the older file has checked its header, class list, keys and checksums, so that a damaged
    record is that row's own matter.

    Args:
        old: a file; None gives no rows.
        keys: all images of the new file.
        header: that of the new file.
        classes: those of the new file.

    Attributes:
        keys: those with a whole row.
        damaged: those whose row's content is damaged, key -> reason; ascending.

    Raises:
        LabelMapError: ``old`` holds maps of another kind, or has changed since it was opened, or
            its disk does not give a row.
    """

    def __init__(
        self, old: LabelMapFile | None, keys: Sequence[str], header: Header, classes: ClassList
    ) -> None:
        self._old = old
        self.keys: frozenset[str] = frozenset()
        self.damaged: dict[str, str] = {}
        if old is None:
            return
        _require_alike(old, header, classes)
        wanted = frozenset(keys)
        theirs = (key for key in old if key in wanted)
        whole: list[str] = []
        for key, fault in zip(theirs, old.faults(wanted), strict=True):
            if fault is None:
                whole.append(key)
            elif isinstance(fault, DamagedRow):
                self.damaged[key] = fault.reason
            else:
                raise fault
        self.keys = frozenset(whole)

    @property
    def digest(self) -> str:
        """That of the older file; empty without one."""
        return "" if self._old is None else self._old.digest

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Each row's key, and the bytes of its record."""
        for key, size, _ in self._old.entries() if self._old is not None else ():
            if key.decode() in self.keys:
                yield key, size

    def rows(self) -> Iterator[tuple[bytes, bytes, int]]:
        """Each row as (key, stored record, CRC-32), checked once more.

        Raises:
            LabelMapError: a row is damaged by now.
        """
        for row in self._old.checked_rows(self.keys) if self._old is not None else ():
            yield row.key, row.stored, row.crc32


def _require_alike(old: LabelMapFile, header: Header, classes: ClassList) -> None:
    """Raise unless rows of a file can stand under a header."""
    found = difference(identity(old.header), identity(header))
    if old.classes != classes:
        found = Difference("class list", str(old.classes), str(classes))
    if found:
        raise LabelMapError(
            f"{old.path} cannot be reused: its {found.name} is {found.first!r}, "
            f"here it is {found.second!r}. Repeat the settings that it was made with, such as "
            "--teacher, --classes, --names and --size"
        )

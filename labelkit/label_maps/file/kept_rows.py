"""The rows that a run keeps: of an older file, and of shards that were finished earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from labelkit.errors import LabelMapError
from labelkit.label_maps.file.layout import FieldDifference, Header, first_difference, identity
from labelkit.label_maps.file.reader import DamagedRow, LabelMapFile, stored_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps.file.begun import Row


class ReusedRows:
    """The rows of an older file whose images are still in the data set, each read and checked.

    Opening the older file has checked its header, class list, keys and checksums, so a damaged
    record affects only its own row.

    Args:
        old: the older file; None for no rows.
        keys: all images of the new file.
        header: the header of the new file.
        classes: the class list of the new file.

    Attributes:
        keys: the keys of intact rows.
        damaged: the keys of rows with damaged content -> reason; ascending.

    Raises:
        LabelMapError: ``old`` has maps of another source or form or has changed since it was
            opened, or its disk fails.
    """

    def __init__(
        self, old: LabelMapFile | None, keys: Sequence[str], header: Header, classes: ClassList
    ) -> None:
        self._old = old
        self.keys: frozenset[str] = frozenset()
        self.damaged: dict[str, str] = {}
        if old is None:
            return
        require_same_source(old, header, classes)
        wanted = frozenset(keys)
        common = (key for key in old if key in wanted)
        intact: list[str] = []
        for key, fault in zip(common, stored_rows(old).faults(wanted), strict=True):
            if fault is None:
                intact.append(key)
            elif isinstance(fault, DamagedRow):
                self.damaged[key] = fault.reason
            else:
                raise fault
        self.keys = frozenset(intact)

    @property
    def digest(self) -> str:
        """The digest of the older file; empty without one."""
        return "" if self._old is None else self._old.digest

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Each row's key, and the size of its stored record in bytes."""
        if self._old is not None:
            for key, size, _ in stored_rows(self._old).entries():
                if key.decode() in self.keys:
                    yield key, size

    def rows(self) -> Iterator[Row]:
        """Each row, checked once more.

        Raises:
            LabelMapError: a row has been damaged since.
        """
        if self._old is not None:
            for row in stored_rows(self._old).checked(self.keys):
                yield row.key, row.stored, row.crc32, row.image


class KeptRows:
    """The rows of finished shards whose images are still in the data set.

    Args:
        shards: finished shards; where two have a row of one image, the first counts.
        wanted: the images whose rows are needed.
        on_damaged: called with a shard that cannot be opened; raises.

    Attributes:
        keys: the keys of the rows that there are.

    Raises:
        LabelMapError: what ``on_damaged`` raises.
    """

    def __init__(
        self, shards: Sequence[Path], wanted: Iterable[str], on_damaged: Callable[[Path], NoReturn]
    ) -> None:
        left = set(wanted)
        self.keys: set[str] = set()
        # Shards of one plan have ascending keys, so most shards follow another one.
        self._chains: list[list[tuple[Path, frozenset[str]]]] = []
        ends: list[str] = []
        for path in shards:
            try:
                with LabelMapFile.open(path) as file:
                    keys = [key for key in file if key in left]
            except LabelMapError:
                on_damaged(path)
            if not keys:
                continue
            left.difference_update(keys)
            self.keys.update(keys)
            place = next((n for n, end in enumerate(ends) if end < keys[0]), len(ends))
            if place == len(ends):
                self._chains.append([])
                ends.append("")
            self._chains[place].append((path, frozenset(keys)))
            ends[place] = keys[-1]

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Each row's key, and the size of its stored record in bytes."""
        for path, keys in (each for chain in self._chains for each in chain):
            with LabelMapFile.open(path) as file:
                for key, size, _ in stored_rows(file).entries():
                    if key.decode() in keys:
                        yield key, size

    def streams(self) -> list[Iterator[Row]]:
        """The rows in several streams, each ascending, checked."""
        return [self._rows(chain) for chain in self._chains]

    def _rows(self, chain: list[tuple[Path, frozenset[str]]]) -> Iterator[Row]:
        for path, keys in chain:
            with LabelMapFile.open(path) as file:
                for row in stored_rows(file).checked(keys):
                    yield row.key, row.stored, row.crc32, row.image


def require_same_source(old: LabelMapFile, header: Header, classes: ClassList) -> None:
    """Raise unless rows of a file may be stored under a header.

    Raises:
        LabelMapError: they are of another source, form or class list.
    """
    found = first_difference(identity(old.header), identity(header))
    if old.classes != classes:
        found = FieldDifference("class list", str(old.classes), str(classes))
    if found:
        raise LabelMapError(
            f"{old.path} cannot be reused: its {found.name} is {found.first!r}, "
            f"here it is {found.second!r}. Repeat the settings that it was made with, such as "
            "--teacher, --classes, --names and --size"
        )

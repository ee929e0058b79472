"""Which shards a run writes, and which rows it keeps: of finished shards, and of an older file.

``plan.json`` in the folder of shards says what the first run was to write. A later run over more
or fewer images of the same folder adds ``plan-1.json``, and so on: it keeps the rows of finished
shards whose images are still there, and splits all other images into new shards with higher
numbers. No plan is ever changed, so all processes that write one file agree.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from labelkit.errors import LabelMapError
from labelkit.files import decode_json, file_sha256, publish_file
from labelkit.label_maps.file.layout import FieldDifference, Header, first_difference, identity
from labelkit.label_maps.file.reader import DamagedRow, LabelMapFile, stored_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList

_NAME = re.compile(r"plan(?:-([0-9]{1,9}))?\.json")


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive keys of the plan, ``start`` to ``stop`` - 1, whose rows one commit writes."""

    number: int
    start: int
    stop: int


class KeptShard(msgspec.Struct, frozen=True, array_like=True):
    """A finished shard of an earlier plan: its number, and the digest of its file."""

    number: int
    sha256: str


class Plan(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a run writes.

    Attributes:
        header: what all rows share.
        keys: digest of the keys of all images.
        count: how many images.
        shard_rows: images per shard.
        reuse: digest of the file whose rows are copied; empty without one.
        made_from: digest of files that the maps are made from; empty for images.
        folder: where the images are; empty if the caller did not say.
        first: the number of its first shard.
        kept: the finished shards of earlier plans whose rows it takes.
    """

    header: dict[str, Any]
    keys: str
    count: int
    shard_rows: int
    reuse: str
    made_from: str
    folder: str = ""
    first: int = 0
    kept: tuple[KeptShard, ...] = ()

    @property
    def digest(self) -> str:
        """What its shards' markers carry; where the images are does not matter."""
        fields = msgspec.to_builtins(msgspec.structs.replace(self, folder=""))
        return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()

    def settings(self) -> dict[str, Any]:
        """What a later plan for other images has to share."""
        names = ("header", "made_from", "reuse", "shard_rows")
        return {name: getattr(self, name) for name in names}

    def images(self) -> dict[str, Any]:
        """Which images it is for."""
        return {"count": self.count, "keys": self.keys}


class Marker(msgspec.Struct, frozen=True):
    """What records that a shard is finished: its plan, and the digest of its file."""

    plan: str
    sha256: str


def shard_name(number: int) -> str:
    """The name of a shard's file, without suffix."""
    return f"{number:06d}"


def read_marker(path: Path) -> Marker | None:
    """A shard's marker; None if there is none.

    Raises:
        LabelMapError: it is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return decode_json(content, Marker, path, LabelMapError, "remove it and run again")


class ShardFolder:
    """The folder in which the shards of one unfinished file are.

    Args:
        path: ``<file>.parts``.
        header: the header of the file to be.
        classes: its class list.
    """

    def __init__(self, path: Path, header: Header, classes: ClassList) -> None:
        self.path = path
        self._header, self._classes = header, classes

    def claim(self, wanted: Plan, source: Path | None = None) -> Plan:
        """The plan to follow, which is created unless an earlier run or another process did.

        Args:
            wanted: what to write; ``first`` and ``kept`` are filled in here.
            source: a folder of shards to take over, this one or another.

        Raises:
            LabelMapError: the folder has shards of other settings, or has lost its plan; ``source``
                has shards of other settings, or none.
            OSError: the disk is full or refuses.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        while True:
            number, last = self._last(source)
            if last is None:
                kept = self._taken_over(source)
            else:
                self._require_continuable(last, wanted, source)
                if last.images() == wanted.images() and self._has(last.kept):
                    return last
                kept = tuple(self._intact())
            if kept or number >= 0:
                after = last.first + last.count if last else 0
                first = max(after, 1 + max(self._numbers(), default=-1))
                wanted = msgspec.structs.replace(wanted, first=first, kept=kept)
            name = f"plan-{number + 1}.json" if number >= 0 else "plan.json"
            publish_file(self.path / name, msgspec.json.encode(wanted))

    def paths(self, kept: Sequence[KeptShard]) -> list[Path]:
        """The files of kept shards, in the order of their numbers."""
        return [self.path / f"{shard_name(shard.number)}.h5" for shard in kept]

    def require_intact(self, kept: Sequence[KeptShard]) -> None:
        """Remove kept shards that are damaged, and raise if there is one.

        Raises:
            LabelMapError: a shard was damaged.
        """
        for shard, file in zip(kept, self.paths(kept), strict=True):
            if not file.is_file() or file_sha256(file) != shard.sha256:
                self.remove_damaged(file)

    def remove_damaged(self, file: Path) -> NoReturn:
        """Remove a damaged shard and its marker.

        Raises:
            LabelMapError: always; the next run makes its images again.
        """
        file.unlink(missing_ok=True)
        file.with_suffix(".json").unlink(missing_ok=True)
        raise LabelMapError(
            f"shard {file} was damaged after it was written, and has been removed. "
            "Run the same command again to recreate it"
        )

    def _last(self, source: Path | None) -> tuple[int, Plan | None]:
        """The number of the last plan, -1 without one, and the plan; None if it is to be made."""
        plans = {
            int(match[1] or 0): file
            for file in self.path.glob("plan*.json")
            if (match := _NAME.fullmatch(file.name))
        }
        rescued = source is not None and source.resolve() == self.path.resolve()
        advice = f"remove the folder, or keep its finished shards with --reuse {self.path}"
        if not plans:
            if self._has_shards() and not rescued:
                raise LabelMapError(f"{self.path} has lost its plan.json: {advice}")
            return -1, None
        number = max(plans)
        try:
            content = plans[number].read_bytes()
            return number, decode_json(content, Plan, plans[number], LabelMapError, advice)
        except LabelMapError:
            if rescued:
                return number, None
            if self._has_shards():
                raise
            for file in plans.values():  # nothing has been finished: start over
                file.unlink(missing_ok=True)
            return -1, None

    def _require_continuable(self, last: Plan, wanted: Plan, source: Path | None) -> None:
        """Raise unless shards of one plan may serve another."""
        found = first_difference(last.settings(), wanted.settings())
        advice = "Repeat the first command to resume"
        same_folder = last.folder and last.folder == wanted.folder
        if not found and not source and not same_folder:
            # Other images may have the same keys.
            found = first_difference(last.images(), wanted.images())
            advice += f", keep the maps of images with the same keys with --reuse {self.path}"
        if found:
            raise LabelMapError(
                f"{self.path} holds shards made with other settings "
                f"({found.name}: {found.first!s:.80} there, {found.second!s:.80} now). "
                f"{advice}, or remove the folder to start over"
            )

    def _numbers(self) -> Iterator[int]:
        """The numbers of all shards that have a file here, finished or not."""
        for pattern in ("[0-9]*.h5", "[0-9]*.json"):
            yield from (int(file.stem) for file in self.path.glob(pattern) if file.stem.isdecimal())

    def _has_shards(self) -> bool:
        return next(self._numbers(), None) is not None

    def _has(self, kept: Sequence[KeptShard]) -> bool:
        files = self.paths(kept)
        return all(file.is_file() and file.with_suffix(".json").is_file() for file in files)

    def _intact(self) -> Iterator[KeptShard]:
        """The finished shards whose file is what was written, and made as this run makes maps.

        Raises:
            LabelMapError: a shard was made with other settings.
        """
        for number in sorted(set(self._numbers())):
            (file,) = self.paths([KeptShard(number, "")])
            marker = read_marker(file.with_suffix(".json"))
            if marker is None or not file.is_file() or file_sha256(file) != marker.sha256:
                continue
            with LabelMapFile.open(file) as shard:
                require_same_source(shard, self._header, self._classes)
            yield KeptShard(number, marker.sha256)

    def _taken_over(self, source: Path | None) -> tuple[KeptShard, ...]:
        """The finished shards of another folder, copied here."""
        if source is None:
            return ()
        other = ShardFolder(source, self._header, self._classes)
        kept = tuple(other._intact())
        if not kept:
            raise LabelMapError(f"{source} has no finished shards to reuse")
        if source.resolve() != self.path.resolve():
            for file in other.paths(kept):
                for path in (file, file.with_suffix(".json")):
                    publish_file(self.path / path.name, lambda new, old=path: shutil.copy(old, new))
        return kept


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

    def rows(self) -> Iterator[tuple[bytes, bytes, int]]:
        """Each row as (key, stored record, CRC-32), checked once more.

        Raises:
            LabelMapError: a row has been damaged since.
        """
        if self._old is not None:
            for row in stored_rows(self._old).checked(self.keys):
                yield row.key, row.stored, row.crc32


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

    def streams(self) -> list[Iterator[tuple[bytes, bytes, int]]]:
        """The rows in several streams, each ascending: (key, stored record, CRC-32), checked."""
        return [self._rows(chain) for chain in self._chains]

    def _rows(self, chain: list[tuple[Path, frozenset[str]]]) -> Iterator[tuple[bytes, bytes, int]]:
        for path, keys in chain:
            with LabelMapFile.open(path) as file:
                for row in stored_rows(file).checked(keys):
                    yield row.key, row.stored, row.crc32


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

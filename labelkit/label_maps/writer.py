"""Write label maps so that nothing finished is ever lost: shards by a fixed plan, then one file.

An HDF5 file that is killed while it is written may never open again, so no file is appended to. A
shard is written under a unique temporary name, closed, read back, flushed to disk, published by a
hard link (the first writer wins) and only then noted in a marker. The next run reads the markers
and goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import shutil
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labelkit.errors import LabelMapError
from labelkit.files import file_sha256, publish_file
from labelkit.label_maps.hdf5 import Rows
from labelkit.label_maps.identity import difference, identity
from labelkit.label_maps.layout import (
    FORMAT,
    VERSION,
    Header,
    check_key,
    require_room,
    row_crc32,
)
from labelkit.label_maps.reader import LabelMapFile
from labelkit.label_maps.record import RecordCodec
from labelkit.label_maps.taken_over import TakenOver
from labelkit.label_maps.whole_file import write_checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps.form import MapForm
    from labelkit.label_maps.label_map import LabelMaps


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of consecutive keys of the plan: rows ``start`` to ``stop`` - 1."""

    number: int
    start: int
    stop: int


class _Marker(msgspec.Struct, frozen=True):
    plan: str
    sha256: str


class LabelMapWriter:
    """Write the label maps of one data set, shard by shard, from one or many processes.

    Args:
        path: the finished file; shards live beside it in ``<path>.parts`` until then.
        classes: the class list of the indices.
        keys: every image of the data set; sorted here, so their order does not matter.
        forms: what the maps of each kind have in common; one map an image for each.
        source: how the maps are made, JSON values; shards of another source never mix.
        made_with: what else the file is to say, such as versions; no part of the identity.
        shard_rows: images per shard: what an interruption can cost at most.
        reuse: a file of the same classes, forms and source: its whole rows of ``keys`` are
            taken over as they are. Images that it could not read, or whose row is damaged, are
            tried again.
        made_from: a digest of files that the maps are made from; like ``reuse`` it tells shards
            apart, but does not stand in the file.

    Attributes:
        keys: those that maps are to be made of, in the order of the shards; ``damaged`` come last.
        damaged: those whose row in ``reuse`` is damaged, key -> reason.

    Raises:
        LabelMapError: keys that repeat or leave the data set's folder, shards of another plan,
            something that ``reuse`` differs in, a disk that does not give its rows, or a source or
            class list too long for a file.
        ValueError: a form that such a class list cannot have.
        FileExistsError: ``path`` exists already.
    """

    def __init__(  # noqa: PLR0913 -- each is a separate fact of the file
        self,
        path: str | os.PathLike[str],
        *,
        classes: ClassList,
        keys: Sequence[str],
        forms: Sequence[MapForm],
        source: dict[str, Any],
        made_with: dict[str, Any] | None = None,
        shard_rows: int = 1024,
        reuse: LabelMapFile | None = None,
        made_from: str = "",
    ) -> None:
        self.path = Path(path).absolute()
        self.parts = self.path.with_name(self.path.name + ".parts")
        self.classes = classes
        self._codec = RecordCodec(forms, len(classes))
        every = sorted(keys, key=check_key)
        for key, following in pairwise(every):
            if key == following:
                raise LabelMapError(f"key {key!r} stands twice in the data set")
        self.header = Header(
            format=FORMAT,
            version=VERSION,
            maps=tuple(forms),
            classes_name=classes.name,
            classes_digest=classes.digest,
            source=source,
            made_with=_common(made_with or {}, reuse),
        )
        require_room(self.header, classes)
        self._taken = TakenOver(reuse, every, self.header, classes)
        self.damaged = self._taken.damaged
        there = self._taken.keys.union(self.damaged)
        fresh = [key for key in every if key not in there]
        self.keys = [*fresh, *self.damaged]
        self._fresh = len(fresh)
        # No shard has both, so that those of new images stay good when more rows are damaged later.
        runs = (range(len(fresh)), range(len(fresh), len(self.keys)))
        parts = [run[n : n + shard_rows] for run in runs for n in range(0, len(run), shard_rows)]
        self.shards = [Shard(n, part.start, part.stop) for n, part in enumerate(parts)]
        self._claim_parts(
            {
                "header": identity(self.header),
                "keys": hashlib.sha256("\0".join(every).encode()).hexdigest(),
                "count": len(every),
                "shard_rows": shard_rows,
                "reuse": self._taken.digest,
                "made_from": made_from,
            }
        )

    def pending(self) -> list[Shard]:
        """The shards that no writer has committed yet, in their order."""
        return [shard for shard in self.shards if self._marker(shard) is None]

    def commit(self, shard: Shard, maps: Sequence[LabelMaps], unreadable: dict[str, str]) -> None:
        """Write one whole shard and publish it.

        Args:
            shard: one of ``pending()``.
            maps: for each form the maps of the shard's keys in order, unreadable ones left out.
            unreadable: the shard's keys without a map, key -> reason.

        Raises:
            ValueError: maps that do not fit their form; rows missing.
            OSError: the disk is full or the folder is gone; committed shards are untouched.
        """
        keys = [key for key in self.keys[shard.start : shard.stop] if key not in unreadable]
        records = self._codec.encode(maps)
        if len(keys) != len(records):
            raise ValueError(f"{len(records)} maps for {len(keys)} readable images of the shard")
        self._publish_shard(
            shard,
            [
                (key, self._codec.compress(record), row_crc32(key, record))
                for key, record in zip(map(check_key, keys), map(bytes, records), strict=True)
            ],
            unreadable,
        )

    def finalize(self) -> LabelMapFile:
        """Join all shards into the finished file, check it, and remove the shards.

        Raises:
            LabelMapError: a shard is missing or damaged (a damaged one is to be made again).
            FileExistsError: the file appeared meanwhile.
        """
        self._require_no_file()
        missing = self.pending()
        if missing:
            raise LabelMapError(
                f"{self.path}: {len(missing)} of {len(self.shards)} shards are still to be made"
            )
        for shard in self.shards:
            self._check_shard(shard)
        unreadable: dict[str, str] = {}
        sizes = [0, 0, 0]
        for file in self._open_shards(self.shards):
            unreadable |= file.unreadable
            own = (len(file), file.key_bytes, file.record_bytes)
            sizes = [size + more for size, more in zip(sizes, own, strict=True)]
        for key, size in self._taken.sizes():
            sizes = [sizes[0] + 1, sizes[1] + len(key), sizes[2] + size]
        streams = (*self._made_rows(), self._taken.rows())
        rows = Rows(heapq.merge(*streams, key=itemgetter(0)), *sizes)
        if not self._publish(self.path, lambda path: self._write(path, rows, unreadable)):
            self._require_no_file()
        shutil.rmtree(self.parts, ignore_errors=True)
        return LabelMapFile.open(self.path)

    def _publish_shard(
        self, shard: Shard, rows: list[tuple[bytes, bytes, int]], unreadable: dict[str, str]
    ) -> None:
        target = self.parts / f"{shard.number:06d}.h5"
        self._make_way(shard, target)
        key_bytes = sum(len(key) for key, _, _ in rows)
        record_bytes = sum(len(record) for _, record, _ in rows)
        some = Rows(rows, len(rows), key_bytes, record_bytes)
        self._publish(target, lambda path: self._write(path, some, unreadable))
        marker = msgspec.json.encode(_Marker(self._plan_of(shard), file_sha256(target)))
        self._publish(target.with_suffix(".json"), lambda path: path.write_bytes(marker))

    def _claim_parts(self, plan: dict[str, Any]) -> None:
        """Make the folder of shards, or check that the one there is of the same plan."""
        self._require_no_file()
        encoded = msgspec.json.encode(plan, order="deterministic")
        self._plan = hashlib.sha256(encoded).hexdigest()
        self.parts.mkdir(parents=True, exist_ok=True)
        file = self.parts / "plan.json"
        if not file.exists() and any(self.parts.glob("*.h5")):
            raise LabelMapError(f"{self.parts} has lost its plan.json: remove the folder")
        self._publish(file, lambda path: path.write_bytes(encoded))
        other = difference(msgspec.json.decode(file.read_bytes()), msgspec.json.decode(encoded))
        if other:
            raise LabelMapError(
                f"{self.parts} holds shards made with other settings "
                f"({other.name}: {other.first} there, {other.second} now). "
                "Repeat the first command to go on with them, or remove the folder to start anew"
            )

    def _require_no_file(self) -> None:
        if os.path.lexists(self.path):
            raise FileExistsError(f"{self.path} exists: choose another name or remove it")

    def _publish(self, target: Path, write: Callable[[Path], object]) -> bool:
        """Make a file appear whole; a failing disk is told with what is safe already."""
        try:
            return publish_file(target, write, self.parts)
        except OSError as error:
            done = len(self.shards) - len(self.pending())
            raise OSError(
                f"{target.parent} cannot be written to: {error}. {done} of {len(self.shards)} "
                "shards are kept; mend it and run the same command again"
            ) from error

    def _marker(self, shard: Shard) -> _Marker | None:
        file = self.parts / f"{shard.number:06d}.json"
        try:
            marker = msgspec.json.decode(file.read_bytes(), type=_Marker)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise LabelMapError(f"{file} is damaged ({error}): remove it and run again") from error
        return marker if marker.plan == self._plan_of(shard) else None

    def _plan_of(self, shard: Shard) -> str:
        """What tells a shard's marker from those of other plans, or of other damaged rows."""
        if shard.start < self._fresh:
            return self._plan
        keys = self.keys[shard.start : shard.stop]
        return hashlib.sha256("\0".join([self._plan, *keys]).encode()).hexdigest()

    def _check_shard(self, shard: Shard) -> None:
        file = self.parts / f"{shard.number:06d}.h5"
        marker = self._marker(shard)
        if marker is None or not self._is_whole(shard, file, marker.sha256):
            file.unlink(missing_ok=True)
            file.with_suffix(".json").unlink(missing_ok=True)
            raise LabelMapError(
                f"shard {file} was damaged after it was written; it is removed now. "
                "Run the same command again to make it anew"
            )

    def _make_way(self, shard: Shard, target: Path) -> None:
        """Remove what stands where a shard is to be: torn, or of another plan."""
        if self._marker(shard) is None:
            target.with_suffix(".json").unlink(missing_ok=True)
        if not self._is_whole(shard, target):
            target.unlink(missing_ok=True)

    def _is_whole(self, shard: Shard, path: Path, sha256: str = "") -> bool:
        """Whether a file holds all of a shard's images, as this writer makes them."""
        if not path.is_file() or (sha256 and file_sha256(path) != sha256):
            return False
        try:
            with LabelMapFile.open(path) as file:
                if not sha256:
                    file.check_rows()
                return (
                    identity(file.header) == identity(self.header)
                    and file.classes == self.classes
                    and sorted([*file, *file.unreadable], key=check_key)
                    == self.keys[shard.start : shard.stop]
                )
        except LabelMapError:
            return False

    def _made_rows(self) -> Iterator[Iterator[tuple[bytes, bytes, int]]]:
        """The rows of all shards: new ones and those made anew, ascending each."""
        for again in (False, True):
            shards = [shard for shard in self.shards if (shard.start >= self._fresh) == again]
            yield (row for file in self._open_shards(shards) for row in file.raw_rows())

    def _open_shards(self, shards: Sequence[Shard]) -> Iterator[LabelMapFile]:
        for shard in shards:
            with LabelMapFile.open(self.parts / f"{shard.number:06d}.h5") as file:
                yield file

    def _write(self, path: Path, rows: Rows, unreadable: dict[str, str]) -> None:
        write_checked(path, self.header, self.classes, rows, unreadable)


def _common(made_with: dict[str, Any], reuse: LabelMapFile | None) -> dict[str, Any]:
    """What is true of the rows that are taken over, too."""
    if reuse is None:
        return made_with
    return {name: value for name, value in made_with.items() if reuse.made_with.get(name) == value}

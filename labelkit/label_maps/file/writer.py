"""Write label maps so that no finished work is ever lost: shards by a fixed plan, then one file.

An HDF5 file whose writer is killed may never open again, so no file is appended to. A shard is
written under a unique temporary name, closed, read back, flushed to disk and published by a hard
link (the first writer wins); only then a marker records it. The next run reads the markers and
resumes with the missing shards; ``plan`` says what happens if images came or went meanwhile. The
first rows of a shard can be saved before it is finished (``begun``), and processes that write one
file claim shards (``claims``), so that no two of them make the same one.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from itertools import chain, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from labelkit.errors import LabelMapError
from labelkit.files import file_sha256, publish_file
from labelkit.label_maps.file.begun import (
    BEGUN,
    BegunShard,
    Row,
    content_of,
    read_begun,
    write_begun,
)
from labelkit.label_maps.file.claims import Claims
from labelkit.label_maps.file.codec import RecordCodec
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, publish
from labelkit.label_maps.file.kept_rows import KeptRows, ReusedRows
from labelkit.label_maps.file.layout import (
    FORMAT,
    NO_DIGEST,
    VERSION,
    Header,
    check_key,
    identity,
    require_room,
    row_crc32,
)
from labelkit.label_maps.file.leftover import remove_shards
from labelkit.label_maps.file.plan import (
    Marker,
    Plan,
    Shard,
    ShardFolder,
    read_marker,
)
from labelkit.label_maps.file.reader import LabelMapFile, stored_rows
from labelkit.label_maps.file.renamed_rows import RenamedRows
from labelkit.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps.calibration import Calibration
    from labelkit.label_maps.label_map import LabelMaps, MapForm

_Published = TypeVar("_Published")


class LabelMapWriter:
    """Write the label maps of one data set, shard by shard, from one or many processes.

    Args:
        path: the finished file; until then, shards are kept next to it in ``<path>.parts``.
        classes: the class list of the indices.
        keys: the key of every image of the data set, in any order.
        forms: the form of each map of an image.
        source: how the maps are made, as JSON values; shards of different sources never mix.
        made_with: further facts for the file, such as versions; not part of its identity.
        shard_rows: images per shard; an interruption costs at most one shard per process, or what
            was done since the last ``save``.
        reuse: a file of the same classes, forms and source: its intact rows for ``keys`` are copied
            unchanged. Images that it could not read, and those with damaged rows, are made again.
            Or the folder of shards (``<path>.parts``) of an unfinished run: they are copied.
        same: which row of the file ``reuse`` serves for an image, key -> key there; None if the
            keys are the same.
        made_from: a digest of files that the maps are made from; like ``reuse`` it distinguishes
            shards, but is not stored in the file.
        folder: where the images are. Finished shards serve after images were added to it or removed
            from it; without it, only for the same keys.
        overwrite: let ``finalize`` replace an existing file, which stays readable until then.
        other: whether the maps store the probability of none of the classes, as class index C.
        retry: make the images again that finished shards record as unreadable.

    Attributes:
        keys: the images that need maps, in the order of the shards; ``damaged`` ones come last.
        damaged: the images whose row in ``reuse`` is damaged, key -> reason.
        reused: how many rows are copied from the file ``reuse``.
        kept: how many rows come from shards that were finished for other images of the folder, or
            that ``reuse`` holds.
        claims: which process makes which shard, by the shard's ``name``.

    Raises:
        LabelMapError: keys repeat or point outside the data set's folder; existing shards belong to
            another plan; ``reuse`` differs in its classes, forms or source, or its disk fails; the
            source or class list is too long for a file.
        ValueError: a form is impossible for the class list.
        FileExistsError: ``path`` exists and ``overwrite`` is false.
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
        reuse: LabelMapFile | Path | None = None,
        same: Mapping[str, str] | None = None,
        made_from: str = "",
        folder: str = "",
        overwrite: bool = False,
        other: bool = False,
        retry: bool = False,
    ) -> None:
        self.path = Path(path).absolute()
        self.parts = self.path.with_name(self.path.name + ".parts")
        self.classes = classes
        self._overwrite = overwrite
        old = reuse if isinstance(reuse, LabelMapFile) else None
        self._codec = RecordCodec(forms, len(classes) + other, other=other)
        every = sorted(keys, key=check_key)
        for key, following in pairwise(every):
            if key == following:
                raise LabelMapError(f"duplicate key {key!r} in the data set")
        self.header = Header(
            format=FORMAT,
            version=VERSION,
            maps=tuple(forms),
            classes_name=classes.name,
            classes_digest=classes.digest,
            source=source,
            made_with=_common(made_with or {}, old),
            other=other,
        )
        require_room(self.header, classes)
        if old is None or same is None:
            self._reused = ReusedRows(old, every, self.header, classes)
        else:
            self._reused = RenamedRows(old, same, self.header, classes)
        self.damaged, self.reused = self._reused.damaged, len(self._reused.keys)
        wanted = Plan(
            header=identity(self.header),
            keys=hashlib.sha256("\0".join(every).encode()).hexdigest(),
            count=len(every),
            shard_rows=shard_rows,
            reuse=self._reused.digest,
            made_from=made_from,
            folder=folder,
            retry=retry,
        )
        self._follow(wanted, every, reuse if isinstance(reuse, Path) else None)

    def __getstate__(self) -> dict[str, Any]:
        """All that another process needs to make shards, on the same disk; it cannot join them."""
        return {
            name: value for name, value in vars(self).items() if name not in {"_reused", "_kept"}
        }

    def pending(self) -> list[Shard]:
        """The shards that no writer has committed yet, in order."""
        return [shard for shard in self.shards if not self.is_finished(shard)]

    def commit(self, shard: Shard, maps: Sequence[LabelMaps], unreadable: dict[str, str]) -> None:
        """Write one whole shard and publish it.

        Args:
            shard: one of ``pending()``.
            maps: for each form, the maps of the shard's keys in order, without unreadable images.
            unreadable: the shard's keys without a map, key -> reason.

        Raises:
            ValueError: the maps do not match their form, or rows are missing.
            OSError: the disk is full or the folder is gone; committed shards are unaffected.
        """
        keys = [key for key in self.keys[shard.start : shard.stop] if key not in unreadable]
        self.commit_rows(shard, self.encode(keys, maps), unreadable)

    def encode(
        self, keys: Sequence[str], maps: Sequence[LabelMaps], images: Sequence[bytes] = ()
    ) -> list[Row]:
        """Encode maps as rows. Any thread may call it.

        Args:
            keys: of the images.
            maps: for each form, the maps of these images.
            images: the digest of each image's content (``content_digest``); empty if unknown.

        Raises:
            ValueError: the maps do not match their form, or differ in number from the keys.
        """
        records = self._codec.encode(maps)
        if len(keys) != len(records):
            raise ValueError(f"{len(records)} maps for the shard's {len(keys)} readable images")
        digests = images or [NO_DIGEST] * len(keys)
        parts = zip(map(check_key, keys), map(bytes, records), digests, strict=True)
        return [
            (key, self._codec.compress(record), row_crc32(key, record), image)
            for key, record, image in parts
        ]

    def commit_rows(self, shard: Shard, rows: Sequence[Row], unreadable: dict[str, str]) -> None:
        """Write one whole shard of encoded rows and publish it; like ``commit``.

        Raises:
            ValueError: the rows are not those of the shard's readable images, in order.
            OSError: the disk is full or the folder is gone; committed shards are unaffected.
        """
        keys = [key for key in self.keys[shard.start : shard.stop] if key not in unreadable]
        if [row[0].decode() for row in rows] != keys:
            raise ValueError(f"{len(rows)} rows for the shard's {len(keys)} readable images")
        self._publish_shard(shard, rows, unreadable)
        self._begun(shard).unlink(missing_ok=True)

    def save(self, shard: Shard, begun: BegunShard) -> None:
        """Save the first rows of a shard that is not finished, in place of those saved before.

        Raises:
            OSError: the disk is full or the folder is gone; what was saved before is kept.
        """
        path, plan = self._begun(shard), self._plan_of(shard)
        self._published(lambda: write_begun(path, plan, self.header, self.classes, begun))

    def begun(self, shard: Shard) -> BegunShard:
        """What an earlier run has saved of a shard; fewer images than the shard has, maybe none."""
        keys = self.keys[shard.start : shard.stop]
        plan = self._plan_of(shard)
        return read_begun(self._begun(shard), plan, self.header, self.classes, keys)

    def claim(self, shard: Shard) -> bool:
        """Claim a shard; False if another process that is alive has.

        Raises:
            FileExistsError: another process has joined the shards meanwhile.
            LabelMapError: another process has made a plan for other images.
            OSError: the disk is full or the folder is gone.
        """
        self._require_available()
        self._folder.require_current()
        return self._published(lambda: self.claims.take(shard.name))

    def is_finished(self, shard: Shard) -> bool:
        """Whether a writer has committed a shard."""
        return self._marker(shard) is not None

    def finalize(self, calibration: Calibration | None = None) -> LabelMapFile:
        """Join all shards into the finished file, check it, and remove the shards.

        Args:
            calibration: what pooling is to apply to the mean logits.

        Raises:
            ValueError: the calibration is impossible, or not of such maps.
            LabelMapError: a shard is missing or damaged; a damaged one is removed, to be made
                again. Or another process has made a plan for other images.
            FileExistsError: the file has appeared meanwhile.
        """
        self._require_available()
        self._folder.require_current()
        if calibration:
            calibration.check(len(self.header.maps), len(self.classes) + self.header.other)
        self.require_finished()
        for shard in self.shards:
            self._check_shard(shard)
        self._folder.require_intact(self._plan.kept)
        unreadable: dict[str, str] = {}
        count = key_bytes = record_bytes = 0
        for file in self._open_shards(self.shards):
            unreadable |= file.unreadable
            count += len(file)
            key_bytes += stored_rows(file).key_bytes
            record_bytes += file.record_bytes
        for key, size in chain(self._reused.sizes(), self._kept.sizes()):
            count, key_bytes, record_bytes = count + 1, key_bytes + len(key), record_bytes + size
        streams = (*self._made_rows(), self._reused.rows(), *self._kept.streams())
        merged = heapq.merge(*streams, key=itemgetter(0))
        rows = RowStream(merged, count, key_bytes, record_bytes)
        header = msgspec.structs.replace(self.header, calibration=calibration)
        content = FileContent(header, self.classes, rows, unreadable)
        overwrite = self._overwrite
        if not self._published(
            lambda: publish(self.path, content, scratch=self.parts, overwrite=overwrite)
        ):
            self._require_available()
        self.discard()
        return LabelMapFile.open(self.path)

    def require_finished(self) -> None:
        """Raise unless all shards have been committed.

        Raises:
            LabelMapError: some have not; the message says how many.
        """
        missing = self.pending()
        if missing:
            raise LabelMapError(
                f"{self.path}: {len(missing):,} of {counted(len(self.shards), 'shard', 'shards')} "
                "not made yet: make them first, or wait for the processes that do"
            )

    def discard(self) -> None:
        """Remove the shards, which nobody needs any more."""
        remove_shards(self.parts)

    def _publish_shard(self, shard: Shard, rows: Sequence[Row], unreadable: dict[str, str]) -> None:
        target = self._file(shard)
        self._remove_stale(shard, target)
        content = content_of(self.header, self.classes, rows, unreadable)
        self._published(lambda: publish(target, content))
        marker = msgspec.json.encode(Marker(self._plan_of(shard), file_sha256(target)))
        self._published(lambda: publish_file(target.with_suffix(".json"), marker))

    def _follow(self, wanted: Plan, every: Sequence[str], source: Path | None) -> None:
        """Create the folder of shards or join those who write there, and find what is missing."""
        self._require_available()
        self._folder = ShardFolder(self.parts, self.header, self.classes)
        try:
            self._plan = self._folder.claim(wanted, source)
        except OSError as error:
            raise OSError(
                f"cannot write to {self.path.parent}: {error.strerror or error}. Fix the disk and "
                "run the same command again"
            ) from error
        self._plan_digest = self._plan.digest
        self.claims = Claims(self.parts)
        if wanted.retry:  # others see it at work also between two shards
            self.claims.take(f"retry-{os.getpid()}")
        known = self._reused.keys
        left = (key for key in every if key not in known)
        kept = self._folder.paths(self._plan.kept)
        self._kept = KeptRows(kept, left, self._folder.remove_damaged)
        self.kept = len(self._kept.keys)
        known = known.union(self.damaged, self._kept.keys)
        new = [key for key in every if key not in known]
        self.keys = [*new, *(key for key in self.damaged if key not in self._kept.keys)]
        self._new = len(new)
        runs = [range(len(new)), range(len(new), len(self.keys))]
        self.shards = _split(runs, wanted.shard_rows, self._plan.first)

    def _require_available(self) -> None:
        if os.path.lexists(self.path) and not self._overwrite:
            raise FileExistsError(f"{self.path} exists: choose another name, or overwrite it")

    def _published(self, publish: Callable[[], _Published]) -> _Published:
        """Publish a file; if the disk fails, say how much is safe already."""
        try:
            return publish()
        except OSError as error:
            done = len(self.shards) - len(self.pending())
            raise OSError(
                f"cannot write to {self.path.parent}: {error.strerror or error}. "
                f"{done} of {len(self.shards)} shards are kept; fix the disk and run the same "
                "command again"
            ) from error

    def _file(self, shard: Shard) -> Path:
        return self.parts / f"{shard.name}.h5"

    def _begun(self, shard: Shard) -> Path:
        return self.parts / f"{shard.name}{BEGUN}"

    def _marker(self, shard: Shard) -> Marker | None:
        marker = read_marker(self._file(shard).with_suffix(".json"))
        return marker if marker and marker.plan == self._plan_of(shard) else None

    def _plan_of(self, shard: Shard) -> str:
        """What distinguishes a shard's marker from those of other plans or other damaged rows."""
        if shard.start < self._new:
            return self._plan_digest
        keys = self.keys[shard.start : shard.stop]
        return hashlib.sha256("\0".join([self._plan_digest, *keys]).encode()).hexdigest()

    def _check_shard(self, shard: Shard) -> None:
        file = self._file(shard)
        marker = self._marker(shard)
        if marker is None or not self._is_complete(shard, file, marker.sha256):
            self._folder.remove_damaged(file)

    def _remove_stale(self, shard: Shard, target: Path) -> None:
        """Remove what blocks a shard's name: an incomplete shard, or one of another plan."""
        if self._marker(shard) is None:
            target.with_suffix(".json").unlink(missing_ok=True)
        if not self._is_complete(shard, target):
            target.unlink(missing_ok=True)

    def _is_complete(self, shard: Shard, path: Path, sha256: str = "") -> bool:
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

    def _made_rows(self) -> Iterator[Iterator[Row]]:
        """The rows of all shards as two ascending streams: of new images, and of damaged rows."""
        for damaged in (False, True):
            shards = [shard for shard in self.shards if (shard.start >= self._new) == damaged]
            yield (
                row for file in self._open_shards(shards) for row in stored_rows(file).unchecked()
            )

    def _open_shards(self, shards: Sequence[Shard]) -> Iterator[LabelMapFile]:
        for shard in shards:
            with LabelMapFile.open(self._file(shard)) as file:
                yield file


def _split(runs: Sequence[range], shard_rows: int, first: int) -> list[Shard]:
    """The shards of several runs of keys, numbered from ``first``.

    No shard crosses from one run to the next, so that those of new images stay valid if more rows
    are found damaged later.
    """
    parts = [
        run[start : start + shard_rows] for run in runs for start in range(0, len(run), shard_rows)
    ]
    return [Shard(number, part.start, part.stop) for number, part in enumerate(parts, first)]


def _common(made_with: dict[str, Any], reuse: LabelMapFile | None) -> dict[str, Any]:
    """The facts that are also true of the rows copied from ``reuse``."""
    if reuse is None:
        return made_with
    return {name: value for name, value in made_with.items() if reuse.made_with.get(name) == value}

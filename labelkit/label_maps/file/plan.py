"""Which shards a run writes, and which finished shards of an earlier plan it keeps.

``plan.json`` in the folder of shards says what the first run was to write. A later run over more
or fewer images of the same folder adds ``plan-1.json``, and so on: it keeps the rows of shards that
were finished, or begun, whose images are still there, and splits all other images into new shards
with higher numbers. No plan is ever changed, so all processes that write one file agree.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from labelkit.errors import LabelMapError
from labelkit.files import decode_json, file_sha256, publish_file
from labelkit.label_maps.file.begun import BEGUN
from labelkit.label_maps.file.claims import Claims
from labelkit.label_maps.file.kept_rows import require_same_source
from labelkit.label_maps.file.layout import Header, first_difference
from labelkit.label_maps.file.reader import LabelMapFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList

_NAME = re.compile(r"plan(?:-([0-9]{1,9}))?\.json")


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive keys of the plan, ``start`` to ``stop`` - 1, whose rows one commit writes."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        """The number of images."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """The name of its files, without suffix."""
        return shard_name(self.number)


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
        retry: whether it makes images again that earlier shards, or the reused file, could not
            read. All processes that are to do so share it, so that each image is tried once.
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
    retry: bool = False

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


def last_plan(folder: Path) -> Plan | None:
    """The plan that a folder of shards follows; None if there is none.

    Raises:
        LabelMapError: it is damaged.
        OSError: it cannot be read.
    """
    number, path = max(_plan_files(folder).items(), default=(-1, folder))
    if number < 0:
        return None
    return decode_json(path.read_bytes(), Plan, path, LabelMapError, "remove the folder")


def _plan_files(folder: Path) -> dict[int, Path]:
    """The files of a folder's plans, by number."""
    return {
        int(match[1] or 0): file
        for file in folder.glob("plan*.json")
        if (match := _NAME.fullmatch(file.name))
    }


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

    Attributes:
        number: of the plan that this process follows.
    """

    def __init__(self, path: Path, header: Header, classes: ClassList) -> None:
        self.path, self.number = path, -1
        self._header, self._classes = header, classes

    def claim(self, wanted: Plan, source: Path | None = None) -> Plan:
        """The plan to follow, which is created unless an earlier run or another process did.

        Args:
            wanted: what to write; ``first`` and ``kept`` are filled in here. With ``retry``, a new
                plan is made if shards of the last one record unreadable images, unless processes
                that retry them too are at work.
            source: a folder of shards to take over, this one or another.

        Raises:
            LabelMapError: the folder has shards of other settings, or has lost its plan; ``source``
                has shards of other settings, or none; or processes are at work that do not retry.
            OSError: the disk is full or refuses.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        while True:
            # Before the plan is read: who retries has published a plan before.
            at_work = wanted.retry and any(Claims(self.path).live())
            number, last = self._last(source)
            if last is None:
                kept = self._taken_over(source)
            else:
                self._require_continuable(last, wanted, source)
                same = last.images() == wanted.images() and self._has(last.kept)
                if same and not (wanted.retry and self._is_to_retry(last, at_work=at_work)):
                    self.number = number
                    return last
                self._finish_begun(last)
                kept = tuple(self._intact())
            if kept or number >= 0:
                wanted = msgspec.structs.replace(wanted, first=self._free(last), kept=kept)
            name = f"plan-{number + 1}.json" if number >= 0 else "plan.json"
            publish_file(self.path / name, msgspec.json.encode(wanted))

    def require_current(self) -> None:
        """Raise if another process has made a newer plan, which this one would work against.

        Raises:
            LabelMapError: it has.
        """
        newer = self.path / f"plan-{self.number + 1}.json"
        if newer.exists():
            raise LabelMapError(
                f"another process has begun to make {self.path.stem} from another list of images, "
                "or to retry those that failed: its plan is newer, and keeps the shards that were "
                "finished before. Run the same command again to help it"
            )

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
        plans = _plan_files(self.path)
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

    def _free(self, last: Plan | None) -> int:
        """The first number that no shard has, nor will have if a process goes on with a plan."""
        after = last.first + last.count if last else 0
        return max(after, 1 + max(self._numbers(), default=-1))

    def _finish_begun(self, last: Plan) -> None:
        """Make shards of their own of what is begun, so that the next plan keeps it."""
        for begun in sorted(self.path.glob(f"*{BEGUN}")):
            file = self.path / f"{shard_name(self._free(last))}.h5"
            try:
                with LabelMapFile.open(begun) as shard:
                    shard.check_rows()
                publish_file(file, partial(shutil.copy, begun))
                marker = Marker(last.digest, file_sha256(file))
                publish_file(file.with_suffix(".json"), msgspec.json.encode(marker))
            except (FileNotFoundError, LabelMapError):
                pass  # damaged, or another process was faster
            begun.unlink(missing_ok=True)

    def _is_to_retry(self, last: Plan, *, at_work: bool) -> bool:
        """Whether a plan has failures to retry that no process is retrying now.

        Raises:
            LabelMapError: processes are at work that do not retry.
        """
        if not self._has_unreadable(last):
            return False
        if at_work and not last.retry:
            raise LabelMapError(
                f"other processes are making {self.path.stem} now, without --retry-failed: leave "
                "it out to help them, and retry what failed when they have finished"
            )
        return not at_work

    def _has_unreadable(self, plan: Plan) -> bool:
        """Whether finished shards of a plan record images without a map."""
        for number in sorted(set(self._numbers())):
            (file,) = self.paths([KeptShard(number, "")])
            if number >= plan.first and file.is_file() and file.with_suffix(".json").is_file():
                with LabelMapFile.open(file) as shard:
                    if shard.unreadable:
                        return True
        return False

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

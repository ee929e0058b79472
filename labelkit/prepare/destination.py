"""The output folder: each class is there whole or not at all, whatever happens.

    DST/.labelkit/run.json         the settings; other settings are refused
    DST/.labelkit/journal.jsonl    one line for each finished class
    DST/.labelkit/packed/<class>   images that wait for their shard
    DST/.labelkit/work-<random>/   unfinished classes; the next run removes it

Every few seconds, all data is flushed to the disk, then the finished classes get their lines in the
journal, then their folders are renamed into place. A class that has a line but is not in its place
is made again. Once the manifest is written, ``.labelkit`` is removed.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from labelkit.errors import PrepareError
from labelkit.files import decode_json, replace_file
from labelkit.locks import lock_file, take_lock
from labelkit.prepare.manifest import MANIFEST, load_manifest, made_with, save_manifest
from labelkit.prepare.records import JournalEntry
from labelkit.wording import shown

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from labelkit.prepare.manifest import PrepareManifest
    from labelkit.prepare.settings import PrepareSettings

HIDDEN = ".labelkit"
_SECONDS = 5.0  # between flushes: what a kill costs at most, besides unfinished classes
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REMEDY = "Choose another DST, or remove this one"


class Destination:
    """An output folder that one run writes; made by ``open_destination``.

    Attributes:
        path: the folder.
        work: a folder for unfinished classes: one folder in it for each of ``places``.
        places: where the folders of finished classes go, by name.
        finished: the finished classes, of earlier runs too, by name.
    """

    def __init__(self, path: Path, settings: PrepareSettings) -> None:
        self.path = path
        self.work = path / HIDDEN / f"work-{os.urandom(6).hex()}"
        self.places = {name: path / name for name in settings.splits}
        if settings.shards is not None:
            self.places = {"packed": path / HIDDEN / "packed"}
        self._journal = path / HIDDEN / "journal.jsonl"
        self.finished = self._resume()
        self._waiting: dict[str, JournalEntry] = {}
        self._flushed = time.monotonic()
        for name, place in self.places.items():
            place.mkdir(exist_ok=True)
            (self.work / name).mkdir(parents=True)

    def add(self, entry: JournalEntry) -> None:
        """A class is finished: its images, if any, are in ``work``, below the names of places."""
        self._waiting[entry.record.class_id] = entry
        if time.monotonic() - self._flushed > _SECONDS:
            self.publish()

    def publish(self) -> None:
        """Put all finished classes into their places.

        Raises:
            OSError: the disk is full, or a folder of that name is there already.
        """
        if not self._waiting:
            return
        os.sync()  # once for all: flushing each of a thousand files would take seconds
        with self._journal.open("ab") as file:
            file.writelines(msgspec.json.encode(entry) + b"\n" for entry in self._waiting.values())
            file.flush()
            os.fsync(file.fileno())
        for class_id in list(self._waiting):
            for name, place in self.places.items():
                folder = self.work / name / class_id
                if folder.exists():
                    folder.rename(place / class_id)
            self.finished[class_id] = self._waiting.pop(class_id)
        self._flushed = time.monotonic()

    def complete(self, manifest: PrepareManifest) -> None:
        """Write the manifest, after everything else, and remove what only a resume needs."""
        os.sync()
        save_manifest(manifest, self.path, self.work)
        _remove(self.path / HIDDEN)

    def abandon(self) -> None:
        """Leave the folder as if no run had begun there; nothing may be in its places."""
        for place in self.places.values():
            place.rmdir()
        _remove(self.path / HIDDEN)

    def _resume(self) -> dict[str, JournalEntry]:
        """The classes of the journal that are in their places; what is left of others goes."""
        found = {entry.record.class_id: entry for entry in self._lines()}
        missing = {class_id for class_id, entry in found.items() if not self._in_place(entry)}
        for class_id in missing:
            for place in self.places.values():
                _remove(place / class_id)
            del found[class_id]
        # A line that was cut short must not be continued.
        lines = (msgspec.json.encode(entry) + b"\n" for entry in found.values())
        replace_file(self._journal, b"".join(lines))
        return found

    def _lines(self) -> Iterator[JournalEntry]:
        with suppress(FileNotFoundError), self._journal.open("rb") as lines:
            for line in lines:
                with suppress(msgspec.DecodeError):  # a line that was cut short
                    yield msgspec.json.decode(line, type=JournalEntry)

    def _in_place(self, entry: JournalEntry) -> bool:
        record = entry.record
        empty = set() if record.val else {"val"}
        return bool(record.dropped) or all(
            (place / record.class_id).is_dir()
            for name, place in self.places.items()
            if name not in empty
        )


@contextmanager
def open_destination(path: Path, source: str, settings: PrepareSettings) -> Generator[Destination]:
    """Begin or resume an output. Finished classes are kept, also if the run fails.

    Args:
        path: the folder; it need not exist.
        source: the kind of dump.
        settings: of the run.

    Raises:
        PrepareError: the folder holds something else, or another run's work, or is in use.
        OSError: the disk is full or read-only.
    """
    hidden = path / HIDDEN
    _require_ours(path)
    hidden.mkdir(parents=True, exist_ok=True)
    with _locked(hidden / "lock", path):
        _begin_or_resume(path, hidden / "run.json", source, settings)
        for old in hidden.glob("work-*"):
            _remove(old)
        destination = Destination(path, settings)
        try:
            yield destination
        except BaseException as error:
            with suppress(OSError):
                destination.publish()
            if isinstance(error, OSError) and error.errno in _NO_ROOM and not error.filename:
                error.filename = str(path)  # writing to a file that is open names none
            raise
        finally:
            shutil.rmtree(destination.work, ignore_errors=True)


def finished_manifest(path: Path, source: str, settings: PrepareSettings) -> PrepareManifest | None:
    """The manifest of a finished output; None if there is none yet.

    Raises:
        PrepareError: it was made with other settings; the message names the difference.
    """
    if not (path / MANIFEST).is_file():
        return None
    manifest = load_manifest(path)
    _require_same(path, {"source": manifest.source} | manifest.settings, source, settings)
    _remove(path / HIDDEN)  # of a run that was killed at its end
    return manifest


def _require_ours(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise PrepareError(f"{path} is a file, expected a folder: choose another DST")
    if (path / HIDDEN / "run.json").is_file():
        return
    others = sorted(each.name for each in path.iterdir()) if path.exists() else []
    if found := [name for name in others if name != HIDDEN]:
        raise PrepareError(
            f"{path} is not empty ({found[0]}), and no run of prepare was begun there: choose a "
            "new or an empty folder"
        )


def _begin_or_resume(path: Path, run: Path, source: str, settings: PrepareSettings) -> None:
    """Record the settings, or compare them with those of the run that is resumed."""
    if (path / MANIFEST).is_file():
        raise PrepareError(f"another run has just finished {path}: run again to see its result")
    made = made_with() | {"source": source} | settings.fields()
    if not run.is_file():
        replace_file(run, msgspec.json.format(msgspec.json.encode(made)) + b"\n")
        return
    begun = decode_json(run.read_bytes(), dict[str, Any], run, PrepareError, _REMEDY.lower())
    _require_same(path, begun, source, settings, **made_with())


def _require_same(
    path: Path, made: dict[str, Any], source: str, settings: PrepareSettings, **versions: str
) -> None:
    """Raise if an output was made or begun with other settings."""
    wanted = versions | {"source": source} | settings.fields()
    different = [name for name in wanted if made.get(name) != wanted[name]]
    if different:
        listed = "; ".join(
            f"{name} is {shown(made.get(name))} there, {shown(wanted[name])} here"
            for name in different
        )
        raise PrepareError(f"{path} was begun with other settings: {listed}. {_REMEDY}")


@contextmanager
def _locked(path: Path, destination: Path) -> Generator[None]:
    """Hold a lock that ends with this process, however it ends."""
    with lock_file(path) as descriptor:
        if not take_lock(descriptor):
            raise PrepareError(
                f"{destination} is in use by another run: wait for it, or choose another DST"
            )
        yield


def _remove(folder: Path) -> None:
    """Remove a folder, in which a killed run's last worker may still write a file."""
    for attempt in range(5):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt == 4:
                raise
            time.sleep(0.1)

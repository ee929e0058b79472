"""Encode and write the maps of shards in a thread, beside the batches that follow."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labelkit.label_maps import BegunShard, LabelMaps

if TYPE_CHECKING:
    from labelkit.label_maps import LabelMapWriter, Row, Shard
    from labelkit.relabel.maps import ComputedMaps
    from labelkit.relabel.stages import Stages

_WAITING = 4  # batches between the device and the thread
_AT_ONCE = 256  # maps that are encoded together, which is several times as fast as one by one
_PATIENCE = 0.2


@dataclass(frozen=True)
class Receipt:
    """A shard that was committed.

    Attributes:
        shard: its number.
        images: with a label map.
        unreadable: without one, key -> reason.
        continued: how many of both were saved by an earlier run.
    """

    shard: int
    images: int
    unreadable: dict[str, str]
    continued: int

    @property
    def processed(self) -> int:
        """How many images this run processed, readable or not."""
        return self.images + len(self.unreadable) - self.continued


@dataclass(frozen=True)
class Part:
    """A batch of a shard.

    Attributes:
        shard: which one.
        size: how many images, readable or not.
        maps: of the readable ones; None if there are none.
        unreadable: the others, key -> reason.
    """

    shard: Shard
    size: int
    maps: ComputedMaps | None
    unreadable: dict[str, str]


@dataclass
class _Open:
    """The shard whose batches arrive."""

    shard: Shard
    begun: BegunShard
    continued: int
    keys: list[str] = field(default_factory=list[str])
    digests: list[bytes] = field(default_factory=list[bytes])
    maps: list[list[LabelMaps]] = field(default_factory=list[list[LabelMaps]])

    @property
    def done(self) -> int:
        """How many images have come, encoded or not."""
        return len(self.begun) + len(self.keys)


class Committer:
    """Writes shards in a thread: each as soon as it is whole, and what there is of it in between.

    Batches come in order, and those of one shard after each other.

    Args:
        writer: of the file.
        stages: where to count the time.
        save_seconds: how long finished maps may wait to be saved.

    Attributes:
        receipts: of the shards that were committed.
    """

    def __init__(self, writer: LabelMapWriter, stages: Stages, save_seconds: float) -> None:
        self.receipts: list[Receipt] = []
        self._writer, self._stages, self._save_seconds = writer, stages, save_seconds
        self._parts: queue.Queue[Part | None] = queue.Queue(_WAITING)
        self._begun: dict[int, BegunShard] = {}
        self._open: _Open | None = None
        self._saved = time.monotonic()
        self._error: BaseException | None = None
        # A second interruption must not wait for it: nothing that it writes is visible half-done.
        self._thread = threading.Thread(target=self._run, name="labelkit-commit", daemon=True)
        self._thread.start()

    def begin(self, shard: Shard, begun: BegunShard) -> None:
        """Announce a shard, and what an earlier run has saved of it."""
        self._begun[shard.number] = begun

    def put(self, part: Part) -> None:
        """Hand a batch over; waits while several are there already.

        Raises:
            OSError, TeacherError, ...: what has ended the thread.
        """
        start = time.perf_counter()
        while not self._offered(part):
            self._require_running()
        self._stages.blocked += time.perf_counter() - start
        self._require_running()

    def finish(self) -> list[Receipt]:
        """Wait until everything is written.

        Raises:
            OSError, TeacherError, ...: what has ended the thread.
        """
        self.stop()
        self._require_running(ended=True)
        return self.receipts

    def stop(self) -> None:
        """Write what was handed over, as far as that is possible, and end the thread."""
        while self._thread.is_alive() and not self._offered(None):
            pass
        while self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def _offered(self, part: Part | None) -> bool:
        try:
            self._parts.put(part, timeout=_PATIENCE)
        except queue.Full:
            return False
        return True

    def _require_running(self, *, ended: bool = False) -> None:
        if not ended and self._thread.is_alive():
            return
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (part := self._next()) is not None:
                self._add(part)
            if self._open is not None:
                self._save(self._open)
        except BaseException as error:  # noqa: BLE001 -- raised in the main thread
            self._error = error

    def _next(self) -> Part | None:
        """The next batch; what is done is saved while none comes."""
        while True:
            try:
                return self._parts.get(timeout=max(self._due(), 0) if self._open else None)
            except queue.Empty:
                if self._open is not None:
                    self._save(self._open)

    def _due(self) -> float:
        """In how many seconds to save."""
        return self._saved + self._save_seconds - time.monotonic()

    def _add(self, part: Part) -> None:
        maps = part.maps.maps() if part.maps else None
        if part.maps:
            self._stages.add_device(part.maps.marks)
        self._stages.images += part.size
        opened = self._opened(part.shard)
        opened.begun.unreadable.update(part.unreadable)
        if part.maps and maps:
            opened.keys += part.maps.keys
            opened.digests += part.maps.digests
            opened.maps.append(maps)
        self._writer.claims.renew()
        if opened.done == len(part.shard):
            self._commit(opened)
        elif self._due() <= 0:
            self._save(opened)
        elif len(opened.keys) >= _AT_ONCE:
            self._encode(opened)

    def _opened(self, shard: Shard) -> _Open:
        if self._open is None or self._open.shard != shard:
            begun = self._begun.pop(shard.number)
            self._open = _Open(shard, begun, len(begun))
            self._saved = time.monotonic()
        return self._open

    def _encode(self, opened: _Open) -> list[Row]:
        start = time.perf_counter()
        if opened.keys:
            maps = [LabelMaps.concatenate(each) for each in zip(*opened.maps, strict=True)]
            opened.begun.rows.extend(self._writer.encode(opened.keys, maps, opened.digests))
            opened.keys, opened.digests, opened.maps = [], [], []
        self._stages.encoding += time.perf_counter() - start
        return opened.begun.rows

    def _save(self, opened: _Open) -> None:
        rows = self._encode(opened)
        start = time.perf_counter()
        if rows or opened.begun.unreadable:
            self._writer.save(opened.shard, opened.begun)
        self._saved = time.monotonic()
        self._stages.writing += time.perf_counter() - start

    def _commit(self, opened: _Open) -> None:
        rows = self._encode(opened)
        start = time.perf_counter()
        shard, unreadable = opened.shard, opened.begun.unreadable
        self._writer.commit_rows(shard, rows, unreadable)
        self._writer.claims.release(shard.name)
        self._open = None
        self.receipts.append(Receipt(shard.number, len(rows), unreadable, opened.continued))
        self._stages.writing += time.perf_counter() - start

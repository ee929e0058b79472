"""Make the maps of whole shards on one device: the unit of work of every engine.

One process at a time makes a shard: it claims it, decodes its images in worker processes, runs the
teacher, encodes and writes in a thread, commits the shard and returns a receipt. The batches of a
shard, and so the last bits of its scores, depend neither on who makes it nor on interruptions.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from labelkit.errors import LabelkitError, first_line, why_stopped
from labelkit.relabel.batches import disk_failed
from labelkit.relabel.committing import Committer, Part, Receipt
from labelkit.relabel.maps import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from labelkit.label_maps import LabelMapWriter, Shard
    from labelkit.relabel.batches import ImageBatch
    from labelkit.relabel.maps import MapMaker
    from labelkit.relabel.stages import Stages
    from labelkit.sources import ImageSource


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards of one file.

    Attributes:
        source: of the images.
        writer: of the file.
        maker: of the maps.
        stages: where to count the time.
        on_done: called with the number of images after every batch, for those that an earlier run
            saved, and for shards that another process has finished.
    """

    source: ImageSource
    writer: LabelMapWriter
    maker: MapMaker
    stages: Stages
    on_done: Callable[[int], None]

    def make(self, shards: Iterable[Shard]) -> list[Receipt]:
        """Make those of some shards that are not finished and that no other process has claimed.

        After an interruption or an error, what was done of a shard is saved; the next process that
        claims it goes on from there.

        Returns:
            A receipt for each shard that this call has committed.

        Raises:
            DatasetError: the disk with the images fails.
            TeacherError: a score is not finite.
            OSError: the disk with the shards fails; those that are committed are kept.
            LabelkitError: a worker was killed or failed to return a batch, or memory ran out.
        """
        committer = Committer(self.writer, self.stages, self.maker.settings.save_seconds)
        try:
            self._feed(_Claimed(self, shards, committer), committer)
            return committer.finish()
        except RuntimeError as error:
            # A killed worker raises from a signal handler; a full GPU in the forward pass.
            raise stopped(error) from error
        finally:
            committer.stop()
            self.writer.claims.release_all()

    def _feed(self, claimed: _Claimed, committer: Committer) -> None:
        """Run the teacher on every batch."""
        first = next(claimed, None)
        batches = iter(())
        if first is not None:
            positions = chain([first], claimed)
            batches = self.maker.batches(self.source, self.writer.keys, positions)
        while (batch := self._next(batches)) is not None:
            maps = self.maker.begin(batch) if batch.keys else None
            shard = claimed.shards.popleft()
            committer.put(Part(shard, len(batch), maps, batch.unreadable))
            self.on_done(len(batch))
        claimed.require_no_error()

    def _next(self, batches: Iterator[ImageBatch]) -> ImageBatch | None:
        """The next batch; a lost worker or a failing disk ends the run."""
        start = time.perf_counter()
        try:
            batch = next(batches, None)
        except (ConnectionError, EOFError) as error:
            raise stopped(error) from error
        except OSError as error:
            # Workers report the errors of their disk; this one is from the channel to them.
            raise _worker_failed(first_line(error)) from error
        self.stages.waiting += time.perf_counter() - start
        if batch is not None and batch.worker_error:
            raise _worker_failed(batch.worker_error)
        if batch is not None and batch.disk_error:
            remedy = "Finished shards are kept: restore what is missing, or leave it out,"
            raise disk_failed(batch.disk_error, remedy)
        return batch


class _Claimed:
    """The batches of shards, each of which is claimed just before its first batch is asked for.

    Attributes:
        shards: the shard of every batch that was asked for and has not been made.
    """

    def __init__(self, maker: ShardMaker, shards: Iterable[Shard], committer: Committer) -> None:
        self.shards: deque[Shard] = deque()
        self._maker, self._committer = maker, committer
        self._error: OSError | None = None
        self._batches = self._all_batches(shards)

    def __iter__(self) -> Iterator[range]:
        return self._batches

    def __next__(self) -> range:
        return next(self._batches)

    def require_no_error(self) -> None:
        """Raise what has ended the batches: a data loader takes errors for those of its workers."""
        if self._error is not None:
            raise self._error

    def _all_batches(self, shards: Iterable[Shard]) -> Iterator[range]:
        size = self._maker.maker.settings.batch_size
        try:
            for shard in shards:
                if self._take(shard):
                    done = self._continue(shard)
                    for batch in steps(range(shard.start + done, shard.stop), size):
                        self.shards.append(shard)
                        yield batch
        except OSError as error:
            self._error = error

    def _take(self, shard: Shard) -> bool:
        """Claim a shard, unless it is finished or another process has."""
        writer = self._maker.writer
        if not writer.is_finished(shard):
            if not writer.claim(shard):
                return False
            if not writer.is_finished(shard):
                return True
            writer.claims.release(shard.name)
        self._maker.on_done(len(shard))
        return False

    def _continue(self, shard: Shard) -> int:
        """How many images of a claimed shard were saved before."""
        begun = self._maker.writer.begun(shard)
        self._committer.begin(shard, begun)
        if begun:
            self._maker.on_done(len(begun))
        return len(begun)


def stopped(error: BaseException) -> LabelkitError:
    """The error for a run that a killed worker or a lack of memory has ended."""
    return LabelkitError(
        f"relabel stopped: {why_stopped(error)}. Finished shards are kept: run the same command "
        "again; if memory was short, with --workers 0 or a smaller --batch-size"
    )


def _worker_failed(reason: str) -> LabelkitError:
    return LabelkitError(
        f"relabel stopped: a data-loading worker failed to return a batch ({reason}). Finished "
        "shards are kept: run the same command again with --workers 0, or first fix the cause, "
        "such as a limit on file sizes or open files (ulimit -f, ulimit -n), full shared memory "
        "(/dev/shm), or too little memory"
    )

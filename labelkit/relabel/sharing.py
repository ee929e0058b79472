"""Share the shards of one file with other processes, on this machine or on others."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelkit.label_maps import LabelMapWriter, Shard
    from labelkit.relabel.committing import Receipt
    from labelkit.relabel.shards import ShardMaker

    OnProgress = Callable[[int, int], None]

_POLL = 0.5
_JOINING = "join"


@dataclass(frozen=True)
class Share:
    """This process among those that write one file.

    Each begins at its own place among the shards, then helps with what is left: any number of
    processes of any speed finish together, and what one leaves undone the others do.

    Attributes:
        index: its number, from 0.
        count: how many there are.

    Raises:
        ValueError: no such process.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"process {self.index} of {self.count}: expected 0 to {self.count - 1}"
            )

    def order(self, shards: Sequence[Shard]) -> list[Shard]:
        """Shards in the order in which this process makes them.

        >>> Share(1, 3).order(range(7))
        [2, 3, 4, 5, 6, 0, 1]
        """
        start = len(shards) * self.index // self.count
        return [*shards[start:], *shards[:start]]


class Tally:
    """Counts the images that are done, by this process and by others.

    Args:
        writer: of the file.
        on_progress: called with (images done, images in total).
    """

    def __init__(self, writer: LabelMapWriter, on_progress: OnProgress) -> None:
        self._total = len(writer.keys)
        self._done = 0
        self._on_progress = on_progress

    def begin(self, left: Sequence[Shard]) -> None:
        """Set what is left."""
        self._done = self._total - sum(map(len, left))

    def add(self, images: int) -> None:
        """Count images that are done."""
        self._done += images
        self._on_progress(self._done, self._total)


def make_share(
    maker: ShardMaker,
    tally: Tally,
    share: Share,
    on_waiting: Callable[[int], None] | None = None,
    *,
    wait: bool = True,
) -> list[Receipt]:
    """Make all shards of a file that are not finished, together with other processes.

    Args:
        maker: of the shards.
        tally: counts the images.
        share: where to begin.
        on_waiting: called with how many shards other processes still make, when there is nothing
            else left.
        wait: until those are finished, and take over what a process leaves undone.

    Returns:
        A receipt for each shard that this process has committed.

    Raises:
        LabelkitError, OSError: as ``ShardMaker.make``.
    """
    receipts: list[Receipt] = []
    maker.stages.start()
    left = share.order(maker.writer.pending())
    while left:
        tally.begin(left)
        receipts += maker.make(left)
        left = [shard for shard in left if not maker.writer.is_finished(shard)]
        if not wait:
            break
        if left and on_waiting:
            on_waiting(len(left))
        _wait_for_any(maker.writer, left)
    maker.stages.end()
    return receipts


def claim_joining(writer: LabelMapWriter, on_waiting: Callable[[int], None] | None = None) -> None:
    """Wait until this process is the one that joins the shards.

    Raises:
        OSError: another one has joined them, and removed the folder.
    """
    if writer.claims.take(_JOINING):
        return
    if on_waiting:
        on_waiting(0)
    while not writer.claims.take(_JOINING):
        time.sleep(_POLL)


def _wait_for_any(writer: LabelMapWriter, shards: Sequence[Shard]) -> None:
    """Wait until one of some shards is finished, or its owner has let go of it."""
    names = {shard.name for shard in shards}
    while names and names <= set(writer.claims.live()):
        if any(map(writer.is_finished, shards)):
            return
        time.sleep(_POLL)

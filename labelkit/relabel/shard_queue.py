"""Which shards to hand out next, which others make, and which were lost how often."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from labelkit.errors import LabelkitError
from labelkit.label_maps import LabelMapFile
from labelkit.relabel.committing import Receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.label_maps import LabelMapWriter, Shard

_SECONDS = 60.0  # of work that is handed out at once, so that starting it costs nothing
_MOST_LOSSES = 3
_PATIENCE = 2.0


class ShardQueue:
    """The shards of one file that are not finished. The shards on disk decide, not messages.

    Args:
        writer: of the file.

    Attributes:
        left: the shards that are not finished, by number.
    """

    def __init__(self, writer: LabelMapWriter) -> None:
        self.left = {shard.number: shard for shard in writer.pending()}
        self._held: list[Shard] = []  # which other runs make
        self._writer = writer
        self._waiting = deque(self.left.values())
        self._losses: Counter[str] = Counter()
        self._checked = time.monotonic()

    def take(self, rate: float, takers: int) -> list[Shard]:
        """Shards to make now: about a minute's, fewer towards the end, none if none are left.

        One that was lost before is handed out alone, so that a further loss is its own.

        Args:
            rate: images per second of who takes them; 0 if that is not known.
            takers: how many take shards.
        """
        if not self._waiting:
            return []
        taken = [self._waiting.popleft()]
        if self._losses[taken[0].name]:
            return taken
        fair = (len(self._waiting) + 1) // (2 * takers)
        most = min(fair, int(rate * _SECONDS / len(taken[0])))
        while len(taken) < most and not self._losses[self._waiting[0].name]:
            taken.append(self._waiting.popleft())
        return taken

    def settle(self, shards: Sequence[Shard], receipts: Sequence[Receipt]) -> list[Receipt]:
        """Note that shards were handed back: those that are not finished, another run makes.

        Returns:
            The receipts; what a lost actor had saved of a shard counts as made by this run.
        """
        for shard in shards:
            if self._writer.is_finished(shard):
                self.left.pop(shard.number, None)
            else:
                self._held.append(shard)
        lost = {shard.number for shard in shards if shard.name in self._losses}
        return [replace(each, continued=0) if each.shard in lost else each for each in receipts]

    def lose(self, shards: Sequence[Shard], claimed: Sequence[str], reason: str) -> list[Receipt]:
        """Take back shards from an actor that has died.

        Args:
            shards: that it was given.
            claimed: the names of those that it was making.
            reason: of its death.

        Returns:
            A receipt for each that is finished all the same.

        Raises:
            LabelkitError: a shard was lost too often.
        """
        made = [shard for shard in shards if self._writer.is_finished(shard)]
        for shard in made:
            self.left.pop(shard.number, None)
        lost = [shard for shard in shards if shard not in made]
        self._waiting.extendleft(reversed(lost))
        # One that ends by itself lets go of its claims; shards are made in order.
        blamed = claimed or [shard.name for shard in lost[:1]]
        for shard in lost:
            self._losses[shard.name] += shard.name in blamed
            if self._losses[shard.name] >= _MOST_LOSSES:
                raise LabelkitError(self._lost_too_often(shard, reason))
        return list(map(self._receipt, made))

    def look_at_held(self) -> int:
        """See now and then which shards other runs have finished, and hand out what they left.

        Returns:
            How many they still make.
        """
        if self._held and time.monotonic() > self._checked + _PATIENCE:
            self._checked = time.monotonic()
            live = set(self._writer.claims.live())
            held, self._held = self._held, []
            for shard in held:
                if self._writer.is_finished(shard):
                    del self.left[shard.number]
                elif shard.name in live:
                    self._held.append(shard)
                else:
                    self._waiting.append(shard)
        return len(self._held)

    def _receipt(self, shard: Shard) -> Receipt:
        """What the receipt of a finished shard says, from its file."""
        with LabelMapFile.open(self._writer.parts / f"{shard.name}.h5") as file:
            return Receipt(shard.number, len(file), file.unreadable, continued=0)

    def _lost_too_often(self, shard: Shard, reason: str) -> str:
        first, last = (self._writer.keys[place] for place in (shard.start, shard.stop - 1))
        return (
            f"relabel stopped: {_MOST_LOSSES} actors have died at shard {shard.name}, {first!r} to "
            f"{last!r}; the last one: {reason}. Finished shards are kept. Try these images alone, "
            "in a folder of their own; if memory was short, use --workers 0, a smaller "
            "--batch-size or more --cpus-per-actor"
        )

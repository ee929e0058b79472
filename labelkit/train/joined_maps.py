"""Several data sets with label maps as one."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from labelkit.data import LabelMapDataset


class JoinedMaps(Dataset[tuple[Any, Any]]):
    """Data sets with label maps, one after the other.

    Like ``LabelMapDataset`` it makes the targets of a batch together (``draw``, ``complete``).

    Args:
        parts: data sets over the same classes.
    """

    def __init__(self, parts: Sequence[LabelMapDataset]) -> None:
        self.parts = parts
        self.classes = parts[0].classes
        self.keys = [key for part in parts for key in part.keys]
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, position: int) -> tuple[Tensor, Any]:
        return self.complete([self.draw(position)])[0]

    def draw(self, position: int) -> tuple[int, Any]:
        """One random crop of an image, with the number of its part."""
        number = bisect_right(self._ends, position)
        start = self._ends[number - 1] if number else 0
        return number, self.parts[number].draw(position - start)

    def complete(self, crops: Sequence[tuple[int, Any]]) -> list[tuple[Tensor, Any]]:
        """The samples of some crops, in their order."""
        samples: dict[int, tuple[Tensor, Any]] = {}
        for number, part in enumerate(self.parts):
            chosen = [at for at, (of_part, _) in enumerate(crops) if of_part == number]
            made = part.complete([crops[at][1] for at in chosen])
            samples.update(zip(chosen, made, strict=True))
        return [samples[at] for at in range(len(crops))]

"""What all label maps of one kind have in common.

Legend: K entries per cell, H W grid, C classes, M classes and P patterns of a background.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec


class MapForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all maps of one kind in a file have in common.

    Attributes:
        selection: ``cell`` keeps the K strongest classes of every cell, as published; ``image``
            the K strongest of the image, in all cells.
        top_k: K.
        grid: rows and columns, (H, W).
        scores: how the file stores a logit; ``uint8`` is a step of 1/255 of the image's own range.
        background: M, classes of the background; 0 for maps without one, where all classes that a
            cell does not store count as logit 0, as published.
        patterns: P, how many patterns over the grid the background's classes share.
        log_sum_exp: whether each cell keeps the log of the sum of exponentials of all its logits.
        zoom: the side that the image was shown at, over the side that the teacher was trained at;
            0 if that is not known.
    """

    selection: Literal["cell", "image"] = "cell"
    top_k: int
    grid: tuple[int, int]
    scores: Literal["uint8", "float16", "float32"] = "uint8"
    background: int = 0
    patterns: int = 0
    log_sum_exp: bool = False
    zoom: float = 0.0

    def check(self, num_classes: int) -> None:
        """Raise unless maps of this form can be of ``num_classes`` classes.

        Raises:
            ValueError: a number that is out of range; the message names it.
        """
        if not 1 <= self.top_k <= num_classes:
            raise ValueError(f"top_k={self.top_k} is not between 1 and {num_classes} classes")
        if min(self.grid) < 1:
            raise ValueError(f"a grid of {self.grid[0]}x{self.grid[1]} cells holds nothing")
        free = num_classes - self.top_k if self.selection == "image" else num_classes
        if not 0 <= self.background <= free:
            raise ValueError(f"background={self.background} is not between 0 and {free} classes")
        most = self.background if self.selection == "image" else 0
        if not 0 <= self.patterns <= most:
            raise ValueError(f"patterns={self.patterns} is not between 0 and {most}")
        if not 0 <= self.zoom < math.inf:
            raise ValueError(f"zoom={self.zoom} is no ratio of two sides")

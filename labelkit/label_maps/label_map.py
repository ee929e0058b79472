"""One image's label map, and the sparse target that pooling makes of it.

Legend: K entries per cell, H W grid, C classes, M classes of a background, E entries of a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Background:
    """What stands in the cells that do not store a class: its mean logit there.

    For N images at once each array has one more axis in front.

    Attributes:
        classes: class indices (M,), ascending and distinct.
        logits: the mean logit (M,) of each over the cells where it is not stored, float32.
        rest: the mean logit of all other classes where they are not stored.
    """

    classes: NDArray[np.integer]
    logits: NDArray[np.float32]
    rest: NDArray[np.float32] | float

    def fill(self, num_classes: int) -> NDArray[np.float32]:
        """The logit that stands for each class where it is not stored: (C,), one image."""
        fill = np.full(num_classes, self.rest, np.float32)
        fill[self.classes] = self.logits
        return fill


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The K strongest classes of every grid cell, with their logits.

    Attributes:
        index: class indices (K, H, W), unsigned integers; strongest first, distinct in a cell.
        score: their logits (K, H, W), float32.
        background: what classes have where they are not stored; None is 0, as published.

    Raises:
        ValueError: the two arrays do not have one shape (K, H, W).
    """

    index: NDArray[np.unsignedinteger]
    score: NDArray[np.float32]
    background: Background | None = None

    def __post_init__(self) -> None:
        if self.index.ndim != 3 or self.index.shape != self.score.shape:
            raise ValueError(
                f"index and score must share one shape (K, H, W), got {self.index.shape} "
                f"and {self.score.shape}"
            )

    @property
    def top_k(self) -> int:
        """Entries per cell, K."""
        return self.index.shape[0]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns, (H, W)."""
        return self.index.shape[1], self.index.shape[2]

    def dense(self, num_classes: int) -> NDArray[np.float32]:
        """All logits (C, H, W), with the background where nothing is stored.

        For pictures and tests; pooling does not need it.
        """
        dense = np.zeros((num_classes, *self.grid), np.float32)
        if self.background is not None:
            dense += self.background.fill(num_classes)[:, None, None]
        np.put_along_axis(dense, self.index.astype(np.intp), self.score, axis=0)
        return dense

    def classes_by_area(self) -> list[tuple[int, float]]:
        """Classes that are strongest in some cell, with their share of the grid, largest first."""
        classes, counts = np.unique(self.index[0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(classes[i]), float(counts[i] / counts.sum())) for i in order]


@dataclass(frozen=True, eq=False)
class SparseTarget:
    """Logits of a few classes and the one logit that all others share.

    Attributes:
        classes: class indices (E,), ascending and distinct.
        logits: their logits (E,), float32.
        background: the logit of every class that is not listed.
    """

    classes: NDArray[np.intp]
    logits: NDArray[np.float32]
    background: float = 0.0

    def dense(self, num_classes: int) -> NDArray[np.float32]:
        """All logits (C,), float32.

        Raises:
            ValueError: a listed class does not exist among ``num_classes``.
        """
        if self.classes.size and int(self.classes[-1]) >= num_classes:
            raise ValueError(f"class {self.classes[-1]} is not one of {num_classes} classes")
        dense = np.full(num_classes, self.background, np.float32)
        dense[self.classes] = self.logits
        return dense

    def probabilities(self, num_classes: int) -> NDArray[np.float32]:
        """Softmax over all classes (C,), float32; sums to one.

        Raises:
            ValueError: a listed class does not exist among ``num_classes``.
        """
        logits = self.dense(num_classes)
        exponentials = np.exp(logits - logits.max())
        return exponentials / exponentials.sum()

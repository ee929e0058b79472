"""The sparse target that pooling makes of a label map.

Legend: E entries, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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

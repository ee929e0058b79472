"""How probable each class is in each cell of an image.

A class's presence in a cell is its probability there: the softmax over all classes, where classes
that the cell does not store have the background's logit or logit 0, as in
``labelkit.label_maps.pool`` of a crop of just that cell without calibration. So where the teacher
is certain of nothing, every presence is low, however the weak classes compare. A file's calibration
is fitted to crops of at least 8 % of an image; with it, almost all cells would be pale.

Legend: K entries per cell, H W grid, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.label_maps import LabelMap


@dataclass(frozen=True, slots=True)
class ClassShare:
    """A class and how much of the image it covers.

    Attributes:
        class_index: its position in the class list.
        presence: mean presence over the grid, 0 to 1; the sum over all classes is at most 1.
        area: the share of cells in which no other class is stronger, 0 to 1.
    """

    class_index: int
    presence: float
    area: float


def stored_presence(label_map: LabelMap, num_classes: int) -> NDArray[np.float64]:
    """The presence of every stored entry: (K, H, W), at most 1 in total per cell.

    Raises:
        ValueError: the map has more entries per cell than there are classes.
    """
    absent = num_classes - label_map.top_k
    if absent < 0:
        raise ValueError(f"{label_map.top_k} entries per cell, but only {num_classes} classes")
    score = label_map.score.astype(np.float64)
    if label_map.background is None:
        highest = np.maximum(score.max(axis=0), 0.0)
        others = absent * np.exp(-highest)
    else:
        fill = label_map.background.dense(num_classes, label_map.grid).astype(np.float64)
        np.put_along_axis(fill, label_map.index.astype(np.intp), -np.inf, axis=0)
        highest = np.maximum(score.max(axis=0), fill.max(axis=0))
        others = np.exp(fill - highest).sum(axis=0)
    exponentials = np.exp(score - highest)
    return exponentials / (exponentials.sum(axis=0) + others)


def presence_of(label_map: LabelMap, class_index: int, num_classes: int) -> NDArray[np.float64]:
    """One class's presence in every cell, 0 where it is not stored: (H, W).

    Raises:
        ValueError: the map has more entries per cell than there are classes.
    """
    entries = stored_presence(label_map, num_classes)
    return np.where(label_map.index == class_index, entries, 0.0).sum(axis=0)


def class_shares(label_map: LabelMap, num_classes: int) -> list[ClassShare]:
    """Every class that is stored in any cell, the most present first.

    Raises:
        ValueError: the map has more entries per cell than there are classes.
    """
    cells = label_map.grid[0] * label_map.grid[1]
    entries = stored_presence(label_map, num_classes)
    classes, position = np.unique(label_map.index, return_inverse=True)
    mean = np.bincount(position.ravel(), entries.ravel(), len(classes)) / cells
    area = dict(label_map.classes_by_area())
    order = np.argsort(-mean, kind="stable").tolist()
    found = classes.tolist()
    return [ClassShare(found[at], float(mean[at]), area.get(found[at], 0.0)) for at in order]

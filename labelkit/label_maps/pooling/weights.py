"""The weight of each cell of one axis in RoIAlign's means over an interval of that axis.

RoIAlign is separable: the weight of a cell is the weight of its row times that of its column.
Everything is computed in float32 and in RoIAlign's own order, since the number of sampling points
jumps where a width in cells crosses an integer, and a point stops counting where it crosses the
border one cell outside the grid.

Source: He et al. 2017 (Mask R-CNN, arXiv 1703.06870), section 3; torchvision.ops.roi_align.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_POINTS = 2**24  # above this, float32 cannot represent every integer
MARGIN = 8  # extra points on either side of the grid, for float32 rounding
_MANY = 64
_HALF = np.float32(0.5)


def axis_weights(start: float, stop: float, cells: int, bins: int = 1) -> NDArray[np.float32]:
    """The weight of each cell in the mean over each of the equal bins of [start, stop].

    An interval narrower than a cell is widened to one cell, and a bin is sampled at one point per
    cell of its width, rounded up, as published. Points lie in the middle of equal parts of a bin
    and are interpolated between the two nearest cell centres. Points more than a cell outside
    contribute nothing, so the weights sum to less than 1 there.

    Args:
        start: where the interval begins, as a fraction of the axis; below ``stop``.
        stop: where it ends.
        cells: of the axis.
        bins: number of means.

    Returns:
        Weights (bins, cells), float32. All zero for an interval so wide that float32 cannot
        distinguish its points.
    """
    if not (stop - start) * cells < MOST_POINTS:
        return np.zeros((bins, cells), np.float32)
    scale = np.float32(cells)
    first = np.float32(start) * scale - _HALF
    width = np.float32(stop) * scale - _HALF - first
    if width < 1:
        width = np.float32(1)
    step = width / np.float32(bins) if bins > 1 else width
    points = int(np.ceil(step))
    origins = first + np.arange(bins, dtype=np.float32)[:, None] * step
    if points <= _MANY:
        middles = _middles(points)
    else:
        per_cell = points / float(step)
        near = min(int((cells + 1) * per_cell) + 2 * MARGIN, points)
        begin = ((-1 - origins) * per_cell).astype(np.intp) - MARGIN
        middles = _middles(near) + begin.clip(0, points - near).astype(np.float32)
    return _mean_share(origins + middles * step / np.float32(points), cells, points)


@lru_cache(maxsize=_MANY)
def _middles(points: int) -> NDArray[np.float32]:
    """0.5, 1.5, ... for that many points."""
    middles = np.arange(points, dtype=np.float32) + _HALF
    middles.flags.writeable = False
    return middles


def _mean_share(position: NDArray[np.floating], cells: int, points: int) -> NDArray[np.float32]:
    """The weights (bins, cells) of sampling points (bins, S), with ``points`` in each bin."""
    last = cells - 1
    inside = None
    if position[0, 0] < 0 or position[-1, -1] > last:
        inside = (position >= -1) & (position <= cells)
        position = np.minimum(np.maximum(position, 0), last)
    distance = np.abs(position[:, :, None] - np.arange(cells, dtype=np.float32))
    share = np.maximum(np.float32(1) - distance, np.float32(0))
    if inside is not None:
        share *= inside[:, :, None]
    return np.asarray(share.sum(axis=1) / np.float32(points), np.float32)

"""How much each cell of one axis counts in RoIAlign's means over an interval of it.

RoIAlign is separable: the weight of a cell of the grid is the product of the weights of its row and
its column. Everything is computed in float32 in RoIAlign's own order, since the number of sampling
points jumps where a width in cells crosses an integer, and a point counts or not where it crosses
the border one cell outside the grid.

Source: He et al. 2017 (Mask R-CNN, arXiv 1703.06870), section 3; torchvision.ops.roi_align.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_POINTS = 2**24  # from here on float32 does not count one by one
MARGIN = 8  # points more than needed on either side of the grid, for what float32 rounds
_MANY = 64
_HALF = np.float32(0.5)


def axis_weights(  # noqa: PLR0913 -- RoIAlign's own options
    start: float,
    stop: float,
    cells: int,
    bins: int = 1,
    *,
    aligned: bool = False,
    sampling: int = 0,
) -> NDArray[np.float32]:
    """The weight of each cell in the mean over each of the equal bins of [start, stop].

    The means are those of points in the middle of equal parts of a bin, each interpolated between
    the two nearest cell centres; points more than a cell outside count as nothing, so that weights
    sum to less than 1.

    Args:
        start: where the interval begins, as a fraction of the axis; below ``stop``.
        stop: where it ends.
        cells: of the axis.
        bins: how many means.
        aligned: False takes an interval for at least one cell wide, as published.
        sampling: points per bin; 0 is one for each cell of width, rounded up.

    Returns:
        Weights (bins, cells), float32. All zero for an interval so wide or so narrow in cells that
        float32 cannot tell its points apart.
    """
    if not (stop - start) * cells < MOST_POINTS:
        return np.zeros((bins, cells), np.float32)
    scale = np.float32(cells)
    first = np.float32(start) * scale - _HALF
    width = np.float32(stop) * scale - _HALF - first
    if not aligned and width < 1:
        width = np.float32(1)
    step = width / np.float32(bins) if bins > 1 else width
    points = sampling or int(np.ceil(step))
    if points == 0:
        return np.zeros((bins, cells), np.float32)
    origins = first + np.arange(bins, dtype=np.float32)[:, None] * step
    if sampling or points <= _MANY:
        middles = _middles(points)
    else:
        per_cell = points / float(step)
        near = min(int((cells + 1) * per_cell) + 2 * MARGIN, points)
        begin = ((-1 - origins) * per_cell).astype(np.intp) - MARGIN
        middles = _middles(near) + begin.clip(0, points - near).astype(np.float32)
    return _mean_share(origins + middles * step / np.float32(points), cells, points)


@lru_cache(maxsize=_MANY)
def _middles(points: int) -> NDArray[np.float32]:
    """0.5, 1.5 ... of as many parts."""
    middles = np.arange(points, dtype=np.float32) + _HALF
    middles.flags.writeable = False
    return middles


def _mean_share(position: NDArray[np.floating], cells: int, points: int) -> NDArray[np.float32]:
    """The weights (bins, cells) of sampling points (bins, some), of ``points`` in each bin."""
    last = cells - 1
    inside = None
    if position[0, 0] < 0 or position[-1, -1] > last:
        inside = (position >= -1) & (position <= cells)
        position = np.minimum(np.maximum(position, 0), last)
    apart = np.abs(position[:, :, None] - np.arange(cells, dtype=np.float32))
    near = np.maximum(np.float32(1) - apart, np.float32(0))
    if inside is not None:
        near *= inside[:, :, None]
    return np.asarray(near.sum(axis=1) / np.float32(points), np.float32)

"""LabelPooling: a label map's mean logits over a crop, without the dense map.

RoIAlign to one cell is linear and separable: the pooled logit of class c is
``sum_ij wy_i wx_j M[c, i, j]`` with one weight vector per axis, so a scatter-add over the K*H*W
stored entries replaces the dense (C, H, W) map.

Legend: K entries per cell, H W grid, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.label_map import Background, LabelMap, SparseTarget

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.geometry import CropBox


def pool(label_map: LabelMap, box: CropBox) -> SparseTarget:
    """Average a label map's logits over a crop, as RoIAlign to 1x1 does.

    Equal to ``torchvision.ops.roi_align(dense, box * grid - 0.5, 1, aligned=False)`` to 1e-5, with
    the map's background (0, if it has none) for classes that a cell does not store. Softmax of the
    result is the training target.

    Args:
        label_map: top-K logits on an (H, W) grid.
        box: the crop, as fractions of the whole image; may reach outside it. A flip does not
            change the mean.

    Returns:
        At most K*H*W + M classes with their logits; all other classes share one.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2; He et al. 2017 (Mask R-CNN), section 3.
    """
    rows, columns = label_map.grid
    weight_y = _axis_weights(box.top, box.bottom, rows)
    weight_x = _axis_weights(box.left, box.right, columns)
    weight = weight_y[:, None] * weight_x
    flat = label_map.index.ravel()
    sums = np.bincount(flat, (label_map.score * weight).ravel())
    if label_map.background is None:
        classes = np.flatnonzero(sums)
        return SparseTarget(classes, sums[classes].astype(np.float32))
    return _over_background(label_map, label_map.background, weight, sums)


def _over_background(
    label_map: LabelMap,
    background: Background,
    weight: NDArray[np.float32],
    sums: NDArray[np.number],
) -> SparseTarget:
    """Each class's stored sum, and its background in what the crop has left.

    Pooling is linear: ``sum_ij w_ij (score or fill) = sum_stored w score + fill (sum w - sum_stored
    w)``. The weights sum to less than 1 where the crop reaches outside the image.
    """
    whole = float(weight.sum(dtype=np.float64))
    highest = max(len(sums), int(background.classes[-1]) + 1 if len(background.classes) else 0)
    covered = np.bincount(
        label_map.index.ravel(), np.broadcast_to(weight, label_map.score.shape).ravel(), highest
    )
    pooled = np.zeros(highest)
    pooled[: len(sums)] = sums
    fill = background.fill(highest)
    pooled += fill * (whole - covered)
    listed = covered > 0
    listed[background.classes] = True
    classes = np.flatnonzero(listed)
    rest = float(background.rest) * whole
    return SparseTarget(classes, pooled[classes].astype(np.float32), rest)


def _axis_weights(start: float, stop: float, cells: int) -> NDArray[np.float32]:
    """The weight of each of ``cells`` cells in the mean over [start, stop] of one axis.

    Follows RoIAlign step by step in float32, since the number of sampling points jumps where the
    width in cells crosses an integer: at least one cell wide, ``ceil(width)`` points in the middle
    of equal bins, linear interpolation between cell centres, and nothing beyond one cell outside.
    """
    scale, half = np.float32(cells), np.float32(0.5)
    first = np.float32(start) * scale - half
    width = max(np.float32(stop) * scale - half - first, np.float32(1.0))
    points = int(np.ceil(width))
    position = first + (np.arange(points, dtype=np.float32) + half) * width / np.float32(points)
    inside = ((position >= -1) & (position <= cells)).astype(np.float32)
    position = np.clip(position, 0, cells - 1)
    low = position.astype(np.intp)
    toward_high = (position - low) * inside
    weights = np.bincount(low, inside - toward_high, cells)
    weights += np.bincount(np.minimum(low + 1, cells - 1), toward_high, cells)
    return (weights / points).astype(np.float32)

"""LabelPooling: a label map's mean logits over a crop, without the dense map.

RoIAlign to one cell is linear and separable: the pooled logit of class c is
``sum_ij wy_i wx_j M[c, i, j]`` with one weight vector per axis, so a scatter-add over the K*H*W
stored entries replaces the dense (C, H, W) map.

Legend: K entries per cell, H W grid, C classes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from labelkit.targets import SparseTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.geometry import CropBox
    from labelkit.label_maps.label_map import Background, LabelMap


_MANY = 16


def pool(label_map: LabelMap, box: CropBox) -> SparseTarget:
    """Average a label map's logits over a crop, as RoIAlign to 1x1 does.

    Equal to ``torchvision.ops.roi_align(dense, box * grid - 0.5, 1, aligned=False)`` but for the
    rounding of its float32 sums (1e-5 on 15x15 cells, 4e-5 on 64x64), with the map's background (0,
    if it has none) for classes that a cell does not store. Softmax of the result is the training
    target.

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
    if label_map.classes is not None:
        return _same_classes(label_map.classes, label_map, weight)
    sums = np.bincount(label_map.index.ravel(), (label_map.score * weight).ravel())
    if label_map.background is None:
        classes = np.flatnonzero(sums)
        return SparseTarget(classes, sums[classes].astype(np.float32))
    return _over_background(label_map, label_map.background, weight, sums)


def pool_by_zoom(maps: Sequence[LabelMap], zooms: Sequence[float], box: CropBox) -> SparseTarget:
    """Pool several maps of one image and mix their logits by how far the crop zooms in.

    A crop of 1/4 of the image, shown at the teacher's own size, is the image shown at twice that
    size: a map of zoom 2 says best what the teacher would say of it. Between two zooms the logits
    are mixed in proportion to the logarithm; beyond the last one, it alone counts.

    Args:
        maps: of one image.
        zooms: the side that the image was shown at for each, over the side that the teacher was
            trained at; positive, ascending.
        box: the crop, as in ``pool``.

    Returns:
        The classes of the one or two maps that count, with their mixed logits.

    Raises:
        ValueError: zooms that are not positive and ascending, or of another number than the maps.
    """
    ascend = all(low < high for low, high in pairwise([0.0, *zooms, math.inf]))
    if not maps or len(zooms) != len(maps) or not ascend:
        raise ValueError(f"zooms {list(zooms)} of {len(maps)} maps: one each, positive, ascending")
    places = np.log(zooms)
    area = max((box.right - box.left) * (box.bottom - box.top), 1e-12)
    position = float(np.interp(-0.5 * math.log(area), places, np.arange(len(places))))
    lower = int(position)
    share = position - lower
    if not share:
        return pool(maps[lower], box)
    return _mixed(pool(maps[lower], box), pool(maps[lower + 1], box), share)


def _same_classes(
    stored: NDArray[np.integer], label_map: LabelMap, weight: NDArray[np.float32]
) -> SparseTarget:
    """All cells store the same classes: a product of a matrix and the weights."""
    flat = weight.ravel()
    sums = label_map.score.reshape(len(stored), -1) @ flat
    background = label_map.background
    if background is None:
        return SparseTarget(stored.astype(np.intp), sums)
    whole = flat.sum()
    behind = background.logits * whole
    if background.coefficients is not None and background.patterns is not None:
        strength = background.patterns.reshape(len(background.patterns), -1) @ flat
        behind += strength @ background.coefficients
    classes = np.concatenate([stored, background.classes]).astype(np.intp)
    order = classes.argsort()
    pooled = np.concatenate([sums, behind])[order]
    return SparseTarget(classes[order], pooled, float(background.rest * whole))


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


def _mixed(first: SparseTarget, second: SparseTarget, share: float) -> SparseTarget:
    """Logits of two targets, ``share`` of them from the second."""
    classes = np.union1d(first.classes, second.classes)
    logits = np.zeros(len(classes), np.float32)
    for target, part in ((first, 1 - share), (second, share)):
        own = np.full(len(classes), target.background, np.float32)
        own[np.searchsorted(classes, target.classes)] = target.logits
        logits += np.float32(part) * own
    rest = (1 - share) * first.background + share * second.background
    return SparseTarget(classes, logits, rest)


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
    if points > _MANY * cells:
        position = _near(float(first), float(width), points, cells)
    else:
        numbers = np.arange(points, dtype=np.float32)
        position = first + (numbers + half) * width / np.float32(points)
    inside = ((position >= -1) & (position <= cells)).astype(np.float32)
    position = np.clip(position, 0, cells - 1)
    low = position.astype(np.intp)
    toward_high = (position - low) * inside
    weights = np.bincount(low, inside - toward_high, cells)
    weights += np.bincount(np.minimum(low + 1, cells - 1), toward_high, cells)
    return (weights / points).astype(np.float32)


def _near(first: float, width: float, points: int, cells: int) -> NDArray[np.float32]:
    """Of the sampling points of a crop far larger than the image, those near the image."""
    step = width / points
    begin = max(int((-1 - first) / step) - 1, 0)
    end = min(int((cells - first) / step) + 2, points)
    numbers = np.arange(begin, max(end, begin), dtype=np.float64)
    return (first + (numbers + 0.5) * step).astype(np.float32)

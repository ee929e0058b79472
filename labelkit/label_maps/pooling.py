"""LabelPooling: a label map's mean logits over a crop, without the dense map.

RoIAlign to one cell is linear and separable: the pooled logit of class c is
``sum_ij wy_i wx_j M[c, i, j]`` with one weight vector per axis, so a scatter-add over the K*H*W
stored entries replaces the dense (C, H, W) map.

Legend: K entries per cell, H W grid, C classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.pooling_options import check_options, check_zooms
from labelkit.label_maps.pooling_tokens import mean_probabilities
from labelkit.label_maps.pooling_weights import axis_weights
from labelkit.targets import SparseLogits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.geometry import CropBox
    from labelkit.label_maps.label_map import Background, LabelMap
    from labelkit.label_maps.pooling_options import Absent, Method


def pool(  # noqa: PLR0913 -- RoIAlign's own options
    label_map: LabelMap,
    box: CropBox,
    *,
    method: Method = "relabel",
    absent: Absent = "background",
    aligned: bool = False,
    sampling: int = 0,
) -> SparseLogits:
    """Average a label map over a crop, as RoIAlign to 1x1 does.

    Equal to ``torchvision.ops.roi_align(dense, box * grid - 0.5, 1, sampling, aligned=aligned)``
    (with ``aligned``, of ``box * grid``) but for the rounding of its float32 sums: 1e-5 on 15x15
    cells, 4e-5 on 64x64. Softmax of the result is the training target.

    Args:
        label_map: top-K logits on an (H, W) grid.
        box: the crop, as fractions of the whole image; may reach outside it. A flip does not
            change the mean.
        method: ``relabel`` averages logits, as published. ``probability`` averages each cell's
            probabilities, so that a cell counts the more the surer the teacher is of it; the
            result's logits are their logarithms, so that its softmax gives the means, scaled to a
            sum of 1. A crop that shows nothing of the image says that all classes are alike.
        absent: what counts for a class in the cells that do not store it: the map's own
            ``background``, which is logit 0 if it has none, or ``zeros``: logit 0, as published,
            and with the method ``probability`` probability 0.
        aligned: False takes a crop for at least one cell wide and high, as published.
        sampling: points per cell and axis; 0 is one for each cell that the crop is wide, rounded
            up, as published.

    Returns:
        At most K*H*W + M classes with their logits; all other classes share one.

    Raises:
        ValueError: the method ``probability`` of a map that does not keep the log-sum-exp of its
            cells; a keyword that does not exist or is negative.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2; He et al. 2017 (Mask R-CNN, arXiv
    1703.06870), section 3.
    """
    check_options(method, absent, sampling)
    rows, columns = label_map.grid
    weight_y = axis_weights(box.top, box.bottom, rows, aligned=aligned, sampling=sampling)
    weight_x = axis_weights(box.left, box.right, columns, aligned=aligned, sampling=sampling)
    if method == "probability":
        token = mean_probabilities(label_map, absent, weight_y, weight_x)
        return SparseLogits(token.classes, token.logits[:, 0, 0], float(token.background[0, 0]))
    weight = weight_y[0, :, None] * weight_x
    background = label_map.background if absent == "background" else None
    if label_map.classes is not None:
        return _same_classes(label_map.classes, label_map.score, background, weight)
    sums = np.bincount(label_map.index.ravel(), (label_map.score * weight).ravel())
    if background is None:
        classes = np.flatnonzero(sums)
        return SparseLogits(classes, sums[classes].astype(np.float32))
    return _over_background(label_map, background, weight, sums)


def pool_by_zoom(  # noqa: PLR0913 -- RoIAlign's own options
    maps: Sequence[LabelMap],
    zooms: Sequence[float],
    box: CropBox,
    *,
    method: Method = "relabel",
    absent: Absent = "background",
    aligned: bool = False,
    sampling: int = 0,
) -> SparseLogits:
    """Pool several maps of one image and mix the results by how far the crop zooms in.

    A crop of 1/4 of the image, shown at the teacher's own size, is the image shown at twice that
    size: a map of zoom 2 says best what the teacher would say of it. Between two zooms the logits
    (with the method ``probability`` the probabilities) are mixed in proportion to the logarithm;
    beyond the last one, it alone counts.

    Args:
        maps: of one image.
        zooms: the side that the image was shown at for each, over the side that the teacher was
            trained at; positive, ascending.
        box: the crop, as in ``pool``.
        method: as in ``pool``.
        absent: as in ``pool``.
        aligned: as in ``pool``.
        sampling: as in ``pool``.

    Returns:
        The classes of the one or two maps that count, with their mixed logits.

    Raises:
        ValueError: zooms that are not positive and ascending, or of another number than the maps;
            and as ``pool``.
    """
    check_zooms(zooms, len(maps))
    places = np.log(zooms)
    area = max((box.right - box.left) * (box.bottom - box.top), 1e-12)
    position = float(np.interp(-0.5 * math.log(area), places, np.arange(len(places))))
    lower = int(position)
    share = position - lower
    near = maps[lower : lower + 2] if share else maps[lower : lower + 1]
    targets = [
        pool(each, box, method=method, absent=absent, aligned=aligned, sampling=sampling)
        for each in near
    ]
    return _mixed(targets[0], targets[-1], share, method) if share else targets[0]


def _same_classes(
    stored: NDArray[np.integer],
    score: NDArray[np.float32],
    background: Background | None,
    weight: NDArray[np.float32],
) -> SparseLogits:
    """All cells store the same classes: a product of a matrix and the weights."""
    flat = weight.ravel()
    sums = score.reshape(len(stored), -1) @ flat
    if background is None:
        return SparseLogits(stored.astype(np.intp), sums)
    whole = flat.sum()
    behind = background.logits * whole
    if background.coefficients is not None and background.patterns is not None:
        strength = background.patterns.reshape(len(background.patterns), -1) @ flat
        behind += strength @ background.coefficients
    classes = np.concatenate([stored, background.classes]).astype(np.intp)
    order = classes.argsort()
    pooled = np.concatenate([sums, behind])[order]
    return SparseLogits(classes[order], pooled, float(background.rest * whole))


def _over_background(
    label_map: LabelMap,
    background: Background,
    weight: NDArray[np.float32],
    sums: NDArray[np.number],
) -> SparseLogits:
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
    return SparseLogits(classes, pooled[classes].astype(np.float32), rest)


def _mixed(first: SparseLogits, second: SparseLogits, share: float, method: Method) -> SparseLogits:
    """Two targets' logits, or the probabilities behind them, ``share`` from the second."""
    classes = np.union1d(first.classes, second.classes)
    rows = np.empty((2, len(classes) + 1))
    for row, target in zip(rows, (first, second), strict=True):
        row[:] = target.background
        row[np.searchsorted(classes, target.classes)] = target.logits
    if method == "relabel":
        mixed = (1 - share) * rows[0] + share * rows[1]
    else:
        mixed = np.logaddexp(rows[0] + math.log(1 - share), rows[1] + math.log(share))
    return SparseLogits(classes, mixed[:-1].astype(np.float32), float(mixed[-1]))

"""LabelPooling: a label map's mean logits over a crop, without the dense map.

RoIAlign to one cell is linear and separable: the pooled logit of class c is
``sum_ij wy_i wx_j M[c, i, j]`` with one weight vector per axis, so a scatter-add over the K*H*W
stored entries replaces the dense (C, H, W) map.

# K entries per cell, E classes that a map names, H W grid, h w parts of a crop, C classes
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.calibration import log_zoom
from labelkit.label_maps.pooling.weights import axis_weights
from labelkit.targets import SparseLogits, TokenLogits, check_pooling_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.geometry import CropBox
    from labelkit.label_maps.calibration import Calibration
    from labelkit.label_maps.label_map import Background, LabelMap, LabelMaps
    from labelkit.targets import Absent, Method


def pool(
    label_map: LabelMap,
    box: CropBox,
    *,
    method: Method = "relabel",
    absent: Absent = "background",
    calibrated: bool = True,
) -> SparseLogits:
    """Average a label map over a crop, as RoIAlign to 1x1 does, and calibrate the result.

    Without calibration, equal to ``torchvision.ops.roi_align(dense, box * grid - 0.5, 1)`` up to
    the rounding of its float32 sums: 1e-5 on 15x15 cells, 4e-5 on 64x64. The softmax of the result
    is the training target. As published, a crop counts as at least one cell wide and high, and is
    sampled at one point per cell of its width, rounded up.

    Args:
        label_map: top-K logits on an (H, W) grid.
        box: the crop, as fractions of the whole image; may extend beyond it. A flip does not
            change the mean.
        method: ``relabel`` averages logits, as published. ``probability`` averages each cell's
            probabilities, which gives more weight to cells where the teacher is confident; the
            result holds their logarithms, so that its softmax gives the means, rescaled to sum to
            1. A crop that shows nothing of the image gives all classes the same probability.
        absent: what a class counts as in the cells that do not store it. ``background`` is the
            map's own background, or logit 0 if it has none. ``zeros`` is logit 0, as published;
            with the method ``probability`` it is probability 0.
        calibrated: apply the calibration of the map's file, if it has one. It is fitted to pooled
            logits over the background, so ``probability`` and ``zeros`` go without.

    Returns:
        At most K*H*W + M classes with their logits, and one logit that all other classes share.

    Raises:
        ValueError: an unknown ``method`` or ``absent``, or the method ``probability`` for a map
            without the log-sum-exp of its cells.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2; He et al. 2017 (Mask R-CNN, arXiv
    1703.06870), section 3.
    """
    check_pooling_options(method, absent)
    pooled = _mean(label_map, box, method, absent)
    calibration = calibration_of(label_map, method, absent) if calibrated else None
    return _calibrated(pooled, calibration, box) if calibration else pooled


def _mean(label_map: LabelMap, box: CropBox, method: Method, absent: Absent) -> SparseLogits:
    """The mean logits over a crop, without calibration."""
    rows, columns = label_map.grid
    weight_y = axis_weights(box.top, box.bottom, rows)
    weight_x = axis_weights(box.left, box.right, columns)
    if method == "probability":
        tokens = mean_probabilities(label_map, absent, weight_y, weight_x)
        return SparseLogits(tokens.classes, tokens.logits[:, 0, 0], float(tokens.rest[0, 0]))
    weight = weight_y[0, :, None] * weight_x
    background = label_map.background if absent == "background" else None
    if label_map.classes is not None:
        return _same_classes(label_map.classes, label_map.score, background, weight)
    sums = np.bincount(label_map.index.ravel(), (label_map.score * weight).ravel())
    if background is None:
        classes = np.flatnonzero(sums)
        return SparseLogits(classes, sums[classes].astype(np.float32))
    return _over_background(label_map, background, weight, sums)


def pool_by_zoom(  # noqa: PLR0913 -- three options of pooling
    maps: Sequence[LabelMap],
    zooms: Sequence[float],
    box: CropBox,
    *,
    method: Method = "relabel",
    absent: Absent = "background",
    calibrated: bool = True,
) -> SparseLogits:
    """Pool several maps of one image and mix the results by how far the crop zooms in.

    A crop of 1/4 of the image, shown at the teacher's native size, is the image shown at twice
    that size, so a map of zoom 2 comes closest to the teacher's prediction for it. A calibrated
    file says how much each map counts (``Calibration``). Without calibration, between two
    zooms the logits (with the method ``probability`` the probabilities) are interpolated in the
    logarithm of the zoom; beyond the first or last zoom that map alone counts.

    Args:
        maps: of one image.
        zooms: for each map the side at which the teacher saw the image, divided by the side at
            which it was trained; positive, ascending.
        box: the crop, as in ``pool``.
        method: as in ``pool``.
        absent: as in ``pool``.
        calibrated: as in ``pool``.

    Returns:
        The classes of the maps that count, with their mixed logits.

    Raises:
        ValueError: zooms that are not positive and ascending, or not one per map; and as ``pool``.
    """
    check_zooms(zooms, len(maps))
    check_pooling_options(method, absent)
    calibration = calibration_of(maps[0], method, absent) if calibrated else None
    if calibration:
        means = [_mean(each, box, method, absent) for each in maps]
        mixed = _weighted_sum(means, calibration.shares(log_zoom(box)))
        return _calibrated(mixed, calibration, box)
    places = np.log(zooms)
    area = max((box.right - box.left) * (box.bottom - box.top), 1e-12)
    position = float(np.interp(-0.5 * math.log(area), places, np.arange(len(places))))
    lower = int(position)
    share = position - lower
    first = _mean(maps[lower], box, method, absent)
    if not share:
        return first
    second = _mean(maps[lower + 1], box, method, absent)
    return _mixed(first, second, share, method)


def calibration_of(
    maps: LabelMap | LabelMaps, method: Method, absent: Absent
) -> Calibration | None:
    """The calibration that applies to maps that are pooled in such a way; None for none."""
    suits = method == "relabel" and (absent == "background" or maps.background is None)
    return maps.calibration if suits else None


def check_zooms(zooms: Sequence[float], map_count: int) -> None:
    """Raise unless there is one zoom per map.

    Raises:
        ValueError: not positive and ascending, not one per map, or none.
    """
    if not map_count or len(zooms) != map_count or not zooms_ascend(zooms):
        raise ValueError(
            f"got zooms {list(zooms)} for {map_count} maps, expected one per map, positive and "
            "ascending"
        )


def zooms_ascend(zooms: Sequence[float]) -> bool:
    """Whether a crop can choose between maps of these zooms: positive, finite and ascending."""
    return all(low < high for low, high in pairwise([0.0, *zooms, math.inf]))


def require_log_sum_exp(log_sum_exp: NDArray[np.floating] | None) -> NDArray[np.floating]:
    """The log-sum-exp of every cell.

    Raises:
        ValueError: there is none.
    """
    if log_sum_exp is None:
        raise ValueError(
            "averaging probabilities needs the log-sum-exp of every cell, which these maps do not "
            "store: relabel with --log-sum-exp, or pool with method='relabel'"
        )
    return log_sum_exp


def mean_probabilities(
    label_map: LabelMap,
    absent: Absent,
    weight_y: NDArray[np.float32],
    weight_x: NDArray[np.float32],
) -> TokenLogits:
    """The logarithms of the mean probabilities under weights (h, H) and (w, W)."""
    lse = require_log_sum_exp(label_map.log_sum_exp).astype(np.float64)
    background = label_map.background if absent == "background" else None
    default = -np.inf if absent == "zeros" else 0.0
    classes, logits, rest = named_logits(label_map, background, default)
    total = np.outer(weight_y.sum(axis=1), weight_x.sum(axis=1))
    outside = total == 0
    total[outside] = 1
    shares = np.concatenate([logits, np.full((1, *lse.shape), rest, np.float32)]) - lse
    highest = max(float(shares.max(initial=-np.inf)), -1e300)
    shares = np.exp(np.subtract(shares, highest, out=shares), out=shares)
    means = weight_y @ shares @ weight_x.T / total
    with np.errstate(divide="ignore"):
        pooled = (np.log(means, out=means) + highest).astype(np.float32)
    pooled[:, outside] = 0
    return TokenLogits(classes, pooled[:-1], pooled[-1])


def named_logits(
    label_map: LabelMap, background: Background | None, default: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], float]:
    """The classes (E,) that a map names, their logits (E, H, W), and that of all other classes.

    Args:
        label_map: the map.
        background: the logits of classes in cells that do not store them.
        default: the logit there, without a background.
    """
    grid = label_map.grid
    stored = label_map.classes
    if stored is None:
        stored, places = np.unique(label_map.index, return_inverse=True)
        places = places.reshape(label_map.index.shape)
    else:
        places = np.broadcast_to(np.arange(len(stored))[:, None, None], label_map.index.shape)
    if background is None:
        logits = np.full((len(stored), *grid), default, np.float32)
        np.put_along_axis(logits, places, label_map.score, axis=0)
        return stored.astype(np.intp), logits, default
    classes = np.union1d(stored, background.classes).astype(np.intp)
    moved = replace(background, classes=np.searchsorted(classes, background.classes))
    logits = moved.dense(len(classes), grid)
    np.put_along_axis(logits, np.searchsorted(classes, stored)[places], label_map.score, axis=0)
    return classes, logits, float(background.rest)


def _same_classes(
    stored: NDArray[np.integer],
    score: NDArray[np.float32],
    background: Background | None,
    weight: NDArray[np.float32],
) -> SparseLogits:
    """All cells store the same classes, so pooling them is one matrix-vector product."""
    flat = weight.ravel()
    sums = score.reshape(len(stored), -1) @ flat
    if background is None:
        return SparseLogits(stored.astype(np.intp), sums)
    total = flat.sum()
    means = background.logits * total
    if background.coefficients is not None and background.patterns is not None:
        strength = background.patterns.reshape(len(background.patterns), -1) @ flat
        means += strength @ background.coefficients
    classes = np.concatenate([stored, background.classes]).astype(np.intp)
    order = classes.argsort()
    pooled = np.concatenate([sums, means])[order]
    return SparseLogits(classes[order], pooled, float(background.rest * total))


def _over_background(
    label_map: LabelMap,
    background: Background,
    weight: NDArray[np.float32],
    sums: NDArray[np.number],
) -> SparseLogits:
    """Each class's stored sum, plus its background in the remaining cells of the crop.

    Pooling is linear: ``sum_ij w_ij (score or fill) = sum_stored w score + fill (sum w - sum_stored
    w)``. The weights sum to less than 1 where the crop extends beyond the image.
    """
    total = float(weight.sum(dtype=np.float64))
    size = max(len(sums), int(background.classes[-1]) + 1 if len(background.classes) else 0)
    covered = np.bincount(
        label_map.index.ravel(), np.broadcast_to(weight, label_map.score.shape).ravel(), size
    )
    pooled = np.zeros(size)
    pooled[: len(sums)] = sums
    pooled += background.fill(size) * (total - covered)
    listed = covered > 0
    listed[background.classes] = True
    classes = np.flatnonzero(listed)
    return SparseLogits(classes, pooled[classes].astype(np.float32), float(background.rest) * total)


def _mixed(first: SparseLogits, second: SparseLogits, share: float, method: Method) -> SparseLogits:
    """Two targets' logits, or the probabilities they stand for, with ``share`` of the second."""
    if method == "relabel":
        return _weighted_sum((first, second), np.array([1 - share, share]))
    classes, rows = _aligned((first, second))
    mixed = np.logaddexp(rows[0] + math.log(1 - share), rows[1] + math.log(share))
    return SparseLogits(classes, mixed[:-1].astype(np.float32), float(mixed[-1]))


def _weighted_sum(targets: Sequence[SparseLogits], weights: NDArray[np.float64]) -> SparseLogits:
    classes, rows = _aligned(targets)
    mixed = weights @ rows
    return SparseLogits(classes, mixed[:-1].astype(np.float32), float(mixed[-1]))


def _aligned(targets: Sequence[SparseLogits]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The classes (E,) that any of F targets lists, and their logits and ``rest`` (F, E + 1)."""
    classes = np.unique(np.concatenate([target.classes for target in targets]))
    rows = np.empty((len(targets), len(classes) + 1))
    for row, target in zip(rows, targets, strict=True):
        row[:] = target.rest
        row[np.searchsorted(classes, target.classes)] = target.logits
    return classes, rows


def _calibrated(pooled: SparseLogits, calibration: Calibration, box: CropBox) -> SparseLogits:
    factor = calibration.factor(pooled.logits, pooled.rest, log_zoom(box))
    logits = (pooled.logits * factor).astype(np.float32, copy=False)
    return SparseLogits(pooled.classes, logits, pooled.rest * factor)

"""LabelPooling of many crops at once, as tensors on any device.

The same sums as ``pool``, one crop per image of a batch, without a loop over images and without
dense maps.

# B batch, F maps per image, E entries, K entries per cell, H W grid, M classes and P patterns of a
# background, C classes, S sampling points
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self, overload

import numpy as np
import torch

from labelkit.label_maps.calibration import Calibration
from labelkit.label_maps.label_map import Background, LabelMaps
from labelkit.label_maps.pooling.crop import calibration_of, check_zooms, require_log_sum_exp
from labelkit.label_maps.pooling.weights import MARGIN, MOST_POINTS
from labelkit.targets import SparseLogitsBatch, SparseProbabilities, check_pooling_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps.label_map import LabelMap
    from labelkit.targets import Absent

# Stored logits exceed their log-sum-exp by rounding only; this keeps those of a wrong file finite.
_HIGHEST = 80.0
_SMALLEST_AREA = 1e-12
_HALF = np.float32(0.5)


class MapBatch(NamedTuple):
    """The label maps of B images as tensors, ready to be pooled.

    The logit that a class has where it is not stored is subtracted once, here. A tuple, which
    pinned memory and data loaders pass along.

    Attributes:
        classes: of every entry (B, E), int64: first those that cells store, E - M = K if all cells
            store the same ones, else K*H*W; then those of the background.
        excess: scores minus the logit that the class has where it is not stored (B, K, H, W),
            float32.
        background: logits of the background's classes, minus ``rest`` (B, M), float32.
        coefficients: how much of each pattern these classes have (B, P, M), float32.
        patterns: (B, P, H, W), float32.
        rest: the logit of all other classes (B,), float32.
        calibration: what pooling applies to the mean logits; None for nothing.
    """

    classes: torch.Tensor
    excess: torch.Tensor
    background: torch.Tensor
    coefficients: torch.Tensor
    patterns: torch.Tensor
    rest: torch.Tensor
    calibration: Calibration | None = None

    @classmethod
    def stack(
        cls,
        maps: Sequence[LabelMap] | LabelMaps,
        *,
        absent: Absent = "background",
        calibrated: bool = True,
    ) -> Self:
        """Stack the label maps of B images, on the CPU.

        Args:
            maps: all of one form; the ``LabelMaps`` of ``LabelMapFile.batch`` are stacked already.
            absent: as in ``pool``.
            calibrated: as in ``pool``.

        Raises:
            ValueError: no maps, maps of several forms, or an unknown ``absent``.
        """
        check_pooling_options("relabel", absent)
        stacked, background, classes = _stacked(maps, absent)
        count, _, *grid = stacked.score.shape
        size = background.classes.shape[1]
        rest = np.asarray(background.rest, np.float32)
        excess = stacked.score - rest[:, None, None, None]
        logits = background.logits - rest[:, None]
        if stacked.index.ndim == 4:
            zeros = np.zeros_like(rest[:, None])
            excess -= _background_of_entries(stacked.index, background.classes, logits, zeros)
        coefficients, patterns = background.coefficients, background.patterns
        if coefficients is None or patterns is None:
            coefficients = np.zeros((count, 0, size), np.float32)
            patterns = np.zeros((count, 0, *grid), np.float32)
        return cls(
            _tensor(classes),
            _tensor(excess.astype(np.float32, copy=False)),
            _tensor(logits),
            _tensor(coefficients),
            _tensor(patterns),
            _tensor(rest),
            calibration_of(stacked, "relabel", absent) if calibrated else None,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same maps on a device."""
        moved = (
            part.to(device, non_blocking=non_blocking) if isinstance(part, torch.Tensor) else part
            for part in self
        )
        return type(self)._make(moved)


class ProbabilityBatch(NamedTuple):
    """The cell-by-cell probabilities of B images' label maps as tensors, ready to be pooled.

    The counterpart of ``MapBatch`` for means of probabilities instead of logits.

    Attributes:
        classes: of every entry (B, E), int64, as in ``MapBatch``.
        excess: probabilities of the entries, minus the probability that the class has where it is
            not stored (B, K, H, W), float32.
        background: probabilities of the background's classes, minus ``rest`` (B, M, H, W), float32.
        rest: the probability of each other class (B, H, W), float32.
    """

    classes: torch.Tensor
    excess: torch.Tensor
    background: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def stack(
        cls,
        maps: Sequence[LabelMap] | LabelMaps,
        *,
        absent: Absent = "background",
        num_classes: int | None = None,
    ) -> Self:
        """Stack the label maps of B images, on the CPU.

        Args:
            maps: all of one form, with the log-sum-exp of their cells.
            absent: as in ``pool`` with the method ``probability``.
            num_classes: C; where the maps name all C, no precision is lost to a probability of
                other classes.

        Raises:
            ValueError: maps without the log-sum-exp, no maps, maps of several forms, or an unknown
                ``absent``.
        """
        check_pooling_options("probability", absent)
        stacked, background, classes = _stacked(maps, absent)
        lse = require_log_sum_exp(stacked.log_sum_exp)[:, None].astype(np.float32, copy=False)
        others = np.asarray(background.rest, np.float32)[:, None]
        named = stacked.index.shape[1] if stacked.index.ndim == 4 else classes.shape[1]
        if absent == "zeros" or named == num_classes:
            others = np.full_like(others, -np.inf)
        rest = _probabilities(others[:, :, None, None], lse)
        fill = rest
        if stacked.index.ndim == 4 and background.classes.size:
            logits = _background_of_entries(
                stacked.index, background.classes, background.logits, others
            )
            fill = _probabilities(logits, lse)
        return cls(
            _tensor(classes),
            _tensor(_probabilities(stacked.score, lse) - fill),
            _tensor(_probabilities(_planes(background, lse.shape[2:]), lse) - rest),
            _tensor(rest[:, 0]),
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same probabilities on a device."""
        return type(self)(*(part.to(device, non_blocking=non_blocking) for part in self))


@overload
def pool_batch(maps: MapBatch, boxes: torch.Tensor) -> SparseLogitsBatch: ...
@overload
def pool_batch(maps: ProbabilityBatch, boxes: torch.Tensor) -> SparseProbabilities: ...
def pool_batch(
    maps: MapBatch | ProbabilityBatch, boxes: torch.Tensor
) -> SparseLogitsBatch | SparseProbabilities:
    """Average each image's map over a crop of it and calibrate the result, as ``pool`` does.

    ``pool_batch(maps, boxes).dense(C).softmax(dim=1)`` are the training targets (B, C). A flip does
    not change them.

    Args:
        maps: of B images: their logits (the method ``relabel``), or their probabilities.
        boxes: crops (B, 4), floats: left, top, right, bottom as fractions of the image, which may
            extend beyond it; left < right and top < bottom, unchecked. On the maps' device.

    Returns:
        Mean logits, E entries per image; a class may be listed more than once. For a
        ``ProbabilityBatch``, mean probabilities, which sum to 1 up to the rounding of the stored
        maps; all are 1 for a crop that shows nothing of the image.

    Raises:
        ValueError: boxes of another shape.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2; He et al. 2017 (Mask R-CNN, arXiv
    1703.06870), section 3.
    """
    count, _, rows, columns = maps.excess.shape
    if boxes.shape != (count, 4):
        raise ValueError(f"boxes have shape {tuple(boxes.shape)}, expected ({count}, 4)")
    weight, total = (part.to(boxes.device) for part in _cell_weights(boxes, (rows, columns)))
    if isinstance(maps, ProbabilityBatch):
        return _mean_probabilities(maps, weight, total)
    pooled = _mean_logits(maps, weight, total)
    if maps.calibration is None:
        return pooled
    listed = maps.classes.shape[1] - maps.background.shape[1]
    # A map of one cell may list a class of the cell in the background too.
    distinct = listed == maps.excess.shape[1] and rows * columns > 1
    return _calibrated(pooled, maps.calibration, _log_zooms(boxes), distinct=distinct)


@overload
def pool_batch_by_zoom(
    maps: Sequence[MapBatch], zooms: Sequence[float], boxes: torch.Tensor
) -> SparseLogitsBatch: ...
@overload
def pool_batch_by_zoom(
    maps: Sequence[ProbabilityBatch], zooms: Sequence[float], boxes: torch.Tensor
) -> SparseProbabilities: ...
def pool_batch_by_zoom(
    maps: Sequence[MapBatch] | Sequence[ProbabilityBatch],
    zooms: Sequence[float],
    boxes: torch.Tensor,
) -> SparseLogitsBatch | SparseProbabilities:
    """Pool several maps of each image and mix them by how far the crop zooms in.

    The same as ``pool_by_zoom``, for a batch.

    Args:
        maps: F of them, each of the same B images; all of logits or all of probabilities.
        zooms: F of them, as in ``pool_by_zoom``.
        boxes: as in ``pool_batch``.

    Returns:
        As ``pool_batch``, with the entries of all F maps.

    Raises:
        ValueError: zooms that are not positive and ascending, or not one per map; and as
            ``pool_batch``.
        TypeError: maps of logits together with maps of probabilities.
    """
    check_zooms(zooms, len(maps))
    kinds = {type(each) for each in maps}
    if len(kinds) > 1:
        raise TypeError("got maps of logits and of probabilities, which cannot be mixed")
    calibration = maps[0].calibration if isinstance(maps[0], MapBatch) else None
    log_zooms = _log_zooms(boxes)
    if calibration:
        plain = [each._replace(calibration=None) for each in maps if isinstance(each, MapBatch)]
        pooled = [pool_batch(each, boxes) for each in plain]
        shares = _calibrated_shares(calibration, log_zooms)
    else:
        pooled = [pool_batch(each, boxes) for each in maps]
        shares = _zoom_shares(boxes.float(), zooms)
    excess = [each.excess * share[:, None] for each, share in zip(pooled, shares, strict=True)]
    rest = torch.stack([each.rest for each in pooled])
    kind = SparseProbabilities if kinds == {ProbabilityBatch} else SparseLogitsBatch
    mixed = kind(
        torch.cat([each.classes for each in pooled], dim=1),
        torch.cat(excess, dim=1),
        (rest * shares).sum(dim=0),
    )
    if calibration and isinstance(mixed, SparseLogitsBatch):
        return _calibrated(mixed, calibration, log_zooms, distinct=False)
    return mixed


def _log_zooms(boxes: torch.Tensor) -> torch.Tensor:
    """The logarithms of the zooms of crops (B, 4), as ``log_zoom``: (B,)."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return (width * height).float().clamp(min=0).sqrt().clamp(Calibration.SMALLEST_ZOOM, 1).log()


def _calibrated_shares(calibration: Calibration, log_zooms: torch.Tensor) -> torch.Tensor:
    """How much each of F maps counts for crops of these zooms (B,): (F, B)."""
    start, slope = log_zooms.new_tensor(calibration.mixing).T[:, :, None]
    return (start + slope * log_zooms).softmax(dim=0)


def _calibrated(
    pooled: SparseLogitsBatch, calibration: Calibration, log_zooms: torch.Tensor, *, distinct: bool
) -> SparseLogitsBatch:
    """Mean logits as ``Calibration`` changes them.

    Args:
        pooled: of B crops.
        calibration: of their file.
        log_zooms: of the crops (B,).
        distinct: whether no class is listed twice.
    """
    excess = pooled.excess
    if not distinct:
        dense = excess.new_zeros(len(excess), calibration.classes)
        excess = dense.scatter_add_(1, pooled.classes, excess)
    mean = excess.sum(dim=1) / calibration.classes
    fourth = (excess - mean[:, None]).square().square().sum(dim=1)
    if others := calibration.classes - excess.shape[1]:
        fourth += others * mean.square().square()
    limits = calibration.SMALLEST_SPREAD**4, calibration.LARGEST_SPREAD**4
    fourth = (fourth / calibration.classes).clamp(*limits)
    start, slope = calibration.scale
    exponent = start + slope * log_zooms - calibration.compression * 0.25 * fourth.log()
    limit = calibration.LARGEST_EXPONENT
    factor = exponent.clamp(-limit, limit).exp()
    return SparseLogitsBatch(pooled.classes, pooled.excess * factor[:, None], pooled.rest * factor)


def _mean_logits(maps: MapBatch, weight: torch.Tensor, total: torch.Tensor) -> SparseLogitsBatch:
    """Sums under weights (B, H*W) that add up to ``total`` (B,)."""
    size = maps.background.shape[1]
    parts = [_entry_sums(maps.excess, weight, maps.classes.shape[1] - size)]
    if size:
        means = maps.background * total[:, None]
        if maps.patterns.shape[1]:
            strength = _sums(maps.patterns, weight)
            means = means + (maps.coefficients * strength[:, :, None]).sum(dim=1)
        parts.append(means)
    return SparseLogitsBatch(maps.classes, torch.cat(parts, dim=1), maps.rest * total)


def _mean_probabilities(
    maps: ProbabilityBatch, weight: torch.Tensor, total: torch.Tensor
) -> SparseProbabilities:
    """Means under weights (B, H*W); only the part of a crop inside the image counts."""
    outside = total == 0
    weight = weight / total.where(~outside, 1)[:, None]
    size = maps.background.shape[1]
    parts = [_entry_sums(maps.excess, weight, maps.classes.shape[1] - size)]
    if size:
        parts.append(_sums(maps.background, weight))
    rest = (maps.rest.flatten(1) * weight).sum(dim=1)
    return SparseProbabilities(maps.classes, torch.cat(parts, dim=1), rest.where(~outside, 1))


def _entry_sums(planes: torch.Tensor, weight: torch.Tensor, listed: int) -> torch.Tensor:
    """What entries (B, K, H, W) add: (B, K) if each plane is one listed class, else (B, K*H*W)."""
    if listed == planes.shape[1]:
        return _sums(planes, weight)
    return (planes.flatten(2) * weight[:, None]).flatten(1)


def _sums(planes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted sums (B, K) of planes (B, K, H, W) under weights (B, H*W).

    Not a matrix product: autocast and TF32 would round it to ten bits or fewer, and for so many
    small ones it takes three times as long.
    """
    return (planes.flatten(2) * weight[:, None]).sum(dim=2)


def _zoom_shares(boxes: torch.Tensor, zooms: Sequence[float]) -> torch.Tensor:
    """How much each of F maps counts for crops (B, 4): (F, B), summing to 1 for each crop."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    wanted = area.clamp(min=_SMALLEST_AREA).log() * -0.5
    places = boxes.new_tensor(zooms).log()
    steps = (wanted - places[:-1, None]) / places.diff()[:, None]
    position = steps.clamp(0, 1).sum(dim=0)
    numbers = torch.arange(len(zooms), device=boxes.device)[:, None]
    return (1 - (position - numbers).abs()).clamp(min=0)


def _cell_weights(boxes: torch.Tensor, grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight of every cell (B, H*W) in the means over crops (B, 4), and their totals (B,).

    In numpy, on the CPU: for so few numbers, launching some 30 kernels takes far longer than
    copying the edges.
    """
    rows, columns = grid
    count = len(boxes)
    start, stop = boxes.float().cpu().numpy().T.reshape(2, 2 * count)  # all x, then all y
    weights = _axis_weights(start, stop, (columns, rows))
    weight_x, weight_y = weights[:count, :columns], weights[count:, :rows]
    weight = weight_y[:, :, None] * weight_x[:, None, :]
    total = weight_y.sum(axis=1) * weight_x.sum(axis=1)
    return torch.from_numpy(weight.reshape(count, -1)), torch.from_numpy(total)


def _axis_weights(
    start: NDArray[np.float32], stop: NDArray[np.float32], cells: tuple[int, int]
) -> NDArray[np.float32]:
    """The weights (2 * B, most cells) of intervals (2 * B,), step by step as in ``axis_weights``.

    The first half of the intervals lies on an axis of ``cells[0]`` cells, the second half on one of
    ``cells[1]``.
    """
    most_cells = max(cells)
    count = np.repeat(np.array(cells, np.float32), len(start) // 2)
    with np.errstate(over="ignore", invalid="ignore"):  # edges up to float32's largest number
        first = start * count - _HALF
        width = np.maximum(stop * count - _HALF - first, 1)
    shown = width < MOST_POINTS
    first, width = np.where(shown, first, 0), np.where(shown, width, 1)
    points = np.ceil(width)
    most_points = int(points.max(initial=1))
    near = min(most_points, 2 * (most_cells + 1 + MARGIN))
    numbers = np.arange(near, dtype=np.float32)[None]
    if near < most_points:  # only the points near the grid
        begin = np.floor((-1 - first) * (points / width)) - MARGIN
        numbers = numbers + np.minimum(begin, points - near).clip(min=0)[:, None]
    first, width, points, last = (each[:, None] for each in (first, width, points, count))
    position = first + (numbers + _HALF) * width / points
    inside = (position >= -1) & (position <= last) & (numbers < points) & shown[:, None]
    position = np.minimum(np.maximum(position, 0), last - 1)
    share = np.abs(position[:, :, None] - np.arange(most_cells, dtype=np.float32))
    np.maximum(np.subtract(1, share, out=share), 0, out=share)
    share *= (inside / points)[:, :, None]
    return share.sum(axis=1)


def _stacked(
    maps: Sequence[LabelMap] | LabelMaps, absent: Absent
) -> tuple[LabelMaps, Background, NDArray[np.int64]]:
    """Stacked maps, the background that counts where they store nothing, all entries' classes."""
    stacked = maps if isinstance(maps, LabelMaps) else LabelMaps.stack(maps)
    background = stacked.background
    if absent == "zeros" or background is None:
        background = _zero_background(len(stacked))
    classes = background.classes.astype(np.int64)
    stored = stacked.index.reshape(len(stacked), -1).astype(np.int64)
    entries = np.concatenate([stored, classes], axis=1)
    return stacked, replace(background, classes=classes), entries


def _probabilities(logits: NDArray[np.floating], lse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (B, K, H, W) of logits under log-sum-exps (B, 1, H, W)."""
    shifted = np.subtract(logits, lse, dtype=np.float32)
    np.minimum(shifted, _HIGHEST, out=shifted)
    return np.exp(shifted, out=shifted)


def _planes(background: Background, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """The logits of the background's classes in every cell: (B, M, H, W)."""
    planes = np.repeat(background.logits[:, :, None], grid[0] * grid[1], axis=2)
    if background.coefficients is not None and background.patterns is not None:
        flat = background.patterns.reshape(*background.patterns.shape[:2], -1)
        planes += background.coefficients.swapaxes(1, 2) @ flat
    return planes.reshape(*planes.shape[:2], *grid)


def _background_of_entries(
    index: NDArray[np.integer],
    classes: NDArray[np.integer],
    logits: NDArray[np.float32],
    others: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The background's logits for the stored classes: (B, K, H, W).

    Args:
        index: the stored classes.
        classes: the background's classes (B, M).
        logits: theirs (B, M).
        others: the logit of all other classes (B, 1).
    """
    count, size = classes.shape
    if not size:
        return np.broadcast_to(others[:, :, None, None], index.shape)
    span = int(max(index.max(), classes.max())) + 1
    offsets = np.arange(count) * span
    ascending = (classes + offsets[:, None]).ravel()
    wanted = index.reshape(count, -1) + offsets[:, None]
    places = np.searchsorted(ascending, wanted).clip(max=len(ascending) - 1)
    found = np.where(ascending[places] == wanted, logits.ravel()[places], others)
    return found.reshape(index.shape)


def _zero_background(count: int) -> Background:
    """A background of logit 0 for some images."""
    empty = np.empty((count, 0), np.float32)
    return Background(empty.astype(np.int64), empty, np.zeros(count, np.float32))


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))

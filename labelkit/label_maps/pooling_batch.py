"""LabelPooling of many crops at once, as tensors on any device.

The same sums as ``pool``, one crop for each image of a batch, with no loop over images and no dense
maps.

Legend: B batch, E entries, K entries per cell, H W grid, M classes and P patterns of a background,
C classes, S sampling points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch

from labelkit.label_maps.label_map import Background, LabelMaps
from labelkit.label_maps.pooling_tokens import check_options
from labelkit.label_maps.pooling_weights import MARGIN, MOST_POINTS
from labelkit.targets import SparseTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps.label_map import LabelMap
    from labelkit.label_maps.pooling_tokens import Absent


class MapBatch(NamedTuple):
    """The label maps of B images as tensors, ready to be pooled.

    What stands where a class is not stored is subtracted once, here. A tuple of tensors, which
    pinned memory and data loaders carry along.

    Attributes:
        classes: of every entry (B, E), int64: those that cells store, E - M = K if all cells store
            the same ones, else K*H*W; then those of the background.
        excess: scores less what the class has where it is not stored (B, K, H, W), float32.
        behind: logits of the background's classes, less ``rest`` (B, M), float32.
        coefficients: how much of each pattern they have (B, P, M), float32.
        patterns: (B, P, H, W), float32.
        rest: the logit of all other classes (B,), float32.
    """

    classes: torch.Tensor
    excess: torch.Tensor
    behind: torch.Tensor
    coefficients: torch.Tensor
    patterns: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def stack(cls, maps: Sequence[LabelMap] | LabelMaps, *, absent: Absent = "background") -> Self:
        """Stack the label maps of B images, on the CPU.

        Args:
            maps: all of one form; those of ``LabelMapFile.batch`` lie side by side already.
            absent: as in ``pool``.

        Raises:
            ValueError: no maps, maps of several forms, or another value of ``absent``.
        """
        check_options("relabel", absent, 0)
        every = maps if isinstance(maps, LabelMaps) else LabelMaps.stack(maps)
        count, _, *grid = every.score.shape
        behind = every.background
        if absent == "zeros" or behind is None:
            behind = _nothing(count)
        classes = behind.classes.astype(np.int64)
        size = classes.shape[1]
        rest = np.asarray(behind.rest, np.float32)
        excess = every.score - rest[:, None, None, None]
        logits = behind.logits - rest[:, None]
        if every.index.ndim == 4:
            excess -= _behind_entries(every.index, classes, logits)
        stored = every.index.reshape(count, -1).astype(np.int64)
        coefficients, patterns = behind.coefficients, behind.patterns
        if coefficients is None or patterns is None:
            coefficients = np.zeros((count, 0, size), np.float32)
            patterns = np.zeros((count, 0, *grid), np.float32)
        return cls(
            _tensor(np.concatenate([stored, classes], axis=1)),
            _tensor(excess.astype(np.float32, copy=False)),
            _tensor(logits),
            _tensor(coefficients),
            _tensor(patterns),
            _tensor(rest),
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same maps on a device."""
        return type(self)(*(each.to(device, non_blocking=non_blocking) for each in self))


def pool_batch(
    maps: MapBatch, boxes: torch.Tensor, *, aligned: bool = False, sampling: int = 0
) -> SparseTargets:
    """Average the logits of each image's map over a crop of it, as ``pool`` does.

    ``pool_batch(maps, boxes).dense(C).softmax(dim=1)`` are the training targets (B, C). A flip does
    not change them.

    Args:
        maps: of B images.
        boxes: crops (B, 4), floats: left, top, right, bottom as fractions of the image; left below
            right and top below bottom, which is not checked; may reach outside the image. On the
            device of the maps.
        aligned: as in ``pool``.
        sampling: as in ``pool``.

    Returns:
        Logits, E entries an image; a class may be listed more than once.

    Raises:
        ValueError: boxes of another shape, or fewer points than none.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2; He et al. 2017 (Mask R-CNN, arXiv
    1703.06870), section 3.
    """
    check_options("relabel", "background", sampling)
    count, top_k, rows, columns = maps.excess.shape
    if boxes.shape != (count, 4):
        raise ValueError(f"boxes of shape {tuple(boxes.shape)}, expected ({count}, 4)")
    ends = boxes.float().T.reshape(2, 2 * count)  # all x, then all y
    cells = (columns, rows)
    weights = _weights(ends[0], ends[1], cells, aligned=aligned, sampling=sampling)
    weight_x, weight_y = weights[:count, :columns], weights[count:, :rows]
    weight = (weight_y[:, :, None] * weight_x[:, None, :]).flatten(1)
    whole = weight_y.sum(dim=1) * weight_x.sum(dim=1)
    size = maps.behind.shape[1]
    if maps.classes.shape[1] == top_k + size:
        parts = [_products(maps.excess, weight)]
    else:
        parts = [(maps.excess.flatten(2) * weight[:, None]).flatten(1)]
    if size:
        behind = maps.behind * whole[:, None]
        if maps.patterns.shape[1]:
            strength = _products(maps.patterns, weight)
            behind = behind + (maps.coefficients * strength[:, :, None]).sum(dim=1)
        parts.append(behind)
    return SparseTargets(maps.classes, torch.cat(parts, dim=1), maps.rest * whole)


def _products(planes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted sums (B, K) of planes (B, K, H, W) under weights (B, H*W).

    No matrix product: autocast and TF32 would round it to ten bits or fewer, and for so many small
    ones it takes three times as long.
    """
    return (planes.flatten(2) * weight[:, None]).sum(dim=2)


def _weights(
    start: torch.Tensor, stop: torch.Tensor, cells: tuple[int, int], *, aligned: bool, sampling: int
) -> torch.Tensor:
    """The weights (2 * B, most cells) of intervals (2 * B,), step by step as ``axis_weights``.

    Those of one axis, then as many of the other; ``cells`` has how many cells each has.
    """
    most_cells = max(cells)
    count = start.new_tensor(cells).repeat_interleave(len(start) // 2)
    first = start * count - 0.5
    width = stop * count - 0.5 - first
    if not aligned:
        width = width.clamp(min=1)
    points = torch.full_like(width, sampling) if sampling else width.ceil()
    shown = width < MOST_POINTS
    first, width = first.where(shown, 0), width.where(shown, 1)
    points = points.where(shown, 1)
    every = sampling or int(points.max())
    most = min(every, max(sampling, 2 * (most_cells + 1 + MARGIN)))
    begin = torch.zeros_like(points)
    if most < every:  # only those near the grid
        begin = ((-1 - first) * (points / width).where(width > 0, 1)).floor() - MARGIN
        begin = begin.minimum(points - most).clamp(min=0)
    numbers = begin[:, None] + torch.arange(most, device=start.device, dtype=first.dtype)
    parts = points[:, None].clamp(min=1)
    position = first[:, None] + (numbers + 0.5) * width[:, None] / parts
    last = count[:, None]
    inside = (position >= -1) & (position <= last) & (numbers < points[:, None]) & shown[:, None]
    centres = torch.arange(most_cells, device=start.device, dtype=first.dtype)
    apart = position.clamp(min=0).minimum(last - 1)[:, :, None] - centres
    near = apart.abs_().neg_().add_(1).clamp_(min=0)
    return (near * (inside / parts)[:, :, None]).sum(dim=1)


def _behind_entries(
    index: NDArray[np.integer], classes: NDArray[np.int64], logits: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The background's logits, less ``rest``, where its own classes are stored: (B, K, H, W)."""
    count, size = classes.shape
    if not size:
        return np.zeros((), np.float32)
    span = int(max(index.max(), classes.max())) + 1
    offsets = np.arange(count) * span
    ascending = (classes + offsets[:, None]).ravel()
    wanted = index.reshape(count, -1) + offsets[:, None]
    places = np.searchsorted(ascending, wanted).clip(max=len(ascending) - 1)
    found = np.where(ascending[places] == wanted, logits.ravel()[places], np.float32(0))
    return found.reshape(index.shape)


def _nothing(count: int) -> Background:
    """A background of logit 0 for some images."""
    empty = np.empty((count, 0), np.float32)
    return Background(empty.astype(np.int64), empty, np.zeros(count, np.float32))


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))

"""LabelPooling of many crops at once, as tensors on any device.

The same sums as ``pool``, one crop for each image of a batch, with no loop over images and no dense
maps.

Legend: B batch, F maps an image, E entries, K entries per cell, H W grid, M classes and P patterns
of a background, C classes, S sampling points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from labelkit.label_maps.map_batch import MapBatch, ProbabilityBatch
from labelkit.label_maps.pooling_options import check_options, check_zooms
from labelkit.label_maps.pooling_weights import MARGIN, MOST_POINTS
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

_SMALLEST_AREA = 1e-12


def pool_batch(
    maps: MapBatch | ProbabilityBatch,
    boxes: torch.Tensor,
    *,
    aligned: bool = False,
    sampling: int = 0,
) -> SparseProbabilities:
    """Average each image's map over a crop of it, as ``pool`` does.

    ``pool_batch(maps, boxes).dense(C).softmax(dim=1)`` are the training targets (B, C). A flip does
    not change them.

    Args:
        maps: of B images: their logits (the method ``relabel``), or their probabilities.
        boxes: crops (B, 4), floats: left, top, right, bottom as fractions of the image; left below
            right and top below bottom, which is not checked; may reach outside the image. On the
            device of the maps.
        aligned: as in ``pool``.
        sampling: as in ``pool``.

    Returns:
        Mean logits, E entries an image; a class may be listed more than once. Of a
        ``ProbabilityBatch`` mean probabilities, which sum to 1 but for what storing them rounds;
        all are 1 for a crop that shows nothing of the image.

    Raises:
        ValueError: boxes of another shape, or fewer points than none.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2; He et al. 2017 (Mask R-CNN, arXiv
    1703.06870), section 3.
    """
    check_options("relabel", "background", sampling)
    count, _, rows, columns = maps.excess.shape
    if boxes.shape != (count, 4):
        raise ValueError(f"boxes of shape {tuple(boxes.shape)}, expected ({count}, 4)")
    ends = boxes.float().T.reshape(2, 2 * count)  # all x, then all y
    cells = (columns, rows)
    weights = _weights(ends[0], ends[1], cells, aligned=aligned, sampling=sampling)
    weight_x, weight_y = weights[:count, :columns], weights[count:, :rows]
    weight = (weight_y[:, :, None] * weight_x[:, None, :]).flatten(1)
    whole = weight_y.sum(dim=1) * weight_x.sum(dim=1)
    if isinstance(maps, ProbabilityBatch):
        return _mean_probabilities(maps, weight, whole)
    return _mean_logits(maps, weight, whole)


def pool_batch_by_zoom(
    maps: Sequence[MapBatch | ProbabilityBatch],
    zooms: Sequence[float],
    boxes: torch.Tensor,
    *,
    aligned: bool = False,
    sampling: int = 0,
) -> SparseProbabilities:
    """Pool several maps of each image, mixed by how far the crop zooms in: see ``pool_by_zoom``.

    Args:
        maps: F of them, each of the same B images, all of logits or all of probabilities.
        zooms: F of them, as in ``pool_by_zoom``.
        boxes: as in ``pool_batch``.
        aligned: as in ``pool``.
        sampling: as in ``pool``.

    Returns:
        As ``pool_batch``, with the entries of all F maps.

    Raises:
        ValueError: zooms that are not positive and ascending, or of another number than the maps;
            and as ``pool_batch``.
        TypeError: maps of logits beside maps of probabilities.
    """
    check_zooms(zooms, len(maps))
    if len({type(each) for each in maps}) > 1:
        raise TypeError("maps of logits and of probabilities cannot be mixed")
    pooled = [pool_batch(each, boxes, aligned=aligned, sampling=sampling) for each in maps]
    shares = _zoom_shares(boxes.float(), zooms)
    excess = [each.excess * share[:, None] for each, share in zip(pooled, shares, strict=True)]
    rest = torch.stack([each.rest for each in pooled])
    return SparseProbabilities(
        torch.cat([each.classes for each in pooled], dim=1),
        torch.cat(excess, dim=1),
        (rest * shares).sum(dim=0),
    )


def _mean_logits(maps: MapBatch, weight: torch.Tensor, whole: torch.Tensor) -> SparseProbabilities:
    """Sums under weights (B, H*W), which are ``whole`` (B,) together."""
    size = maps.behind.shape[1]
    parts = [_entries(maps.excess, weight, together=maps.classes.shape[1] - size)]
    if size:
        behind = maps.behind * whole[:, None]
        if maps.patterns.shape[1]:
            strength = _products(maps.patterns, weight)
            behind = behind + (maps.coefficients * strength[:, :, None]).sum(dim=1)
        parts.append(behind)
    return SparseProbabilities(maps.classes, torch.cat(parts, dim=1), maps.rest * whole)


def _mean_probabilities(
    maps: ProbabilityBatch, weight: torch.Tensor, whole: torch.Tensor
) -> SparseProbabilities:
    """Sums under weights (B, H*W), of which only what lies within the image counts."""
    outside = whole == 0
    weight = weight / whole.where(~outside, 1)[:, None]
    size = maps.behind.shape[1]
    parts = [_entries(maps.excess, weight, together=maps.classes.shape[1] - size)]
    if size:
        parts.append(_products(maps.behind, weight))
    rest = (maps.rest.flatten(1) * weight).sum(dim=1)
    return SparseProbabilities(maps.classes, torch.cat(parts, dim=1), rest.where(~outside, 1))


def _entries(planes: torch.Tensor, weight: torch.Tensor, *, together: int) -> torch.Tensor:
    """What entries (B, K, H, W) come to, of which as many classes are listed: (B, K or K*H*W)."""
    if together == planes.shape[1]:
        return _products(planes, weight)
    return (planes.flatten(2) * weight[:, None]).flatten(1)


def _products(planes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted sums (B, K) of planes (B, K, H, W) under weights (B, H*W).

    No matrix product: autocast and TF32 would round it to ten bits or fewer, and for so many small
    ones it takes three times as long.
    """
    return (planes.flatten(2) * weight[:, None]).sum(dim=2)


def _zoom_shares(boxes: torch.Tensor, zooms: Sequence[float]) -> torch.Tensor:
    """How much each of F maps counts for crops (B, 4): (F, B), which sum to 1 for each crop."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    wanted = area.clamp(min=_SMALLEST_AREA).log() * -0.5
    places = boxes.new_tensor(zooms).log()
    steps = (wanted - places[:-1, None]) / places.diff()[:, None]
    position = steps.clamp(0, 1).sum(dim=0)
    numbers = torch.arange(len(zooms), device=boxes.device)[:, None]
    return (1 - (position - numbers).abs()).clamp(min=0)


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
    every = sampling or int(points.max() if len(points) else 1)
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

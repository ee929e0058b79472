"""LabelPooling the slow way: the dense map, torchvision's RoIAlign, softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchvision.ops import roi_align

if TYPE_CHECKING:
    from labelkit.geometry import CropBox
    from labelkit.label_maps import LabelMap


def dense_logits(label_map: LabelMap, num_classes: int) -> torch.Tensor:
    """The dense map (C, H, W), entry by entry."""
    rows, columns = label_map.grid
    dense = torch.zeros(num_classes, rows, columns)
    background = label_map.background
    if background is not None:
        dense += float(background.rest)
        for m, class_index in enumerate(background.classes):
            dense[int(class_index)] = float(background.logits[m])
            for p in range(0 if background.patterns is None else len(background.patterns)):
                pattern = torch.from_numpy(background.patterns[p])
                dense[int(class_index)] += float(background.coefficients[p, m]) * pattern
    for k in range(label_map.top_k):
        for i in range(rows):
            for j in range(columns):
                dense[int(label_map.index[k, i, j]), i, j] = float(label_map.score[k, i, j])
    return dense


def dense_probabilities(label_map: LabelMap, num_classes: int, *, zeros: bool) -> torch.Tensor:
    """Each cell's probabilities (C, H, W) by its log-sum-exp, 0 where not stored if ``zeros``."""
    assert label_map.log_sum_exp is not None
    dense = (dense_logits(label_map, num_classes) - torch.from_numpy(label_map.log_sum_exp)).exp()
    if zeros:
        stored = torch.from_numpy(label_map.index.astype("int64"))
        dense *= torch.zeros_like(dense).scatter_(0, stored, 1.0)
    return dense


def roi_align_means(
    dense: torch.Tensor, box: CropBox, size: tuple[int, int] = (1, 1)
) -> torch.Tensor:
    """RoIAlign (C, h, w) of a dense map over a crop, mirrored and transposed if the crop is."""
    rows, columns = dense.shape[1:]
    fractions = torch.tensor([box.left, box.top, box.right, box.bottom])
    corners = fractions * torch.tensor([columns, rows, columns, rows]) - 0.5
    boxes = torch.cat([torch.zeros(1), corners])[None]
    size = size[::-1] if box.transposed else size
    pooled = roi_align(dense[None], boxes, size, aligned=False)[0]
    pooled = pooled.mT if box.transposed else pooled
    pooled = pooled.flip(2) if box.flipped else pooled
    return pooled.flip(1) if box.upside_down else pooled


def pooled_logits(label_map: LabelMap, box: CropBox, num_classes: int) -> torch.Tensor:
    """Mean logits (C,) of a crop, from the dense (C, H, W) map."""
    return roi_align_means(dense_logits(label_map, num_classes), box)[:, 0, 0]


def pooled_target(label_map: LabelMap, box: CropBox, num_classes: int) -> torch.Tensor:
    """The training target (C,) of a crop."""
    return pooled_logits(label_map, box, num_classes).softmax(dim=0)

"""LabelPooling the slow way: the dense map, torchvision's RoIAlign, softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchvision.ops import roi_align

if TYPE_CHECKING:
    from labelkit.geometry import CropBox
    from labelkit.label_maps import LabelMap


def pooled_logits(label_map: LabelMap, box: CropBox, num_classes: int) -> torch.Tensor:
    """Mean logits (C,) of a crop, from the dense (C, H, W) map."""
    rows, columns = label_map.grid
    dense = torch.zeros(num_classes, rows, columns)
    behind = label_map.background
    if behind is not None:
        dense += float(behind.rest)
        for m, class_index in enumerate(behind.classes):
            dense[int(class_index)] = float(behind.logits[m])
            for p in range(0 if behind.patterns is None else len(behind.patterns)):
                pattern = torch.from_numpy(behind.patterns[p])
                dense[int(class_index)] += float(behind.coefficients[p, m]) * pattern
    for k in range(label_map.top_k):
        for i in range(rows):
            for j in range(columns):
                dense[int(label_map.index[k, i, j]), i, j] = float(label_map.score[k, i, j])
    fractions = torch.tensor([box.left, box.top, box.right, box.bottom])
    corners = fractions * torch.tensor([columns, rows, columns, rows]) - 0.5
    boxes = torch.cat([torch.zeros(1), corners])[None]
    return roi_align(dense[None], boxes, output_size=1, aligned=False)[0, :, 0, 0]


def pooled_target(label_map: LabelMap, box: CropBox, num_classes: int) -> torch.Tensor:
    """The training target (C,) of a crop."""
    return pooled_logits(label_map, box, num_classes).softmax(dim=0)

"""An image whose pixels encode their position."""

from __future__ import annotations

import torch
from torchvision import tv_tensors

H, W = 180, 240


def ramp() -> torch.Tensor:
    """Red is a pixel's x position, green its y position, and blue is 255 everywhere."""
    x = torch.arange(W).expand(H, W)
    y = torch.arange(H)[:, None].expand(H, W)
    return tv_tensors.Image(torch.stack([x, y, torch.full((H, W), 255)]).to(torch.uint8))

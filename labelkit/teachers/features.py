"""A model's last features as a grid of positions, and each position as the head's own input.

Legend: B batch, D features, H W grid, N tokens, P prefix tokens (class, register), S image side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelkit.errors import TeacherError

if TYPE_CHECKING:
    from torch import nn

MOST_PREFIX_TOKENS = 8
GRID_MODELS = (
    "efficientnet-lite0, resnet50.a1_in1k, convnext_tiny.fb_in1k, "
    "swin_tiny_patch4_window7_224.ms_in1k or vit_medium_patch16_gap_256.sw_in12k_ft_in1k"
)


class Layout(Enum):
    """How a model lays its features out in memory."""

    NCHW = "(B, D, H, W)"
    NHWC = "(B, H, W, D)"
    TOKENS = "(B, P + H*W, D)"


@dataclass(frozen=True, eq=False)
class GridFeatures:
    """The features of a batch, one vector a position.

    Attributes:
        vectors: (B, H, W, D).
        prefix: (B, P, D), the tokens that stand before the positions' own; P may be 0.
        layout: how the model's head wants them.
    """

    vectors: Tensor
    prefix: Tensor
    layout: Layout

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.vectors.shape[1], self.vectors.shape[2]

    def one_by_one(self) -> Tensor:
        """Every position as a feature map of one position: B*H*W of them, in the model's layout.

        A token keeps its image's prefix tokens before it, as the head expects them.
        """
        batch, height, width, depth = self.vectors.shape
        flat = self.vectors.reshape(-1, 1, depth)
        if self.layout is Layout.TOKENS:
            return torch.cat([self.prefix.repeat_interleave(height * width, dim=0), flat], dim=1)
        if self.layout is Layout.NHWC:
            return flat.unsqueeze(1)
        return flat.reshape(batch * height * width, depth, 1, 1)

    def as_prefix(self) -> Tensor:
        """Every position's token in the place of all prefix tokens and of its own."""
        flat = self.vectors.reshape(-1, 1, self.vectors.shape[-1])
        return flat.expand(-1, self.prefix.shape[1] + 1, -1)


def read_features(
    features: Tensor, model: nn.Module, image: tuple[int, int], name: str
) -> GridFeatures:
    """Features as a grid.

    Args:
        features: what ``forward_features`` gave: (B, D, H, W), (B, H, W, D) or (B, P + H*W, D).
        model: the model that gave it; may say ``output_fmt`` and ``num_prefix_tokens``.
        image: rows and columns of the input; a grid of tokens has their ratio.
        name: the teacher's, for the message.

    Raises:
        TeacherError: the features are not one vector a position.
    """
    if features.ndim == 4:
        layout = _layout(model, features)
        vectors = features if layout is Layout.NHWC else features.permute(0, 2, 3, 1)
        none = features.new_zeros(len(features), 0, vectors.shape[-1])
        return GridFeatures(vectors, none, layout)
    found = _token_grid(model, features.shape[1], image) if features.ndim == 3 else None
    if found is None:
        raise no_grid(name, f"of shape {list(features.shape)}")
    prefix, height, width = found
    tokens = features[:, prefix:].unflatten(1, (height, width))
    return GridFeatures(tokens, features[:, :prefix], Layout.TOKENS)


def no_grid(name: str, what: str) -> TeacherError:
    """The error for features that are not one vector a position."""
    return TeacherError(
        f"{name} gives features {what}, not one vector a position: it has no spatial grid here. "
        f"Take a convolutional or average-pooled model, such as {GRID_MODELS}"
    )


def _layout(model: nn.Module, features: Tensor) -> Layout:
    stated = str(getattr(model, "output_fmt", ""))
    if stated in Layout.__members__:
        return Layout[stated]
    depth = getattr(model, "num_features", features.shape[1])
    last = features.shape[1] != depth and features.shape[-1] == depth
    return Layout.NHWC if last else Layout.NCHW


def _token_grid(
    model: nn.Module, tokens: int, image: tuple[int, int]
) -> tuple[int, int, int] | None:
    """Prefix tokens, rows and columns of a sequence; None if it is no grid of the image's ratio."""
    stated = getattr(model, "num_prefix_tokens", None)
    for prefix in range(MOST_PREFIX_TOKENS + 1) if stated is None else (int(stated),):
        cells = tokens - prefix
        if cells < 2:
            break
        height = round(math.sqrt(cells * image[0] / image[1]))
        if height and cells % height == 0:
            width = cells // height
            # a whole number of pixels may be cut off at the edges, but the ratio stays the image's
            if abs(height * image[1] - width * image[0]) < max(image):
                return prefix, height, width
    return None

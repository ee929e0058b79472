"""A classifier that answers with class scores on a grid.

Legend: B batch, C classes, D features, S input side, H W grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelkit.errors import TeacherError

if TYPE_CHECKING:
    from labelkit.hierarchy import ClassList
    from labelkit.teachers.card import TeacherCard

EXACT_GAP = 1e-4


def resize_grid(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """Logits (B, C, H, W) on another grid, bilinearly between cell centres: (B, C, *grid)."""
    if logits.shape[2:] == grid:
        return logits
    return F.interpolate(logits, size=grid, mode="bilinear", align_corners=False)


class _SplitModel(Protocol):
    """What every timm classifier offers beside ``forward``."""

    def forward_features(self, x: Tensor, /) -> object: ...

    def forward_head(self, x: Tensor, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Teacher:
    """A timm model whose own head answers at every position of its last feature map.

    Attributes:
        model: the model, in eval mode.
        classes: the class list of its outputs.
        card: name, input size and preprocessing.
        weights_digest: SHA-256 of the weights.
    """

    model: nn.Module
    classes: ClassList
    card: TeacherCard
    weights_digest: str

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) as uint8 to the model's input, float32 on its device.

        Channels come last in memory, as in the model's weights: convolutions run up to twice as
        fast for it on a CPU, and on a GPU in half precision.
        """
        mean = torch.tensor(self.card.mean, device=self.device).view(1, 3, 1, 1) * 255
        std = torch.tensor(self.card.std, device=self.device).view(1, 3, 1, 1) * 255
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        return (images.float() - mean) / std

    @torch.inference_mode()
    def logits_map(self, images: Tensor) -> Tensor:
        """Class scores at every position.

        The mean over the grid is the model's own answer where its head is linear after average
        pooling; ``gap`` measures by how much it is not.

        Args:
            images: normalised images (B, 3, S, S).

        Returns:
            Logits (B, C, H, W), float32.

        Raises:
            TeacherError: the model has no spatial features.

        Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1.
        """
        features = self._features(images)
        batch, height, width, depth = features.shape
        positions = features.reshape(-1, 1, 1, depth)
        if not self._channels_last:
            positions = positions.permute(0, 3, 1, 2)
        logits = cast("_SplitModel", self.model).forward_head(positions)
        return logits.float().reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """The model's own answer for whole images: (B, 3, S, S) to (B, C), float32."""
        return self.model(images).float()

    def gap(self, size: int) -> float:
        """How far the map's mean lies from the model's own logits, relative to their spread.

        Measured on two noise images of ``size`` pixels; below ``EXACT_GAP`` the map is exact.
        """
        noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        noise = noise.to(self.device)
        own, mean = self.logits(noise), self.logits_map(noise).mean(dim=(2, 3))
        return float((own - mean).abs().max() / own.std().clamp_min(1e-12))

    def describe(self) -> dict[str, Any]:
        """What identifies this teacher in a file, as JSON values."""
        return {
            "name": self.card.name,
            "model": self.card.model,
            "weights_sha256": self.weights_digest,
            "mean": list(self.card.mean),
            "std": list(self.card.std),
            "interpolation": self.card.interpolation,
        }

    @property
    def _channels_last(self) -> bool:
        return getattr(self.model, "output_fmt", "NCHW") == "NHWC"

    def _features(self, images: Tensor) -> Tensor:
        """Features (B, H, W, D) of the last stage."""
        features = cast("_SplitModel", self.model).forward_features(images)
        if not isinstance(features, Tensor) or features.ndim != 4:
            found = (
                list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            )
            raise TeacherError(
                f"{self.card.model} gives features of shape {found}, not one vector a position: "
                "it has no spatial grid here. Take a convolutional or average-pooled model, such "
                "as efficientnet-lite0, resnet50.a1_in1k or swin_tiny_patch4_window7_224.ms_in1k"
            )
        return features if self._channels_last else features.permute(0, 2, 3, 1)

"""A classifier that predicts class scores on a grid.

Legend: B batch, C classes, D features, S input side, H W grid.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelkit.device import forward_in_parts
from labelkit.errors import TeacherError, first_line, is_out_of_memory
from labelkit.teachers.grid_head import (
    GRID_MODELS,
    DenseModel,
    head_map,
    no_grid,
    read_features,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from labelkit.hierarchy import ClassList
    from labelkit.teachers.card import TeacherCard

EXACT_GAP = 1e-4
"""The largest relative gap between a map's mean and the model's logits that counts as exact."""

Precision = Literal["float32", "bfloat16", "float16"]


def resize_grid(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """Logits (B, C, H, W) on another grid, interpolated between cell centres: (B, C, *grid)."""
    if logits.shape[2:] == grid:
        return logits
    return F.interpolate(logits, size=grid, mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model whose head is applied at every position of its last feature map.

    Attributes:
        model: the model, in eval mode; a ``SplitModel`` or a ``DenseModel``.
        classes: the class list of its outputs.
        card: name, input size and preprocessing.
        weights_digest: SHA-256 of the weights.
        force: feed patch tokens to a head that was trained on the class token.
        precision: the number type of the features; the head always runs in float32.
        compiled: the compiled features that maps are made from; None runs the model uncompiled.
        weights_file: SHA-256 of the file that the weights are from; empty without one.
    """

    model: nn.Module
    classes: ClassList
    card: TeacherCard
    weights_digest: str
    force: bool = False
    precision: Precision = "float32"
    compiled: Callable[[Tensor], object] | None = None
    weights_file: str = ""

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next(self.model.parameters()).device

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) as uint8 to the model's input, float32 on its device.

        The memory format is channels last, like that of the model's weights: convolutions run up to
        twice as fast on a CPU, and on a GPU in half precision.
        """
        mean = torch.tensor(self.card.mean, device=self.device).view(1, 3, 1, 1) * 255
        std = torch.tensor(self.card.std, device=self.device).view(1, 3, 1, 1) * 255
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        return (images.float() - mean) / std

    @torch.inference_mode()
    def logits_map(self, images: Tensor) -> Tensor:
        """Class scores at every position.

        The mean over the grid equals ``logits`` if the head is linear after average pooling, or
        would be with the scale of its last normalisation fixed; ``gap`` measures the difference.

        Args:
            images: normalised images (B, 3, S, S).

        Returns:
            Logits (B, C, H, W), float32.

        Raises:
            TeacherError: the model has no spatial features, or predicts from a class token.

        Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1.
        """
        if isinstance(self.model, DenseModel):
            with self._autocast():
                logits = self.model.logits_map(images)
            return logits.float()
        return self._map(self._features(images), images)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """The model's logits of whole images: (B, 3, S, S) to (B, C), float32."""
        with self._autocast():
            return forward_in_parts(self.model, images).float()

    def gap(self, size: int) -> float:
        """The largest difference between the map's mean and ``logits``, relative to their spread.

        The map is exact below ``EXACT_GAP``. The larger of two figures: for two noise images of
        ``size`` pixels; and for their features with as much noise added at every position, since a
        nonlinear layer shows only where positions differ. Always in float32. Compiled features are
        compared with the uncompiled model.

        Raises:
            TeacherError: as ``logits_map``, the model does not take images of that size, or the
                scores are not finite.
        """
        exact = replace(self, precision="float32")
        with size_errors(self.card, size), torch.inference_mode():
            return exact._gap(size)  # noqa: SLF001 -- the same class

    def describe(self) -> dict[str, Any]:
        """What identifies this teacher in a file, as JSON values."""
        described: dict[str, Any] = {
            "name": self.card.name,
            "model": self.card.model,
            "weights_sha256": self.weights_digest,
            "mean": list(self.card.mean),
            "std": list(self.card.std),
            "interpolation": self.card.interpolation,
        }
        if self.force:
            described["forced"] = True
        if self.precision != "float32":
            described["precision"] = self.precision
        return described

    def _gap(self, size: int) -> float:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(2, 3, size, size, generator=generator).to(self.device)
        whole = self.logits(noise)
        if isinstance(self.model, DenseModel):
            return self._relative(whole, self.logits_map(noise))
        features = self._features(noise)
        found = self._relative(whole, self._map(features, noise))
        varied = torch.randn(features.shape, generator=generator).to(self.device)
        varied = features + varied * features.square().mean().sqrt()
        whole = split(self.model).head(varied).float()
        return max(found, self._relative(whole, self._map(varied, noise)))

    def _features(self, images: Tensor) -> Tensor:
        """The last features before the pool, as the model lays them out, in float32."""
        with self._autocast():
            features = (self.compiled or split(self.model).features)(images)
        if not isinstance(features, Tensor):
            raise no_grid(self.card.model, f"as a {type(features).__name__}")
        return features.float()

    def _map(self, whole: Tensor, images: Tensor) -> Tensor:
        """The head's logits at every position of features."""
        size = images.shape[2], images.shape[3]
        features = read_features(whole, self.model, size, self.card.model)
        head = split(self.model).head
        logits = head_map(self.model, head, whole, features, forced=False)
        tokens = features.vectors.permute(0, 3, 1, 2)
        if features.prefix.shape[1] and _is_constant(logits) and not _is_constant(tokens, 1e-3):
            if not self.force:
                raise TeacherError(
                    f"{self.card.model} predicts from its class token, which belongs to no "
                    "position, so it has no spatial grid. Use an average-pooled model, such as "
                    f"{GRID_MODELS}; or force it (--force), for an approximate map"
                )
            logits = head_map(self.model, head, whole, features, forced=True)
        return logits

    def _relative(self, whole: Tensor, logits_map: Tensor) -> float:
        if not (torch.isfinite(whole).all() and torch.isfinite(logits_map).all()):
            raise TeacherError(
                f"{self.card.name} returns scores that are not finite for noise images: its "
                "weights are damaged, or its precision is too low"
            )
        difference = (whole - logits_map.mean(dim=(2, 3))).abs().max()
        return float(difference / whole.std().clamp_min(1e-12))

    def _autocast(self) -> torch.autocast:
        lower = self.precision != "float32"
        dtype = getattr(torch, self.precision) if lower else None
        return torch.autocast(self.device.type, dtype=dtype, enabled=lower)


@contextmanager
def size_errors(card: TeacherCard, size: int) -> Generator[None]:
    """Turn what a model raises for images that it does not take into an error that says what to do.

    Raises:
        TeacherError: the model does not take images of ``size`` pixels or of three channels, or
            there is not enough memory for them.
    """
    try:
        yield
    except (AssertionError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise TeacherError(
                f"not enough memory for images of {size}x{size} pixels through "
                f"{card.name or card.model}: try a smaller --size, a smaller model or another "
                "--device"
            ) from error
        raise TeacherError(
            f"{card.name or card.model} does not take images of 3 channels and {size}x{size} "
            f"pixels ({first_line(error)}): try --size {card.native_size}, its native size"
        ) from error


def _is_constant(values: Tensor, tolerance: float = 1e-6) -> bool:
    """Whether all positions of each image have the same values (B, C, H, W), up to a tolerance."""
    spread = values.amax(dim=(2, 3)) - values.amin(dim=(2, 3))
    return bool(spread.max() <= tolerance * values.abs().max())

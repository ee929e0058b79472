"""Steps that do not apply to single images are refused before any image is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from timm.data.transforms_factory import create_transform
from torchvision.transforms import v2

from labelkit.data import track_crop
from labelkit.data.crops import require_trackable

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("mixer", [v2.CutMix(num_classes=9), v2.MixUp(num_classes=9)])
def test_mixers_are_refused(mixer: v2.Transform) -> None:
    """Torchvision's message would name the tracker, which users never see."""
    pipeline = v2.Compose([v2.RandomResizedCrop(8), v2.RandomChoice([mixer])])
    message = f"{type(mixer).__name__} mixes whole batches.*labelkit.data.mix"
    for untraced in ("refuse", "ignore"):
        with pytest.raises(TypeError, match=message):
            require_trackable(pipeline, untraced=untraced)
    with pytest.raises(TypeError, match=message):
        track_crop(torch.zeros(3, 8, 8), pipeline)


@pytest.mark.parametrize(
    "several", [create_transform(64, is_training=True, separate=True), [v2.CenterCrop(8)]], ids=str
)
def test_several_pipelines_are_refused(several: object) -> None:
    message = f"a {type(several).__name__} of several pipelines.*separate=True.*num_aug_splits"
    with pytest.raises(TypeError, match=message):
        require_trackable(several)


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (track_crop, "the function track_crop is"),
        (torch.zeros(3).flip, "the function Tensor.flip is"),
        (None, "None is"),
    ],
    ids=["function", "method", "none"],
)
def test_a_step_that_is_not_a_transform_is_named(
    step: Callable[..., object] | None, name: str
) -> None:
    pipeline = v2.Compose([v2.CenterCrop(8), step])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=f"^{name} not a transform that label maps can follow"):
        require_trackable(pipeline)

"""What is no step for one image is refused before any image is read, with the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from timm.data.transforms_factory import create_transform
from torchvision.transforms import v2

from labelkit.data import track_crop
from labelkit.data.crop_tracking import require_trackable

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("mixer", [v2.CutMix(num_classes=9), v2.MixUp(num_classes=9)])
def test_mixers_belong_to_batches(mixer: v2.Transform) -> None:
    """Torchvision's own message would tell of a tracker that users never see."""
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
def test_several_pipelines_are_no_pipeline(several: object) -> None:
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
def test_what_is_no_transform_goes_by_its_own_name(
    step: Callable[..., object] | None, name: str
) -> None:
    pipeline = v2.Compose([v2.CenterCrop(8), step])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=f"^{name} not a transform that label maps can follow"):
        require_trackable(pipeline)

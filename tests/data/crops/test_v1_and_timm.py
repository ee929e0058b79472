"""Pipelines of torchvision v1 and timm: the same pixels as without tracking, and their box."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, transforms as timm_transforms
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from labelkit.data import follow_crop, track_crop
from labelkit.data.crops import require_trackable
from tests.data.crops.support import H, W, ramp

# These only move pixels, so the ramp can be read off afterwards.
MOVING = {
    "random resized crop": v1.RandomResizedCrop(96),
    "random crop": v1.RandomCrop(100),
    "padded crop": v1.RandomCrop((150, 230), padding=(10, 20)),
    "crop padded if needed": v1.RandomCrop((200, 300), padding=3, pad_if_needed=True),
    "evaluation": v1.Compose([v1.Resize(128), v1.CenterCrop(112), v1.Pad((3, 4, 5, 6))]),
    "long side": v1.Resize(100, max_size=110),
    "flips": v1.Compose([v1.RandomHorizontalFlip(), v1.RandomVerticalFlip()]),
    "choice": v1.RandomChoice([v1.CenterCrop(100), v1.RandomCrop(100), v1.Pad(9)], [5, 1, 2]),
    "order": v1.RandomOrder([v1.RandomCrop(110), v1.Resize(150), v1.CenterCrop(120)]),
    "apply": v1.RandomApply([v1.RandomCrop(100), v1.RandomHorizontalFlip()], p=0.5),
    "sequential": nn.Sequential(v1.Resize(90), v2.RandomHorizontalFlip()),
    "v1 in v2": v2.Compose(
        [
            v2.RandomApply([v1.RandomCrop(160)]),
            v2.RandomChoice([v1.Resize(120), v2.RandomResizedCrop(120)], p=[0.4, 0.6]),
            v2.RandomOrder([v1.RandomHorizontalFlip(), v2.CenterCrop(100)]),
        ]
    ),
    "timm training": create_transform(
        96, is_training=True, vflip=0.5, color_jitter=None, interpolation="random", normalize=False
    ),
    "timm rkrc": create_transform(
        (120, 96), is_training=True, train_crop_mode="rkrc", color_jitter=None, normalize=False
    ),
    "timm rkrr": create_transform(
        (150, 230),
        is_training=True,
        train_crop_mode="rkrr",
        scale=(0.4, 2.0),
        color_jitter=None,
        normalize=False,
    ),
    "timm plain training": create_transform(96, is_training=True, no_aug=True, normalize=False),
    "timm evaluation": create_transform(96, normalize=False),
    "timm evaluation, oblong": create_transform((96, 128), crop_pct=0.9, normalize=False),
    "timm squash": create_transform(96, crop_mode="squash", normalize=False),
    "timm border": create_transform(96, crop_mode="border", crop_pct=1.0, normalize=False),
    "timm trimmed": create_transform(96, crop_border_pixels=12, normalize=False),
    "timm padding": v1.Compose([v1.Resize(60), timm_transforms.RandomPad((90, 100))]),
    "timm crop or pad": timm_transforms.RandomCropOrPad((150, 260)),
}

# These also change pixels in place.
COLOURED = {
    "v1": v1.Compose(
        [
            v1.RandomResizedCrop(64),
            v1.ColorJitter(0.4, 0.4, 0.4, 0.1),
            v1.RandomApply([v1.GaussianBlur(5)]),
            v1.RandomGrayscale(),
            v1.RandomPosterize(3),
            v1.RandomSolarize(99),
            v1.RandomInvert(),
            v1.RandomEqualize(),
            v1.RandomAutocontrast(),
            v1.RandomAdjustSharpness(2),
            v1.Lambda(lambda image: image),
            v1.PILToTensor(),
            v1.ConvertImageDtype(torch.float32),
            v1.Normalize([0.5] * 3, [0.5] * 3),
            v1.RandomErasing(p=0.5),
        ]
    ),
    "timm": create_transform(
        64, is_training=True, color_jitter_prob=0.7, grayscale_prob=0.3, gaussian_blur_prob=0.4
    ),
    "timm erasing": create_transform(
        64, is_training=True, re_prob=0.6, re_mode="pixel", interpolation="random"
    ),
    "timm 3-augment": create_transform(64, is_training=True, auto_augment="3a"),
    "timm random 3-augment": create_transform(64, is_training=True, auto_augment="rand-m9-t3a"),
    "timm prefetched": create_transform(64, is_training=True, use_prefetcher=True),
    "timm numpy": v1.Compose([v1.Resize(64), timm_transforms.ToNumpy()]),
}


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- timm draws from the global generator


def photo() -> Image.Image:
    return Image.fromarray(ramp().permute(1, 2, 0).numpy())


def same_as_untracked(transform, image, seed, **options):
    """The output and its tracker, after checking that tracking changes nothing."""
    seed_all(seed)
    expected = transform(image)
    after = (torch.rand(1), random.random(), np.random.rand())  # noqa: NPY002, S311
    seed_all(seed)
    output, tracker = follow_crop(image, transform, **options)
    assert after == (torch.rand(1), random.random(), np.random.rand())  # noqa: NPY002, S311
    assert type(output) is type(expected)
    assert np.array_equal(np.asarray(output), np.asarray(expected))
    return output, tracker


@pytest.mark.parametrize("name", MOVING)
def test_pixels_are_identical_and_the_box_is_where_they_come_from(name):
    for seed in range(8):
        output, tracker = same_as_untracked(MOVING[name], photo(), seed)
        if isinstance(output, Image.Image):
            output = v2.functional.pil_to_tensor(output)
        red, green, blue = output.double()
        seen = blue > 250
        box = tracker.box
        assert tracker.exact
        # Blending at the borders and reflection stay inside the crop.
        for shown, low, high in (
            (red, box.left * W, box.right * W),
            (green, box.top * H, box.bottom * H),
        ):
            limit = W if shown is red else H
            assert abs(float(shown[seen].min()) - max(low, 0)) <= 2.5
            assert abs(float(shown[seen].max()) + 1 - min(high, limit)) <= 2.5
        row = red[red.shape[0] // 2]
        inner = seen[red.shape[0] // 2].nonzero().flatten()
        assert box.flipped == bool(row[inner[0]] > row[inner[-1]])


@pytest.mark.parametrize("name", COLOURED)
def test_pixels_are_identical_with_colour_steps(name):
    for seed in range(6):
        _, tracker = same_as_untracked(COLOURED[name], photo(), seed)
        assert tracker.exact
    require_trackable(COLOURED[name])


def test_v1_pipelines_give_identical_tensors():
    slanted = v1.Compose(
        [
            v1.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 5, fill=(9.0, 8.0, 7.0)),
            v1.RandomRotation(20, expand=True),
            v1.RandomPerspective(fill=3),
            v1.RandomResizedCrop(80),
        ]
    )
    for seed in range(8):
        same_as_untracked(slanted, ramp().as_subclass(torch.Tensor), seed)
        same_as_untracked(slanted, photo(), seed)


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5", "original", "augmix-m5-w4-d2", "rand-t3aw"])
def test_timms_automatic_augmentation_is_followed_only_on_request(policy):
    transform = create_transform(64, is_training=True, auto_augment=policy)
    with pytest.raises(ValueError, match="rotates, shears and shifts"):
        require_trackable(transform)
    with pytest.raises(ValueError, match="rotates, shears and shifts"):
        track_crop(photo(), transform)
    require_trackable(transform, untraced="ignore")
    _, tracker = same_as_untracked(transform, photo(), 5, untraced="ignore")
    assert tracker.canvas_size == (64, 64)


class CustomCrop:
    """A user's transform that comes from neither library."""

    def __call__(self, image):
        """Cut out a corner."""
        return image.crop((0, 0, 50, 50))


class CustomRandomCrop(v1.RandomCrop):
    """A subclass may do anything, so the rule for its parent does not apply."""


@pytest.mark.parametrize(
    "transform",
    [
        CustomCrop(),
        CustomRandomCrop(20),
        v1.FiveCrop(20),
        v1.LinearTransformation(torch.eye(3), torch.zeros(3)),
        create_transform(64, naflex=True),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_unknown_steps_are_named(transform):
    name = type(
        transform.transforms[0] if isinstance(transform, v1.Compose) else transform
    ).__name__
    pipeline = v1.Compose([v1.Resize(64), transform])
    with pytest.raises(TypeError, match=rf"{name} is not a transform that label maps can follow"):
        require_trackable(pipeline, untraced="ignore")
    with pytest.raises(TypeError, match=rf"{name} is not .* be wrapped in torchvision.transforms"):
        track_crop(photo(), pipeline)


def test_a_lambda_that_changes_the_size_raises():
    pipeline = v1.Compose([v1.Lambda(lambda image: image.resize((50, 50))), v1.CenterCrop(20)])
    with pytest.raises(ValueError, match="Lambda returns 50x50 pixels"):
        track_crop(photo(), pipeline)

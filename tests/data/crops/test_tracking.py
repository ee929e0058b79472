"""The tracker knows which part of the image comes out: checked on the pixels themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import CropTracker, track_crop
from labelkit.data.crops import require_trackable
from labelkit.data.crops.following import MOVING_V2, STILL_V2
from tests.data.crops.support import H, W, ramp


def seen(output: torch.Tensor) -> tuple[float, float, float, float]:
    """The centre of the output in the original image, and the size of what it shows, in pixels."""
    red, green = output[0].double(), output[1].double()
    height, width = red.shape
    step_x = (red[:, -3] - red[:, 2]).mean() / (width - 5)
    step_y = (green[-3] - green[2]).mean() / (height - 5)
    middle = (slice(height // 4, -(height // 4)), slice(width // 4, -(width // 4)))
    return (
        float(red[middle].mean()) + 0.5,
        float(green[middle].mean()) + 0.5,
        float(step_x) * width,
        float(step_y) * height,
    )


UPRIGHT = {
    "random resized crop": v2.RandomResizedCrop(96, scale=(0.2, 1.0), antialias=True),
    "flip": v2.RandomHorizontalFlip(p=1),
    "vertical flip": v2.RandomVerticalFlip(p=1),
    "resize": v2.Resize(64, antialias=True),
    "resize long": v2.Resize(100, max_size=110, antialias=True),
    "resize both": v2.Resize((50, 90), antialias=True),
    "center crop": v2.CenterCrop((90, 100)),
    "random crop": v2.RandomCrop(100),
    "shortest size": v2.RandomShortestSize([70, 100], max_size=160),
    "random resize": v2.RandomResize(60, 140),
    "scale jitter": v2.ScaleJitter((150, 200), (0.4, 1.2)),
    "evaluation": v2.Compose([v2.Resize(128, antialias=True), v2.CenterCrop(112)]),
    "everything": v2.Compose(
        [
            v2.Resize(150, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomCrop(120),
            v2.RandomVerticalFlip(),
            v2.RandomResizedCrop((80, 60), scale=(0.5, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    ),
}


@pytest.mark.parametrize("name", UPRIGHT)
@pytest.mark.parametrize("seed", range(8))
def test_the_box_is_where_the_pixels_come_from(name, seed):
    torch.manual_seed(seed)
    output, box = track_crop(ramp(), UPRIGHT[name])
    x, y, width, height = seen(output)
    assert abs((box.left + box.right) / 2 * W - x) < 1.5
    assert abs((box.top + box.bottom) / 2 * H - y) < 1.5
    assert abs((box.right - box.left) * W - abs(width)) < 4
    assert abs((box.bottom - box.top) * H - abs(height)) < 4
    assert box.flipped == (width < 0)


def test_padding_extends_the_box_beyond_the_image():
    _, box = track_crop(ramp(), v2.Pad([24, 18, 12, 9]))
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((-0.1, -0.1, 1.05, 1.05))
    _, box = track_crop(ramp(), v2.CenterCrop((H + 36, W + 48)))
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((-0.1, -0.1, 1.1, 1.1))


def test_zooming_out_extends_the_box_by_the_border_added():
    torch.manual_seed(3)
    output, box = track_crop(ramp(), v2.RandomZoomOut(fill=0, side_range=(2, 3), p=1))
    above, left = (int(each.min()) for each in output[2].nonzero(as_tuple=True))
    assert min(above, left) > 0
    height, width = output.shape[-2:]
    found = [box.left * W, box.top * H, box.right * W, box.bottom * H]
    assert found == pytest.approx([-left, -above, width - left, height - above])


def test_a_random_resized_crop_is_exact_to_the_last_digit():
    """Replayed with the same draw: pooling's ceil() needs the fractions without rounding errors."""
    crop = v2.RandomResizedCrop(96, scale=(0.08, 1.0), antialias=True)
    for seed in range(200):
        torch.manual_seed(seed)
        _, box = track_crop(ramp(), crop)
        torch.manual_seed(seed)
        top, left, height, width = crop.get_params(ramp(), crop.scale, crop.ratio)
        found = np.float32([box.left, box.top, box.right, box.bottom])
        exact = np.float32([left / W, top / H, (left + width) / W, (top + height) / H])
        assert np.array_equal(found, exact)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.one_of(st.integers(1, 200), st.tuples(st.integers(1, 200), st.integers(1, 200))),
    st.integers(201, 400),
    st.booleans(),
)
def test_sizes_equal_those_of_torchvisions_resize(height, width, size, max_size, limited):
    limit = max_size if limited and isinstance(size, int) else None
    image = torch.zeros(1, height, width)
    try:
        expected = VF.resize(image, size, max_size=limit, antialias=True).shape[1:]
    except (RuntimeError, ValueError):
        return
    tracker = VF.resize(CropTracker.of((height, width)), size, max_size=limit)
    assert tracker.canvas_size == tuple(expected)


def test_several_crops_of_one_image_have_no_box():
    """Torchvision would silently pass an unknown type through, and the targets would be wrong."""
    with pytest.raises(ValueError, match="label maps cannot follow it"):
        track_crop(ramp(), v2.FiveCrop(60))


UNTRACED = [
    v2.AutoAugment,
    v2.RandAugment,
    v2.TrivialAugmentWide,
    v2.AugMix,
    v2.ElasticTransform,
    v1.RandAugment,
    v1.ElasticTransform,
]


@pytest.mark.parametrize("kind", UNTRACED)
def test_steps_that_keep_no_record_are_refused_at_any_depth(kind):
    """These rotate and shear the image without moving the tracker."""
    inner = v2.RandomApply([v2.Compose([v2.Resize(99), kind()])])
    pipeline = v2.Compose([v2.RandomHorizontalFlip(), inner])
    effect = "distorts" if "Elastic" in kind.__name__ else "rotates, shears and shifts"
    message = f"{kind.__name__} {effect} images and keeps no record of it"
    with pytest.raises(ValueError, match=message):
        require_trackable(pipeline)
    with pytest.raises(ValueError, match=message):
        track_crop(ramp(), kind())


@pytest.mark.parametrize("kind", UNTRACED)
def test_steps_that_keep_no_record_can_be_ignored(kind):
    pipeline = v2.Compose([v2.CenterCrop(90), kind(), v2.CenterCrop(60)])
    require_trackable(pipeline, untraced="ignore")
    torch.manual_seed(3)
    output, box = track_crop(ramp(), pipeline, untraced="ignore")
    torch.manual_seed(3)
    assert torch.equal(output, pipeline(ramp()))
    assert (box.left, box.top, box.right, box.bottom) == (90 / W, 60 / H, 150 / W, 120 / H)


EACH = [
    v2.CenterCrop(90),
    v2.Normalize([0.5] * 3, [0.5] * 3),
    v2.Pad(7, fill=9),
    v2.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10),
    v2.RandomCrop(100, pad_if_needed=True),
    v2.RandomHorizontalFlip(),
    v2.RandomPerspective(),
    v2.RandomResize(60, 140),
    v2.RandomResizedCrop(96),
    v2.RandomRotation(40, expand=True),
    v2.RandomShortestSize([70, 100]),
    v2.RandomVerticalFlip(),
    v2.RandomZoomOut(3),
    v2.Resize(64),
    v2.ScaleJitter((150, 200)),
    v2.ToDtype(torch.float32, scale=True),
    v2.ToImage(),
]


@pytest.mark.parametrize("step", EACH, ids=lambda step: type(step).__name__)
@pytest.mark.parametrize("kind", ["pillow", "image", "tensor"])
def test_pixels_and_draws_equal_those_of_the_untracked_step(step, kind):
    image = {
        "pillow": Image.fromarray(ramp().permute(1, 2, 0).numpy()),
        "image": ramp().float() if isinstance(step, v2.Normalize) else ramp(),
        "tensor": ramp().as_subclass(torch.Tensor).float(),
    }[kind]
    if kind == "pillow" and isinstance(step, v2.Normalize):
        with pytest.raises(TypeError, match="Normalize"):
            track_crop(image, step)
        return
    for seed in range(12):
        torch.manual_seed(seed)
        expected = step(image)
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        found, _ = track_crop(image, step)
        assert type(found) is type(expected)
        assert np.array_equal(np.asarray(found), np.asarray(expected))
        assert torch.equal(torch.get_rng_state(), state)


def test_every_step_that_is_applied_directly_is_compared():
    assert {type(step) for step in EACH} == MOVING_V2 | STILL_V2


class CustomCrop(v2.RandomResizedCrop):
    """A subclass of a known step that draws its parameters differently."""

    def make_params(self, flat_inputs):
        """The upper left quarter."""
        del flat_inputs
        return {"top": 0, "left": 0, "height": H // 2, "width": W // 2}


def test_a_subclass_of_a_known_step_is_followed():
    _, box = track_crop(ramp(), CustomCrop(96))
    assert (box.left, box.top, box.right, box.bottom) == (0, 0, 0.5, 0.5)


def test_subclasses_of_containers_are_followed_step_by_step():
    class Chain(v2.Compose):
        """Takes its steps as its parent does."""

    class OldChain(v1.Compose):
        """Takes its steps as its parent does."""

    class Sometimes(v2.RandomApply):
        """Takes its steps as its parent does."""

    steps = [v2.ToPureTensor(), v2.RandomAffine(0, translate=(0.5, 0.5))]
    for chain in (Chain(steps), OldChain(steps), nn.Sequential(Sometimes(steps, p=1.0))):
        torch.manual_seed(1)
        if isinstance(chain, nn.Sequential):
            torch.rand(1)  # the draw of whether it is applied
        _, expected = track_crop(ramp(), v2.Compose(steps))
        torch.manual_seed(1)
        assert track_crop(ramp(), chain)[1] == expected
        assert expected.left
    with pytest.raises(ValueError, match="RandAugment"):
        track_crop(ramp(), Sometimes([v2.RandAugment()]))


def test_a_final_step_that_makes_plain_tensors_keeps_the_box():
    pipeline = v2.Compose([v2.CenterCrop(90), v2.ToPureTensor()])
    output, box = track_crop(ramp(), pipeline)
    assert type(output) is torch.Tensor
    assert (box.left, box.top, box.right, box.bottom) == (75 / W, 45 / H, 165 / W, 135 / H)


def test_a_flip_of_a_plain_tensor_is_followed():
    """After ToPureTensor the tracker is a plain tensor too, which v2 would not flip."""
    _, box = track_crop(ramp(), v2.Compose([v2.ToPureTensor(), v2.RandomHorizontalFlip(p=1)]))
    assert box.flipped


class Shrink(v2.Transform):
    """A custom transform that knows nothing about trackers."""

    def transform(self, inpt, params):
        """Halve every side."""
        del params
        return inpt if isinstance(inpt, CropTracker) else inpt[..., ::2, ::2]


def test_an_unknown_transform_that_changes_the_size_raises_even_if_a_crop_follows():
    with pytest.raises(ValueError, match="Shrink returns 90x120 pixels"):
        track_crop(ramp(), v2.Compose([Shrink(), v2.RandomCrop(60)]))


def test_a_lambda_gets_only_the_image():
    """Given the tracker too, it would turn it into something else, and the flip would be missed."""
    pipeline = v2.Compose([v2.Lambda(lambda image: image / 255), v2.RandomHorizontalFlip(p=1)])
    output, box = track_crop(ramp().float(), pipeline)
    assert box.flipped
    assert output.max() <= 1


def test_colour_blur_and_type_changes_keep_the_box():
    pipeline = v2.Compose(
        [
            v2.ToImage(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
            v2.GaussianBlur(5),
            v2.RandomGrayscale(),
            v2.RandomSolarize(100),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
            v2.RandomErasing(p=1),
        ]
    )
    image = Image.fromarray(ramp().permute(1, 2, 0).numpy())
    output, box = track_crop(image, pipeline)
    assert output.shape == (3, H, W)
    assert (box.left, box.top, box.right, box.bottom, box.flipped) == (0, 0, 1, 1, False)

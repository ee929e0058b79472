"""Rotated, sheared and distorted images: the box is the outer box of what is visible.

The ramp's blue channel is 255 wherever the image is visible, and 0 where a transform filled in.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import CropTracker, follow_crop, track_crop
from labelkit.geometry import CropBox
from labelkit.label_maps import pool
from tests.data.crops.support import H, W, ramp
from tests.label_maps.support.random_maps import random_map

SLANTED = {
    "rotation": v2.RandomRotation(40),
    "rotation, whole": v2.RandomRotation(170, expand=True),
    "rotation about a point": v2.RandomRotation(60, center=[200, 20]),
    "affine": v2.RandomAffine(30, translate=(0.2, 0.3), scale=(0.6, 1.6), shear=(-20, 20, -9, 9)),
    "affine about a point": v2.RandomAffine(30, shear=20, center=[10, 150]),
    "perspective": v2.RandomPerspective(0.6, p=1),
    "crop, then rotation": v2.Compose([v2.RandomCrop(100), v2.RandomRotation(45)]),
    "rotation, then crop": v2.Compose([v2.RandomRotation((30, 60)), v2.RandomCrop(80)]),
    "all": v2.Compose(
        [
            v2.RandomPerspective(0.4, p=1),
            v2.RandomHorizontalFlip(),
            v2.CenterCrop(150),
            v2.RandomAffine(20, shear=10),
            v2.Pad(20),
            v2.RandomRotation(20),
            v2.RandomCrop(120),
        ]
    ),
    "v1": v1.Compose(
        [v1.RandomPerspective(0.4, p=1), v1.RandomRotation(20), v1.RandomAffine(10, shear=(5, 9))]
    ),
}


@pytest.mark.parametrize("kind", ["tensor", "Pillow"])
@pytest.mark.parametrize("name", SLANTED)
def test_the_box_is_the_outer_box_of_the_visible_pixels(name, kind):
    for seed in range(12):
        torch.manual_seed(seed)
        image = ramp() if kind == "tensor" else Image.fromarray(ramp().permute(1, 2, 0).numpy())
        output, tracker = follow_crop(image, SLANTED[name])
        red, green, blue = VF.pil_to_tensor(output) if kind == "Pillow" else output
        seen = blue > 250
        box = tracker.box
        assert not tracker.exact
        for shown, low, high in (
            (red[seen], box.left * W, box.right * W),
            (green[seen], box.top * H, box.bottom * H),
        ):
            # Pixel n of the image reaches from n to n + 1.
            assert low - 1.5 < int(shown.min()) < low + 2.5
            assert high - 3.5 < int(shown.max()) < high + 0.5


@pytest.mark.parametrize("angle", [90, 180, 270, -90, 360])
@pytest.mark.parametrize("expand", [True, False])
def test_quarter_turns_are_exact(angle, expand):
    pipeline = v2.Compose(
        [v2.RandomCrop((60, 60)), v2.RandomRotation((angle, angle), expand=expand)]
    )
    output, tracker = follow_crop(ramp(), pipeline)
    assert tracker.exact
    box = tracker.box
    assert (int(output[0].min()), int(output[0].max()) + 1) == pytest.approx(
        (box.left * W, box.right * W)
    )
    assert (int(output[1].min()), int(output[1].max()) + 1) == pytest.approx(
        (box.top * H, box.bottom * H)
    )


@given(
    st.integers(2, 90),
    st.integers(2, 90),
    st.one_of(st.sampled_from([0, 90, 180, 270]), st.floats(-360, 360)),
)
@settings(max_examples=60)
def test_an_expanding_rotation_has_torchvisions_size(height, width, angle):
    rotated = VF.rotate(CropTracker.of((height, width)), angle, expand=True)
    expected = VF.rotate(torch.zeros(1, height, width), angle, expand=True).shape[1:]
    for size, wanted in zip(rotated.canvas_size, expected, strict=True):
        # Torchvision rounds in single precision.
        assert abs(size - wanted) <= (0 if angle % 90 == 0 else 1)


def test_a_translation_is_exact_and_shows_no_more_than_the_crop_before_it():
    pipeline = v2.Compose(
        [v2.CenterCrop(100), v2.RandomAffine(0, translate=(0.3, 0), scale=(2, 2))]
    )
    output, tracker = follow_crop(ramp(), pipeline)
    seen = output[2] > 0
    box = tracker.box
    assert tracker.exact
    assert abs(int(output[0][seen].min()) - box.left * W) <= 1
    assert abs(int(output[0][seen].max()) + 1 - box.right * W) <= 1
    assert box.left * W >= 70
    assert box.right * W <= 170


@pytest.mark.parametrize("corner", [(0, 0), (45, 75), (1, 0), (0, W - 90), (H - 90, W - 90)])
def test_padding_after_a_crop_shows_nothing_more(corner):
    """This also holds where the crop touches the border of the image."""
    top, left = corner
    cut = VF.crop(CropTracker.of((H, W)), top, left, 90, 90)
    box = VF.pad(cut, [30]).box
    assert (box.left * W, box.top * H) == pytest.approx((left, top))
    assert (box.right * W, box.bottom * H) == pytest.approx((left + 90, top + 90))
    assert cut.fills_box
    assert not VF.pad(cut, [30]).fills_box


def test_a_crop_of_a_padded_image_keeps_the_padding():
    """Usual for small images: padding counts as empty."""
    padded = VF.pad(CropTracker.of((32, 32)), [4])
    cut = VF.horizontal_flip(VF.crop(padded, 0, 2, 32, 32))
    box = cut.box
    assert (box.left, box.top, box.right, box.bottom) == (-2 / 32, -4 / 32, 30 / 32, 28 / 32)
    assert cut.fills_box


def test_a_crop_of_a_padded_crop_may_show_nothing():
    pipeline = v2.Compose([v2.RandomCrop(40), v2.Pad(300), v2.RandomCrop(40)])
    boxes = [track_crop(ramp(), pipeline)[1] for _ in range(20)]
    assert CropBox.outside() in boxes


ORIENTED = {
    "upside down": [v2.RandomVerticalFlip(1)],
    "both flips": [v2.RandomVerticalFlip(1), v2.RandomHorizontalFlip(1)],
    "a quarter": [v2.RandomRotation((90, 90), expand=True)],
    "three quarters": [v2.RandomRotation((270, 270), expand=True)],
    "half": [v2.RandomRotation((180, 180))],
    "a flip, then a quarter": [
        v2.RandomHorizontalFlip(1),
        v2.RandomRotation((90, 90), expand=True),
    ],
    "a quarter, then upside down": [
        v2.RandomRotation((90, 90), expand=True),
        v2.RandomVerticalFlip(1),
    ],
}


@pytest.mark.parametrize("name", ORIENTED)
def test_the_box_gives_the_orientation_of_the_crop(name):
    """Cut out of the image and oriented as the box says, it equals the pipeline's output."""
    output, tracker = follow_crop(ramp(), v2.Compose([v2.CenterCrop((60, 90)), *ORIENTED[name]]))
    box = tracker.box
    rows = slice(round(box.top * H), round(box.bottom * H))
    columns = slice(round(box.left * W), round(box.right * W))
    cut = ramp()[:, rows, columns]
    cut = cut.mT if box.transposed else cut
    cut = cut.flip(2) if box.flipped else cut
    cut = cut.flip(1) if box.upside_down else cut
    assert tracker.fills_box
    assert torch.equal(cut, output)


def test_perspective_points_map_onto_the_corners():
    start = [[0, 0], [W, 0], [W, H], [0, H]]
    end = [[20, 10], [W - 30, 5], [W - 8, H - 40], [12, H - 3]]
    moved = VF.perspective(CropTracker.of((H, W)), start, end)
    corners = moved.matrix @ torch.tensor([[*end[2], 1.0]], dtype=torch.float64).T
    assert (corners[:2] / corners[2]).flatten().tolist() == pytest.approx([W, H])


@pytest.mark.parametrize("angle", [0.0, 5.0])
def test_an_image_translated_out_of_view_has_the_outside_box(angle):
    cut = VF.center_crop(CropTracker.of((H, W)), [100, 100])
    translated = VF.affine(cut, angle, translate=[150, 0], scale=1.0, shear=[0.0, 0.0])
    assert translated.box == CropBox.outside()
    label_map = random_map(grid=(1, 1))
    assert set(pool(label_map, CropBox.outside()).probabilities(20)) == {np.float32(1 / 20)}

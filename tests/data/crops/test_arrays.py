"""Images as arrays (H, W, 3) or tensors, as cv2-like loaders and WebDataset's rgb8 yield them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import transforms as timm_transforms
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, LabelMapIterable, track_crop
from tests.data.crops.support import ramp

CROP = v2.RandomResizedCrop(16, scale=(0.1, 0.5))
PERMUTE = v2.Lambda(lambda image: image.permute(2, 0, 1))
PIPELINES = {
    "to image": v2.Compose([v2.ToImage(), CROP, v2.RandomHorizontalFlip(), v2.ToPureTensor()]),
    "to pillow": v2.Compose([v2.ToPILImage(), CROP, v2.PILToTensor()]),
    "v1": v1.Compose([v1.ToPILImage(), v1.RandomResizedCrop(16), v1.PILToTensor()]),
    "v1 tensor": v1.Compose([v1.ToTensor(), v1.RandomResizedCrop(16)]),
    "timm": v1.Compose([timm_transforms.MaybeToTensor(), v1.RandomCrop(20)]),
    "nothing": v2.ToImage(),
}


def array():
    return np.ascontiguousarray(ramp().permute(1, 2, 0).numpy())


def same_crop(image, other, pipeline, of_other):
    """Both images give the same pixels and box under one seed."""
    torch.manual_seed(3)
    output, box = track_crop(image, pipeline)
    torch.manual_seed(3)
    expected, expected_box = track_crop(other, of_other)
    return torch.equal(output, expected) and box == expected_box


@pytest.mark.parametrize("name", PIPELINES)
def test_an_array_gives_the_pixels_of_torchvision_and_the_box_of_an_image(name):
    """The oracle for the pixels is the pipeline itself; for the box, the same Pillow image."""
    pipeline = PIPELINES[name]
    torch.manual_seed(3)
    expected = pipeline(array())
    torch.manual_seed(3)
    output, box = track_crop(array(), pipeline)
    assert torch.equal(output, expected)
    torch.manual_seed(3)
    start = [] if name not in ("to pillow", "v1") else pipeline.transforms[1:]
    of_image = type(pipeline)(start) if start else pipeline
    assert box == track_crop(Image.fromarray(array()), of_image)[1]


def test_grey_arrays_have_two_axes():
    grey = array()[..., 0]
    assert same_crop(grey, Image.fromarray(grey), PIPELINES["to image"], PIPELINES["to image"])


def test_a_tensor_with_channels_last_is_followed_once_it_is_permuted():
    pipeline = v2.Compose([PERMUTE, CROP])
    assert same_crop(torch.from_numpy(array()), ramp(), pipeline, CROP)


STEPS = {
    "flip": v2.RandomHorizontalFlip(p=1.0),
    "crop": CROP,
    "centre": v2.CenterCrop(8),
    "zoom out": v2.Compose([v2.RandomZoomOut(p=1.0)]),
    "no flip": v2.RandomVerticalFlip(p=0.0),
    "v1": v1.Resize(8),
    "timm": timm_transforms.RandomResizedCropAndInterpolation(8),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_would_leave_an_array_as_it_is_is_refused(step):
    """Torchvision's v2 flips silently leave arrays unflipped, but would mirror the target."""
    with pytest.raises(ValueError, match=r"cannot move an array of shape .*v2\.ToImage\(\)"):
        track_crop(array(), STEPS[step])


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_would_take_rows_for_channels_is_refused(step):
    for first in (v2.ToImage(), v2.Identity()):
        with pytest.raises(ValueError, match=r"expects a tensor \(3, H, W\) and got .*permute"):
            track_crop(torch.from_numpy(array()), v2.Compose([first, STEPS[step]]))


def test_data_sets_and_streams_of_arrays_yield_what_those_of_images_yield(photos, maps):
    pipeline = PIPELINES["to image"]

    def load(path):
        return np.array(Image.open(path).convert("RGB"))

    def draw(dataset):
        torch.manual_seed(1)
        return next(iter(dataset))

    expected = draw(LabelMapDataset(ImageFolder(photos[0]), maps, pipeline))
    arrays = ImageFolder(photos[0], loader=load)
    stream = [(photos[1][0], load(photos[0] / photos[1][0]))]
    for ours in (
        LabelMapDataset(arrays, maps, pipeline),
        LabelMapDataset(arrays, maps, pipeline, key=lambda position: photos[1][position]),
        LabelMapIterable(stream, maps, pipeline),
    ):
        torch.testing.assert_close(draw(ours), expected, rtol=0, atol=0)

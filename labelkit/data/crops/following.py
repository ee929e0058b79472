"""Follow a crop through a pipeline of transforms, to know which part of the image it shows.

Transforms of torchvision v2 take a ``CropTracker`` along with the image; those of torchvision v1
and timm are done step by step, with identical pixels. A step that cannot be followed raises, since
the targets would be silently wrong.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data.crops.steps import ELASTIC, TORCHVISION, apply_to_tracker
from labelkit.data.crops.tracker import CropTracker

if TYPE_CHECKING:
    from labelkit.data.crops.steps import Move, StepTable, Tracked
    from labelkit.geometry import CropBox

Untraced = Literal["refuse", "ignore"]
Draw = Callable[[Any], Iterable[object]]

_CHANNELS = (1, 3, 4)


def track_crop(
    image: Any,  # noqa: ANN401 -- whatever the transform takes
    transform: Callable[..., Any],
    *,
    untraced: Untraced = "refuse",
) -> tuple[Any, CropBox]:
    """Send an image through a pipeline and return the output with the box that it shows.

    Args:
        image: a Pillow image, a tensor (..., H, W), or an array (H, W, 3) or (H, W), as cv2 and
            WebDataset's ``rgb8`` yield them, if the transform begins with a step that takes it.
        transform: a pipeline of torchvision v2 or v1 transforms, or from timm's
            ``create_transform``.
        untraced: what to do about steps such as RandAugment, which shift, rotate and shear images
            by up to some tenths of their size and keep no record of it: ``refuse`` them, or
            ``ignore`` what they do to the box.

    Returns:
        The output of the pipeline and the box of the image that it shows. The box is exact, or
        where a step rotates, shears or distorts, the smallest upright box around what is visible.

    Raises:
        TypeError: a step is of a type that cannot be followed; the message names it.
        ValueError: a step moves pixels in a way that no box describes or keeps no record of it, or
            nothing of the image is visible.
    """
    output, tracker = follow_crop(image, transform, untraced=untraced)
    return output, tracker.box


def follow_crop(
    image: Any,  # noqa: ANN401 -- whatever the transform takes
    transform: Callable[..., Any],
    *,
    untraced: Untraced = "refuse",
) -> tuple[Any, CropTracker]:
    """Like ``track_crop``, but return the whole tracker: ``matrix``, ``box`` and ``exact``.

    Raises:
        TypeError: as ``track_crop``.
        ValueError: as ``track_crop``.
    """
    return _follow(transform, image, CropTracker.of(_original_size(image)), untraced)


def require_trackable(transform: object, *, untraced: Untraced = "refuse") -> None:
    """Refuse a pipeline with a step that cannot be followed, before any image is read.

    What a ``Lambda`` does to pixels cannot be known, nor what a custom v2 transform does that keeps
    the image size: both are assumed to move no pixels.

    Raises:
        TypeError: the pipeline or one of its steps is of a type that cannot be followed.
        ValueError: a step shifts, rotates, shears or distorts images and keeps no record of it.
    """
    steps = _inner_steps(transform)
    if _draw_of(type(transform)) is None:
        _rule(transform, untraced)
    for step in steps:
        require_trackable(step, untraced=untraced)


def _follow(step: Any, image: Any, tracker: CropTracker, untraced: Untraced) -> Tracked:  # noqa: ANN401
    draw = _draw_of(type(step))
    if draw:
        for inner in draw(step):
            image, tracker = _follow(inner, image, tracker, untraced)
        return image, tracker
    if _moves(step):
        _require_movable(step, image)
    output, moved = _rule(step, untraced)(step, image, tracker)
    if moved is not tracker:
        _require_movable(step, image)
    return _require_same_size(step, output, moved)


def _inner_steps(transform: object) -> Iterable[object]:
    if isinstance(transform, nn.Sequential):
        return list(transform)
    return getattr(transform, "transforms", ())


def _original_size(image: Any) -> tuple[int, int]:  # noqa: ANN401
    """Height and width of an image as a data set yields it: arrays have their channels last."""
    if isinstance(image, np.ndarray) or _has_channels_last(image):
        return int(image.shape[0]), int(image.shape[1])
    return _size(image)


def _size(image: Any) -> tuple[int, int]:  # noqa: ANN401
    """Height and width; arrays are channels first, as timm's ``ToNumpy`` leaves them."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    height, width = (
        image.shape[-2:] if isinstance(image, np.ndarray | torch.Tensor) else VF.get_size(image)
    )
    return int(height), int(width)


def _has_channels_last(image: object) -> bool:
    """Whether it is a tensor (H, W, 3), which torchvision takes for one of H channels."""
    if not isinstance(image, torch.Tensor) or image.ndim != 3:
        return False
    return image.shape[2] in _CHANNELS and image.shape[0] not in _CHANNELS


def _require_movable(step: object, image: object) -> None:
    """Refuse an image that a step would leave as it is, or move along the wrong axes.

    Raises:
        ValueError: the image is an array, or a tensor (H, W, 3); the message says what to do.
    """
    name = type(step).__name__
    if isinstance(image, np.ndarray):
        raise ValueError(  # noqa: TRY004 -- other steps take it
            f"{name} cannot move an array of shape {image.shape}: put "
            "torchvision.transforms.v2.ToImage() in front of it, which takes (H, W, 3)"
        )
    if _has_channels_last(image):
        raise ValueError(
            f"{name} expects a tensor (3, H, W) and got {tuple(getattr(image, 'shape', ()))}: put "
            "torchvision.transforms.v2.Lambda(lambda image: image.permute(2, 0, 1)) in front of it"
        )


# Containers: which of their steps they take this time.


def _shuffled(step: v1.RandomOrder) -> Iterable[object]:
    order = list(range(len(step.transforms)))
    random.shuffle(order)
    return [step.transforms[index] for index in order]


_DRAWS: dict[type, Draw] = {
    nn.Sequential: list,
    v1.Compose: lambda step: step.transforms,
    v1.RandomApply: lambda step: () if step.p < torch.rand(1) else step.transforms,
    v1.RandomChoice: lambda step: random.choices(step.transforms, weights=step.p),  # noqa: S311
    v1.RandomOrder: _shuffled,
    v2.Compose: lambda step: step.transforms,
    v2.RandomApply: lambda step: () if torch.rand(1) >= step.p else step.transforms,
    v2.RandomChoice: lambda step: [
        step.transforms[int(torch.multinomial(torch.tensor(step.p), 1))]
    ],
    v2.RandomOrder: lambda step: [
        step.transforms[index] for index in torch.randperm(len(step.transforms))
    ],
}


@cache
def _draw_of(kind: type) -> Draw | None:
    """How a container of this type draws its steps; None for other types.

    Subclasses count as containers unless they override how steps are taken.
    """
    for base in kind.__mro__:
        if base in _DRAWS:
            name = "forward" if issubclass(base, nn.Module) else "__call__"
            return _DRAWS[base] if getattr(kind, name) is getattr(base, name) else None
    return None


# Single steps.

# Transforms of torchvision v2 that run without its search for images among all that a sample may
# hold, which takes longer than a flip. These move pixels by parameters that they draw ...
MOVING_V2: frozenset[type] = frozenset(
    {
        v2.CenterCrop,
        v2.Pad,
        v2.RandomAffine,
        v2.RandomCrop,
        v2.RandomHorizontalFlip,
        v2.RandomPerspective,
        v2.RandomResize,
        v2.RandomResizedCrop,
        v2.RandomRotation,
        v2.RandomShortestSize,
        v2.RandomVerticalFlip,
        v2.RandomZoomOut,
        v2.Resize,
        v2.ScaleJitter,
    }
)
# ... and these move none.
STILL_V2: frozenset[type] = frozenset({v2.Normalize, v2.ToDtype, v2.ToImage})

# These take a batch of images and labels, not one image.
_MIXERS: tuple[type, ...] = (v2.CutMix, v2.MixUp)


def _moves(step: object) -> bool:
    """Whether a step is of a type that is known to move pixels."""
    return type(step) in MOVING_V2 or type(step) in _table(step).moving


def _rule(step: object, untraced: Untraced) -> Move:
    """The function that applies a step to an image and its tracker."""
    kind, table = type(step), _table(step)
    if kind in table.moving:
        return table.moving[kind]
    if kind in table.still:
        return _apply_to_image
    if kind in MOVING_V2 or kind in STILL_V2:
        return _apply_directly
    if isinstance(step, table.untraced):
        if untraced == "ignore" or table.changes_colour_only(step):
            return _apply_to_image
        raise ValueError(_untraced_message(step))
    if isinstance(step, v2.Transform) and not isinstance(step, _MIXERS):
        return _apply_with_tracker
    raise TypeError(_unknown_message(step))


def _table(step: object) -> StepTable:
    if not type(step).__module__.startswith("timm."):
        return TORCHVISION
    from labelkit.data.crops.timm import TIMM

    return TIMM


def _apply_to_image(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    return step(image), tracker


def _apply_directly(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    """Do what ``step(image)`` does, with draws in the same order, and move the tracker along."""
    step.check_inputs([image])
    is_random_flip = type(step).forward is v2.RandomHorizontalFlip.forward
    if is_random_flip and torch.rand(1) >= step.p:
        return image, tracker
    drawn = step.make_params([image])
    output = step.transform(image, drawn)
    return output, step.transform(tracker, drawn) if type(step) in MOVING_V2 else tracker


def _apply_with_tracker(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    output, _ = step(image, tracker)
    return output, tracker.trail[-1]


def _require_same_size(step: object, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    """Refuse a step after which the image is not of the size that the tracker expects."""
    size = _size(image)
    if tracker.canvas_size in (size, _original_size(image)):
        return image, tracker
    difference = max(abs(a - b) for a, b in zip(size, tracker.canvas_size, strict=True))
    if difference == 1 and not tracker.exact:
        # Pillow and torchvision's tensor functions round the size of a rotated image differently.
        return image, apply_to_tracker("crop", tracker, 0, 0, *size)
    raise ValueError(
        f"{type(step).__name__} returns {size[0]}x{size[1]} pixels where "
        f"{tracker.canvas_size[0]}x{tracker.canvas_size[1]} are expected: it moves pixels in a way "
        "that label maps cannot follow"
    )


def _untraced_message(step: object) -> str:
    name = type(step).__name__
    effect = "distorts" if isinstance(step, ELASTIC) else "rotates, shears and shifts"
    return (
        f"{name} {effect} images and keeps no record of it, so label maps cannot follow it. Use "
        "colour transforms such as ColorJitter or RandomPosterize instead, or accept inaccurate "
        'boxes with untraced="ignore"'
    )


def _unknown_message(step: object) -> str:
    """Why a step cannot be followed, and what to do instead."""
    if isinstance(step, _MIXERS):
        return (
            f"{type(step).__name__} mixes whole batches, so it cannot be part of a pipeline for "
            "single images: remove it, and mix the batches with labelkit.data.mix"
        )
    if isinstance(step, tuple | list):
        return (
            f"a {type(step).__name__} of several pipelines cannot be followed. timm's "
            "create_transform returns one with separate=True, and timm's loader makes one with "
            "num_aug_splits: turn that off, or join the steps with "
            "torchvision.transforms.v2.Compose"
        )
    name = f"{type(step).__module__}.{type(step).__name__}"
    if step is None or inspect.isroutine(step):
        function = getattr(step, "__qualname__", "")
        name = f"the function {function}" if function else "None"
    return (
        f"{name} is not a transform that label maps can follow. Build the pipeline from "
        "torchvision.transforms.v2 or timm's create_transform; a step that moves no pixels can be "
        "wrapped in torchvision.transforms.v2.Lambda"
    )

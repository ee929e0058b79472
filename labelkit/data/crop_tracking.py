"""Follow a crop through a pipeline of transforms, to know which part of the image it shows.

Torchvision's v2 transforms carry a ``CropTracker`` beside the image; those of v1 and of timm are
done step by step, with the same pixels. A step that nobody can follow raises: the labels would be
wrong without a word.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import crop_steps
from labelkit.data.crop_kernels import CropTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labelkit.data.crop_steps import Move, Tracked
    from labelkit.geometry import CropBox

__all__ = ["CropTracker", "Untraced", "follow_crop", "require_trackable", "track_crop"]

Untraced = Literal["refuse", "ignore"]


def track_crop(
    image: Any,  # noqa: ANN401 -- whatever the transform takes
    transform: Callable[..., Any],
    *,
    untraced: Untraced = "refuse",
) -> tuple[Any, CropBox]:
    """Send an image through a pipeline and say which part of it came out.

    Args:
        image: a Pillow image, or a tensor (..., H, W).
        transform: a pipeline of torchvision's v2 or v1 transforms, or of timm's
            ``create_transform``.
        untraced: what to do with steps such as RandAugment, which shift, turn and shear images by
            up to some tenths of their size and keep no record of it: refuse them, or ignore what
            they do to the box.

    Returns:
        The pipeline's output, and the box of the image that it shows: exactly, or the smallest
        upright box around what is visible, where a step turns, shears or distorts.

    Raises:
        TypeError: a step is of a kind that cannot be followed; the message names it.
        ValueError: a step moves pixels in a way that no box describes, or without a trace, or
            nothing of the image is left to see.
    """
    output, tracker = follow_crop(image, transform, untraced=untraced)
    return output, tracker.box


def follow_crop(
    image: Any,  # noqa: ANN401 -- whatever the transform takes
    transform: Callable[..., Any],
    *,
    untraced: Untraced = "refuse",
) -> tuple[Any, CropTracker]:
    """As ``track_crop``, with the whole tracker: ``matrix``, ``box``, and whether it is ``exact``.

    Raises:
        TypeError: as ``track_crop``.
        ValueError: as ``track_crop``.
    """
    return _follow(transform, image, CropTracker.of(_size(image)), untraced)


def require_trackable(transform: object, *, untraced: Untraced = "refuse") -> None:
    """Refuse a pipeline with a step that moves pixels without a trace, before any image is read.

    What a ``Lambda`` does to the pixels, and a v2 transform of the user's own that keeps their
    number, cannot be known: it is taken to move nothing.

    Raises:
        TypeError: the pipeline, or a step of it, is of a kind that cannot be followed.
        ValueError: a step shifts, turns, shears or distorts images without a trace.
    """
    steps = _inner_steps(transform)
    if crop_steps.draw_of(type(transform)) is None:
        _rule(transform, untraced)
    for step in steps:
        require_trackable(step, untraced=untraced)


def _follow(step: Any, image: Any, tracker: CropTracker, untraced: Untraced) -> Tracked:  # noqa: ANN401
    draw = crop_steps.draw_of(type(step))
    if draw:
        for inner in draw(step):
            image, tracker = _follow(inner, image, tracker, untraced)
        return image, tracker
    return _of_one_size(step, *_rule(step, untraced)(step, image, tracker))


def _rule(step: object, untraced: Untraced) -> Move:
    """How to do one step and move the tracker along."""
    kind = type(step)
    tables: Any = crop_steps
    if kind.__module__.startswith("timm."):
        from labelkit.data import timm_transforms as tables
    if kind in tables.MOVES:
        return tables.MOVES[kind]
    if kind in tables.STILL:
        return _alone
    if kind in crop_steps.DRAWN or kind in crop_steps.PLAIN:
        return _directly
    if isinstance(step, tables.UNTRACED):
        if untraced == "ignore" or (tables is not crop_steps and tables.moves_only_colour(step)):
            return _alone
        does = "distorts" if isinstance(step, crop_steps.ELASTIC) else "rotates, shears and shifts"
        raise ValueError(
            f"{kind.__name__} {does} images without a trace, so label maps "
            "cannot follow it: take colour steps such as ColorJitter or RandomPosterize, or accept "
            'boxes that are off by as much with untraced="ignore"'
        )
    if isinstance(step, v2.Transform) and not isinstance(step, crop_steps.MIXERS):
        return _with_tracker
    raise TypeError(_unknown(step))


def _unknown(step: object) -> str:
    """Why a step cannot be followed, and what to do instead."""
    if isinstance(step, crop_steps.MIXERS):
        return (
            f"{type(step).__name__} mixes whole batches and is no step for one image: leave it "
            "out, and mix the batches with labelkit.data.mix"
        )
    if isinstance(step, tuple | list):
        return (
            f"a {type(step).__name__} of several pipelines cannot be followed, such as timm's "
            "create_transform makes with separate=True, and its loader with num_aug_splits: leave "
            "that out, or join the steps with torchvision.transforms.v2.Compose"
        )
    kind = f"{type(step).__module__}.{type(step).__name__}"
    if step is None or inspect.isroutine(step):
        name = getattr(step, "__qualname__", "")
        kind = f"the function {name}" if name else "None"
    return (
        f"{kind} is not a transform that label maps can follow: build "
        "the pipeline from torchvision.transforms.v2, or from what timm's create_transform uses; "
        "a step that moves no pixels may be wrapped in torchvision.transforms.v2.Lambda"
    )


def _alone(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    return step(image), tracker


def _directly(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    """As ``step(image)``, in the same order of draws, and the tracker along with it."""
    step.check_inputs([image])
    by_chance = type(step).forward is v2.RandomHorizontalFlip.forward
    if by_chance and torch.rand(1) >= step.p:
        return image, tracker
    drawn = step.make_params([image])
    output = step.transform(image, drawn)
    return output, step.transform(tracker, drawn) if type(step) in crop_steps.DRAWN else tracker


def _with_tracker(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    output, _ = step(image, tracker)
    return output, tracker.trail[-1]


def _of_one_size(step: object, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    """The two, once the image has the size that the tracker expects.

    Raises:
        ValueError: it has not.
    """
    size = _size(image)
    if size == tracker.canvas_size:
        return image, tracker
    apart = max(abs(a - b) for a, b in zip(size, tracker.canvas_size, strict=True))
    if apart == 1 and not tracker.exact:
        # Pillow and tensors round the size of a turned image differently.
        return image, crop_steps.moved("crop", tracker, 0, 0, *size)
    raise ValueError(
        f"{type(step).__name__} returns {size[0]}x{size[1]} pixels, its known steps give "
        f"{tracker.canvas_size[0]}x{tracker.canvas_size[1]}: it moves pixels in a way of its own, "
        "which label maps cannot follow"
    )


def _inner_steps(transform: object) -> Iterable[object]:
    if isinstance(transform, nn.Sequential):
        return list(transform)
    return getattr(transform, "transforms", ())


def _size(image: Any) -> tuple[int, int]:  # noqa: ANN401
    """Height and width; arrays are channels first, as timm's ``ToNumpy`` leaves them."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    height, width = (
        image.shape[-2:] if isinstance(image, np.ndarray | torch.Tensor) else VF.get_size(image)
    )
    return int(height), int(width)

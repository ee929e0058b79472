"""How each geometric operation of torchvision v2 moves a ``CropTracker``.

Importing this module registers them. Without a kernel, torchvision would pass the tracker through
without a word, and the labels would be wrong: what cannot be followed raises.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torchvision.transforms.v2 import functional as VF

from labelkit.data.crop_outline import mapped
from labelkit.data.crop_tracker import CropTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.data.crop_outline import Matrix

UNSUPPORTED = ("elastic", "five_crop", "ten_crop")


def upright(scale: tuple[float, float], offset: tuple[float, float]) -> Matrix:
    """The matrix of ``previous = scale * new + offset`` in (x, y)."""
    return [[scale[0], 0, offset[0]], [0, scale[1], offset[1]], [0, 0, 1]]


@VF.register_kernel("horizontal_flip", CropTracker)
def _horizontal_flip(tracker: CropTracker) -> CropTracker:
    return tracker.then(upright((-1, 1), (tracker.canvas_size[1], 0)), tracker.canvas_size)


@VF.register_kernel("vertical_flip", CropTracker)
def _vertical_flip(tracker: CropTracker) -> CropTracker:
    return tracker.then(upright((1, -1), (0, tracker.canvas_size[0])), tracker.canvas_size)


@VF.register_kernel("crop", CropTracker)
def _crop(tracker: CropTracker, top: int, left: int, height: int, width: int) -> CropTracker:
    return tracker.then(upright((1, 1), (left, top)), (height, width))


@VF.register_kernel("resize", CropTracker)
def _resize(
    tracker: CropTracker,
    size: int | Sequence[int] | None,
    max_size: int | None = None,
    **_: Any,  # noqa: ANN401 -- interpolation and antialias move no pixel
) -> CropTracker:
    height, width = tracker.canvas_size
    new_height, new_width = _resized(height, width, size, max_size)
    step = upright((width / new_width, height / new_height), (0, 0))
    return tracker.then(step, (new_height, new_width))


@VF.register_kernel("resized_crop", CropTracker)
def _resized_crop(  # noqa: PLR0913, PLR0917 -- torchvision's signature
    tracker: CropTracker,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    **_: Any,  # noqa: ANN401 -- interpolation and antialias move no pixel
) -> CropTracker:
    new_height, new_width = _resized(height, width, size, None)
    step = upright((width / new_width, height / new_height), (left, top))
    return tracker.then(step, (new_height, new_width))


@VF.register_kernel("pad", CropTracker)
def _pad(
    tracker: CropTracker,
    padding: int | Sequence[int],
    **_: Any,  # noqa: ANN401 -- fill and mode move no pixel
) -> CropTracker:
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = {1: sides * 4, 2: sides * 2, 4: sides}[len(sides)]
    height, width = tracker.canvas_size
    return _crop(tracker, -top, -left, height + top + bottom, width + left + right)


@VF.register_kernel("center_crop", CropTracker)
def _center_crop(tracker: CropTracker, output_size: int | Sequence[int]) -> CropTracker:
    sizes = [output_size] if isinstance(output_size, int) else list(output_size)
    crop_height, crop_width = sizes * 2 if len(sizes) == 1 else sizes
    height, width = tracker.canvas_size
    # A crop larger than the image pads it first, the odd pixel to the right and below.
    down, across = max(crop_height - height, 0), max(crop_width - width, 0)
    padded = _pad(tracker, [across // 2, down // 2, (across + 1) // 2, (down + 1) // 2])
    height, width = padded.canvas_size
    top, left = round((height - crop_height) / 2.0), round((width - crop_width) / 2.0)
    return _crop(padded, top, left, crop_height, crop_width)


@VF.register_kernel("affine", CropTracker)
def _affine(  # noqa: PLR0913 -- torchvision's signature
    tracker: CropTracker,
    *,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: float | Sequence[float],
    center: Sequence[float] | None = None,
    **_: Any,  # noqa: ANN401 -- interpolation and fill move no pixel
) -> CropTracker:
    height, width = tracker.canvas_size
    at_x, at_y = center or (width / 2, height / 2)
    shears = [shear, 0.0] if isinstance(shear, (int, float)) else list(shear)
    slant_x, slant_y = (math.tan(math.radians(part)) for part in (shears * 2)[:2])
    cosine, sine = _direction(angle)
    # Shear along x, then along y, then turn and scale; around the centre, which is then moved.
    a, b = cosine + sine * slant_y, -(cosine + sine * slant_y) * slant_x - sine
    c, d = sine - cosine * slant_y, cosine - (sine - cosine * slant_y) * slant_x
    inverse = [[d / scale, -b / scale], [-c / scale, a / scale]]
    moved = (at_x + translate[0], at_y + translate[1])
    return tracker.then(_around((at_x, at_y), inverse, moved), tracker.canvas_size)


@VF.register_kernel("rotate", CropTracker)
def _rotate(
    tracker: CropTracker,
    *,
    angle: float,
    expand: bool = False,
    center: Sequence[float] | None = None,
    **_: Any,  # noqa: ANN401 -- interpolation and fill move no pixel
) -> CropTracker:
    height, width = tracker.canvas_size
    cosine, sine = _direction(angle)
    inverse = [[cosine, -sine], [sine, cosine]]
    at_x, at_y = center or (width / 2, height / 2)
    if not expand:
        return tracker.then(_around((at_x, at_y), inverse, (at_x, at_y)), tracker.canvas_size)
    new_height, new_width = _turned_size(tracker.canvas_size, angle, center)
    moved = (at_x + (new_width - width) / 2, at_y + (new_height - height) / 2)
    return tracker.then(_around((at_x, at_y), inverse, moved), (new_height, new_width))


@VF.register_kernel("perspective", CropTracker)
def _perspective(
    tracker: CropTracker,
    *,
    startpoints: Sequence[Sequence[int]] | None,
    endpoints: Sequence[Sequence[int]] | None,
    coefficients: Sequence[float] | None = None,
    **_: Any,  # noqa: ANN401 -- interpolation and fill move no pixel
) -> CropTracker:
    values = list(coefficients or _perspective_from(startpoints or (), endpoints or ()))
    return tracker.then([values[:3], values[3:6], [*values[6:], 1.0]], tracker.canvas_size)


def _perspective_from(
    startpoints: Sequence[Sequence[int]], endpoints: Sequence[Sequence[int]]
) -> list[float]:
    """The eight coefficients of the map that sends each end point to its start point."""
    rows: list[list[float]] = []
    for (x, y), (to_x, to_y) in zip(endpoints, startpoints, strict=True):
        rows.extend(
            (
                [x, y, 1, 0, 0, 0, -to_x * x, -to_x * y],
                [0, 0, 0, x, y, 1, -to_y * x, -to_y * y],
            )
        )
    known = torch.tensor(startpoints, dtype=torch.float64).flatten()
    return torch.linalg.solve(torch.tensor(rows, dtype=torch.float64), known).tolist()


def _direction(angle: float) -> tuple[float, float]:
    """Cosine and sine of an angle in degrees; without rounding errors for quarter turns."""
    if angle % 90 == 0:
        return [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][int(angle // 90) % 4]
    return math.cos(math.radians(angle)), math.sin(math.radians(angle))


def _turned_size(
    size: tuple[int, int], angle: float, center: Sequence[float] | None
) -> tuple[int, int]:
    """Height and width of the canvas that holds a whole image of that size, turned."""
    height, width = size
    if angle % 90 == 0 and center is None:
        return size if angle % 180 == 0 else (width, height)
    cosine, sine = _direction(angle)
    at = (center[0], center[1]) if center else (width / 2, height / 2)
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    turned = mapped(_around(at, [[cosine, -sine], [sine, cosine]], at), corners)
    # Torchvision takes a side that sticks out by less than 1e-4 of a pixel for a rounding error.
    new_width, new_height = (
        math.ceil(max(side) - 1e-4) - math.floor(min(side) + 1e-4)
        for side in zip(*turned, strict=True)
    )
    return new_height, new_width


def _around(old: tuple[float, float], linear: Matrix, new: tuple[float, float]) -> Matrix:
    """The matrix of ``previous = linear @ (point - new) + old``."""
    (a, b), (c, d) = linear[0][:2], linear[1][:2]
    return [
        [a, b, old[0] - a * new[0] - b * new[1]],
        [c, d, old[1] - c * new[0] - d * new[1]],
        [0, 0, 1],
    ]


def _refuse(name: str) -> None:
    @VF.register_kernel(name, CropTracker)
    def _(tracker: CropTracker, *_: object, **__: object) -> NoReturn:
        del tracker
        raise ValueError(
            f"the transform uses {name}, whose result is not one box of the image: label "
            "maps cannot follow it. Take it out of the pipeline, or train without label maps"
        )


for _name in UNSUPPORTED:
    _refuse(_name)


def _resized(
    height: int, width: int, size: int | Sequence[int] | None, max_size: int | None
) -> tuple[int, int]:
    """Height and width after torchvision's ``resize``: one number is the shorter side's."""
    sizes = [size] if isinstance(size, int) else list(size or [])
    if len(sizes) == 2:
        return sizes[0], sizes[1]
    short, long = min(height, width), max(height, width)
    if not sizes:
        # Without a size, the image grows or shrinks until its longer side has max_size.
        new_short, new_long = int((max_size or long) * short / long), max_size or long
    else:
        new_short, new_long = sizes[0], int(sizes[0] * long / short)
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)

"""The map from a transformed image's pixels back to the original image, and how each step moves it.

``CropTracker`` goes through a pipeline as images do. The kernels in the second half of this file
move it, one for each geometric function of torchvision v2; importing this module registers them.
Without a kernel, torchvision would silently pass the tracker through, and the targets would be
wrong, so functions whose result is not one box raise.

Legend: x to the right, y down, (0, 0) the upper left corner of the image, so pixel centres are at
halves; a point is a column (x, y, 1), and a map is a matrix (3, 3) that multiplies it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn, Self

import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as VF

from labelkit.geometry import CropBox

Matrix = Sequence[Sequence[float]]
Point = tuple[float, float]

Edges = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

_EMPTY = torch.empty(0)
_IDENTITY: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


class CropTracker(tv_tensors.TVTensor):
    """The map from current to original pixels; transforms accept it like an image.

    The tensor itself is empty: multiplying nine numbers is faster outside torch, and every image
    needs one product per step.

    Attributes:
        rows: the map, (3, 3).
        image_size: height and width of the original image.
        canvas_size: height and width of the current image.
        trail: all trackers of this image so far, the latest last. It survives steps such as
            ``ToPureTensor``, which turn the tracker itself into a plain tensor.
        position: the index of this tracker in the trail.
    """

    rows: Matrix
    image_size: tuple[int, int]
    canvas_size: tuple[int, int]
    trail: list[CropTracker]
    position: int

    @classmethod
    def of(cls, image_size: Sequence[int]) -> Self:
        """A tracker for an untouched image of (height, width) pixels."""
        height, width = image_size
        return cls._build(_IDENTITY, (height, width), (height, width), [])

    def then(self, step: Matrix, size: Sequence[int]) -> Self:
        """The tracker after one more step.

        Args:
            step: the matrix (3, 3) that maps the new pixels to the current ones.
            size: the new height and width.
        """
        (j, k, m), (n, o, p), (q, r, s) = step
        rows = [
            [a * j + b * n + c * q, a * k + b * o + c * r, a * m + b * p + c * s]
            for a, b, c in self.rows
        ]
        return self._build(rows, self.image_size, (int(size[0]), int(size[1])), self.trail)

    @property
    def matrix(self) -> torch.Tensor:
        """The map as a plain tensor, float64 (3, 3)."""
        return torch.tensor(self.rows, dtype=torch.float64)

    @property
    def exact(self) -> bool:
        """Whether the pixels show the box and nothing else: no step slants or distorts."""
        return all(_is_upright(tracker.rows) for tracker in self._path())

    @property
    def fills_box(self) -> bool:
        """Whether the pixels are exactly the box: upright, with no padding added after a crop."""
        return self.exact and self._upright_edges() == _canvas_edges(self)

    @property
    def box(self) -> CropBox:
        """The part of the original image that the current pixels show.

        Exact for upright steps and quarter turns (see ``exact``); it extends beyond the image where
        padding was added around it. Otherwise it is the smallest upright box around the visible
        part, and so contains more. ``CropBox.outside`` if nothing of the image is visible.
        """
        left, top, right, bottom = self._upright_edges() if self.exact else self._outer_edges()
        if not (left < right and top < bottom):
            return CropBox.outside()
        height, width = self.image_size
        (a, b, _), (c, d, _), _ = self.rows
        transposed = abs(a) < abs(b)
        flipped, upside_down = (c < 0, b < 0) if transposed else (a < 0, d < 0)
        return CropBox(
            left / width,
            top / height,
            right / width,
            bottom / height,
            flipped,
            upside_down,
            transposed,
        )

    def _path(self) -> list[CropTracker]:
        return self.trail[: self.position + 1]

    def _upright_edges(self) -> Edges:
        """The canvas in the original image, without what earlier steps cut off.

        Where nothing was cut off, padding extends beyond the image: pooling counts it as empty.
        """
        canvas, *later = [_canvas_edges(tracker) for tracker in self._path()]
        kept = None
        for edges in later:
            if _intersection(canvas, edges) != canvas:
                kept = _intersection(kept or edges, edges)
            canvas = edges
        return _intersection(kept or canvas, canvas)

    def _outer_edges(self) -> Edges:
        """The box around the visible part: what is inside the image and every canvas so far."""
        height, width = self.canvas_size
        outline = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
        for tracker in self._path()[:-1]:
            to_canvas = torch.linalg.solve(tracker.matrix, self.matrix).tolist()
            outline = _clip(outline, to_canvas, tracker.canvas_size)
        if not outline:
            return 0.0, 0.0, 0.0, 0.0
        x, y = zip(*_map_points(self.rows, outline), strict=True)
        return round(min(x), 6), round(min(y), 6), round(max(x), 6), round(max(y), 6)

    @classmethod
    def _build(
        cls,
        rows: Matrix,
        image_size: tuple[int, int],
        canvas_size: tuple[int, int],
        trail: list[CropTracker],
    ) -> Self:
        tracker = _EMPTY.as_subclass(cls)
        tracker.rows, tracker.trail = rows, trail
        tracker.image_size, tracker.canvas_size = image_size, canvas_size
        tracker.position = len(trail)
        trail.append(tracker)
        return tracker


def _is_upright(matrix: Matrix) -> bool:
    """Whether the map keeps horizontal and vertical lines parallel to the axes."""
    (a, b, _), (c, d, _), (e, f, g) = matrix
    return e == f == 0 and g == 1 and (b == c == 0 or a == d == 0)


def _canvas_edges(tracker: CropTracker) -> Edges:
    """The edges of an upright tracker's canvas in the original image."""
    height, width = tracker.canvas_size
    (a, b, x), (c, d, y), _ = tracker.rows
    # Crops start at whole pixels. Rounding removes the error of the products: the number of points
    # that pooling samples jumps where a crop is a whole number of cells wide.
    x0, x1 = round(x, 6), round(a * width + b * height + x, 6)
    y0, y1 = round(y, 6), round(c * width + d * height + y, 6)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _intersection(a: Edges, b: Edges) -> Edges:
    """What two boxes share; left > right or top > bottom if they are disjoint."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _map_points(matrix: Matrix, points: Sequence[Point]) -> list[Point]:
    """Points (x, y) mapped by a matrix (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    result: list[Point] = []
    for x, y in points:
        depth = g * x + h * y + i
        result.append(((a * x + b * y + c) / depth, (d * x + e * y + f) / depth))
    return result


def _clip(outline: Sequence[Point], matrix: Matrix, size: tuple[int, int]) -> list[Point]:
    """The part of a convex outline that the matrix maps into a canvas (height, width).

    Empty if there is none.

    Source: Sutherland & Hodgman 1974, Reentrant polygon clipping.
    """
    to_x, to_y, depth = matrix
    height, width = size
    right = [width * w - x for w, x in zip(depth, to_x, strict=True)]
    below = [height * w - y for w, y in zip(depth, to_y, strict=True)]
    result = list(outline)
    for a, b, c in (to_x, to_y, right, below):
        signed = [(point, a * point[0] + b * point[1] + c) for point in result]
        result = []
        for (start, inside), (end, then_inside) in zip(
            signed, signed[1:] + signed[:1], strict=True
        ):
            if inside >= 0:
                result.append(start)
            if inside * then_inside < 0:
                share = inside / (inside - then_inside)
                result.append(
                    (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
                )
    return result


# The kernels.


def _upright(scale: tuple[float, float], offset: tuple[float, float]) -> Matrix:
    """The matrix of ``previous = scale * new + offset`` in (x, y)."""
    return [[scale[0], 0, offset[0]], [0, scale[1], offset[1]], [0, 0, 1]]


@VF.register_kernel("horizontal_flip", CropTracker)
def _horizontal_flip(tracker: CropTracker) -> CropTracker:
    return tracker.then(_upright((-1, 1), (tracker.canvas_size[1], 0)), tracker.canvas_size)


@VF.register_kernel("vertical_flip", CropTracker)
def _vertical_flip(tracker: CropTracker) -> CropTracker:
    return tracker.then(_upright((1, -1), (0, tracker.canvas_size[0])), tracker.canvas_size)


@VF.register_kernel("crop", CropTracker)
def _crop(tracker: CropTracker, top: int, left: int, height: int, width: int) -> CropTracker:
    return tracker.then(_upright((1, 1), (left, top)), (height, width))


@VF.register_kernel("resize", CropTracker)
def _resize(
    tracker: CropTracker,
    size: int | Sequence[int] | None,
    max_size: int | None = None,
    **_: Any,  # noqa: ANN401 -- interpolation and antialias move no pixel
) -> CropTracker:
    height, width = tracker.canvas_size
    new_height, new_width = _resized(height, width, size, max_size)
    step = _upright((width / new_width, height / new_height), (0, 0))
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
    step = _upright((width / new_width, height / new_height), (left, top))
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
    # A crop larger than the image pads it first; an odd pixel goes to the right or the bottom.
    extra_y, extra_x = max(crop_height - height, 0), max(crop_width - width, 0)
    padded = _pad(tracker, [extra_x // 2, extra_y // 2, (extra_x + 1) // 2, (extra_y + 1) // 2])
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
    # Shear along x, then along y, then rotate and scale, all about the centre; then translate.
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
    new_height, new_width = _rotated_size(tracker.canvas_size, angle, center)
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
    """The eight coefficients of the map from each end point to its start point."""
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
    """Cosine and sine of an angle in degrees, exact for quarter turns."""
    if angle % 90 == 0:
        return [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][int(angle // 90) % 4]
    return math.cos(math.radians(angle)), math.sin(math.radians(angle))


def _rotated_size(
    size: tuple[int, int], angle: float, center: Sequence[float] | None
) -> tuple[int, int]:
    """Height and width of the canvas that holds the whole image after a rotation."""
    height, width = size
    if angle % 90 == 0 and center is None:
        return size if angle % 180 == 0 else (width, height)
    cosine, sine = _direction(angle)
    at = (center[0], center[1]) if center else (width / 2, height / 2)
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    rotated = _map_points(_around(at, [[cosine, -sine], [sine, cosine]], at), corners)
    # Torchvision treats less than 1e-4 of a pixel as a rounding error.
    new_width, new_height = (
        math.ceil(max(side) - 1e-4) - math.floor(min(side) + 1e-4)
        for side in zip(*rotated, strict=True)
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


def _register_refusal(name: str) -> None:
    @VF.register_kernel(name, CropTracker)
    def _(tracker: CropTracker, *_: object, **__: object) -> NoReturn:
        del tracker
        raise ValueError(
            f"the transform uses {name}, whose result is not a single box of the image, so label "
            "maps cannot follow it. Remove it from the pipeline, or train without label maps"
        )


for _name in ("elastic", "five_crop", "ten_crop"):
    _register_refusal(_name)


def _resized(
    height: int, width: int, size: int | Sequence[int] | None, max_size: int | None
) -> tuple[int, int]:
    """Height and width after torchvision's ``resize``; a single number is the shorter side."""
    sizes = [size] if isinstance(size, int) else list(size or [])
    if len(sizes) == 2:
        return sizes[0], sizes[1]
    short, long = min(height, width), max(height, width)
    if not sizes:
        # Without a size, the image is scaled until its longer side is max_size.
        new_short, new_long = int((max_size or long) * short / long), max_size or long
    else:
        new_short, new_long = sizes[0], int(sizes[0] * long / short)
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)

"""The map from a transformed image's pixels back to the image it came from.

Legend: x to the right, y down, (0, 0) the image's upper left corner, so that pixel centres lie at
halves; points are columns (x, y, 1), and a map is a matrix (3, 3) that multiplies them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torchvision import tv_tensors

from labelkit.data.crop_outline import clip, mapped
from labelkit.geometry import CropBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.data.crop_outline import Matrix

Edges = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

_EMPTY = torch.empty(0)
_IDENTITY: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


class CropTracker(tv_tensors.TVTensor):
    """The map from current to original pixels, which transforms take like an image.

    The tensor itself is empty: nine numbers are multiplied faster outside of torch, and a tracker
    makes one step after another beside every image.

    Attributes:
        rows: the map, (3, 3).
        image_size: height and width of the original image.
        canvas_size: height and width of the current one.
        trail: all trackers of one image so far, the latest last; it outlives a step that turns
            the tracker itself into a plain tensor, as ``ToPureTensor`` does.
        place: where this tracker stands in the trail.
    """

    rows: Matrix
    image_size: tuple[int, int]
    canvas_size: tuple[int, int]
    trail: list[CropTracker]
    place: int

    @classmethod
    def of(cls, image_size: Sequence[int]) -> Self:
        """A tracker for an untouched image of (height, width) pixels."""
        height, width = image_size
        return cls._build(_IDENTITY, (height, width), (height, width), [])

    def then(self, step: Matrix, size: Sequence[int]) -> Self:
        """The tracker after one more step, which maps new pixels to those of before.

        ``step`` is its matrix (3, 3), ``size`` the new height and width.
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
        """Whether the box is just what the pixels show: no step was slanted or in perspective."""
        return all(_is_upright(tracker.rows) for tracker in self._path())

    @property
    def even(self) -> bool:
        """Whether the pixels fill the box in even rows and columns, with nothing around it."""
        return self.exact and self._upright_edges() == _canvas_edges(self)

    @property
    def box(self) -> CropBox:
        """The part of the original image that the current pixels show.

        For upright steps (and quarter turns) exactly, and reaching outside the image where padding
        was added around it. Otherwise the smallest upright box around what is visible, which is
        more than that: see ``exact``. ``CropBox.outside`` where nothing of the image is left.
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
        return self.trail[: self.place + 1]

    def _upright_edges(self) -> Edges:
        """The canvas in the original, without what earlier steps have cut off.

        Where nothing was cut, padding may reach outside: pooling counts it as empty.
        """
        canvas, *later = [_canvas_edges(tracker) for tracker in self._path()]
        kept = None
        for edges in later:
            if _meet(canvas, edges) != canvas:
                kept = _meet(kept or edges, edges)
            canvas = edges
        return _meet(kept or canvas, canvas)

    def _outer_edges(self) -> Edges:
        """The box around the visible part: what lies in the image and in each canvas on the way."""
        height, width = self.canvas_size
        outline = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
        for tracker in self._path()[:-1]:
            to_canvas = torch.linalg.solve(tracker.matrix, self.matrix).tolist()
            outline = clip(outline, to_canvas, tracker.canvas_size)
        if not outline:
            return 0.0, 0.0, 0.0, 0.0
        across, down = zip(*mapped(self.rows, outline), strict=True)
        return (
            round(min(across), 6),
            round(min(down), 6),
            round(max(across), 6),
            round(max(down), 6),
        )

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
        tracker.place = len(trail)
        trail.append(tracker)
        return tracker


def _is_upright(matrix: Matrix) -> bool:
    """Whether lines along the axes stay along the axes."""
    (a, b, _), (c, d, _), (e, f, g) = matrix
    return e == f == 0 and g == 1 and (b == c == 0 or a == d == 0)


def _canvas_edges(tracker: CropTracker) -> Edges:
    """Where the corners of an upright tracker's canvas lie in the original image."""
    height, width = tracker.canvas_size
    (a, b, x), (c, d, y), _ = tracker.rows
    # Crops lie on whole pixels: rounding takes back what the products lost, since the number
    # of points that pooling samples jumps where a crop is a whole number of cells wide.
    x0, x1 = round(x, 6), round(a * width + b * height + x, 6)
    y0, y1 = round(y, 6), round(c * width + d * height + y, 6)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _meet(one: Edges, other: Edges) -> Edges:
    """What two boxes share; without an inside if they share nothing."""
    left, top, right, bottom = one
    return max(left, other[0]), max(top, other[1]), min(right, other[2]), min(bottom, other[3])

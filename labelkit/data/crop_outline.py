"""What of an image remains in sight after rotations and the like: convex outlines, and cuts."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]
Matrix = Sequence[Sequence[float]]


def mapped(matrix: Matrix, points: Sequence[Point]) -> list[Point]:
    """Points (x, y) under a matrix (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    result: list[Point] = []
    for x, y in points:
        depth = g * x + h * y + i
        result.append(((a * x + b * y + c) / depth, (d * x + e * y + f) / depth))
    return result


def clip(outline: Sequence[Point], matrix: Matrix, size: tuple[int, int]) -> list[Point]:
    """The part of a convex outline whose points the matrix sends into a canvas (height, width).

    Empty where there is none.

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

"""A line of values as inline SVG, in the colours of the page around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_POINTS = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 12, 30


def curve_svg(
    values: Sequence[float],
    *,
    label: str = "",
    steps: str = "step",
    width: int = 600,
    height: int = 220,
) -> str:
    """Draw a line through the values, at equal distances from left to right.

    Above 400 values, each point of the line is the mean of a run of neighbours.

    Args:
        values: at least one; all finite.
        label: what a screen reader says.
        steps: what the values are counted in, written below the axis.
        width: of the drawing, in its own units; it stretches with the page.
        height: likewise.

    Returns:
        One ``<svg>`` element, everything in it escaped. It takes its colours from the page's
        ``currentColor`` and ``--accent``.

    Raises:
        ValueError: no values, or one that is not a finite number.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("a curve needs at least one value, and all of them finite")
    points = _thin(values)
    low, high = min(points), max(points)
    reach = high - low or abs(high) or 1.0
    low, high = (low, high) if high > low else (low - reach / 2, low + reach / 2)
    inner = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def place(step: int, value: float) -> tuple[float, float]:
        x = _LEFT + inner[0] * (step / (len(points) - 1) if len(points) > 1 else 0.5)
        return x, _TOP + inner[1] * (high - value) / (high - low)

    placed = [place(step, value) for step, value in enumerate(points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    last_x, last_y = placed[-1]
    lines = [
        _grid_line(value, place(0, value)[1], width) for value in (low, (low + high) / 2, high)
    ]
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" class="curve">'
        f"<title>{escape(_one_line(label) or 'curve')}</title>{''.join(lines)}"
        f'<polyline points="{path}" fill="none" stroke="var(--accent, #0072b2)" stroke-width="2" '
        'stroke-linejoin="round" />'
        f'<circle cx="{last_x:.1f}" cy="{last_y:.1f}" r="3.5" fill="var(--accent, #0072b2)" />'
        f'<text x="{_LEFT}" y="{height - 9}">{escape(_one_line(steps))} 1</text>'
        f'<text x="{width - _RIGHT}" y="{height - 9}" text-anchor="end">{len(values):,}</text>'
        "</svg>"
    )


def _thin(values: Sequence[float]) -> list[float]:
    run = -(-len(values) // _MOST_POINTS)
    runs = (values[start : start + run] for start in range(0, len(values), run))
    return [math.fsum(part) / len(part) for part in runs]


def _grid_line(value: float, y: float, width: int) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
        'stroke="currentColor" stroke-opacity="0.15" />'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    )


def _one_line(text: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in text)

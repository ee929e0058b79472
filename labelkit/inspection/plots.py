"""Line and scatter plots as inline SVG, in the colours of the page around them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from labelkit.inspection.drawing import PALETTE, hexadecimal

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEFT, _TICK_GAP = 54, 8
_CURVE_RIGHT, _CURVE_TOP, _CURVE_BOTTOM = 12, 12, 30
_MAX_CURVE_POINTS = 400
_SCATTER_RIGHT, _SCATTER_BOTTOM = 28, 44
_TICKS = 5
_LEGEND_ROW, _LETTER_WIDTH = 20, 7.4  # for letters of 14 units, the size on small screens


def curve_svg(
    values: Sequence[float],
    *,
    label: str = "",
    steps: str = "step",
    width: int = 600,
    height: int = 220,
) -> str:
    """Draw a line through values, evenly spaced from left to right.

    Above 400 values, each point of the line is the mean of a run of neighbours.

    Args:
        values: at least one; all finite.
        label: the text for screen readers.
        steps: the unit of the horizontal axis, written below it.
        width: width of the drawing in SVG units; the drawing scales with the page.
        height: height of the drawing in SVG units.

    Returns:
        One ``<svg>`` element with all text escaped. It takes its colours from the page's
        ``currentColor`` and ``--accent``.

    Raises:
        ValueError: no values, or one that is not a finite number.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("a curve needs at least one value, and all values must be finite")
    points = _thin(values)
    low, high = min(points), max(points)
    span = high - low or abs(high) or 1.0
    low, high = (low, high) if high > low else (low - span / 2, low + span / 2)
    ticks = (low, (low + high) / 2, high)
    labels = tick_labels(ticks)
    left = max(_LEFT, math.ceil(_TICK_GAP + _LETTER_WIDTH * max(map(len, labels))))
    inner_width = width - left - _CURVE_RIGHT
    inner_height = height - _CURVE_TOP - _CURVE_BOTTOM

    def place(step: int, value: float) -> tuple[float, float]:
        x = left + inner_width * (step / (len(points) - 1) if len(points) > 1 else 0.5)
        return x, _CURVE_TOP + inner_height * (high - value) / (high - low)

    placed = [place(step, value) for step, value in enumerate(points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    last_x, last_y = placed[-1]
    right = width - _CURVE_RIGHT
    lines = [
        _grid_line(right, place(0, value)[1], text, left)
        for value, text in zip(ticks, labels, strict=True)
    ]
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" class="curve">'
        f"<title>{escape(_one_line(label) or 'curve')}</title>{''.join(lines)}"
        f'<polyline points="{path}" fill="none" stroke="var(--accent, #0072b2)" stroke-width="2" '
        'stroke-linejoin="round" />'
        f'<circle cx="{last_x:.1f}" cy="{last_y:.1f}" r="3.5" fill="var(--accent, #0072b2)" />'
        f'<text x="{left}" y="{height - 9}">{escape(_one_line(steps))} 1</text>'
        f'<text x="{right}" y="{height - 9}" text-anchor="end">{len(values):,}</text>'
        "</svg>"
    )


def scatter_svg(
    points: Sequence[tuple[float, float, str, str]],
    *,
    axes: tuple[str, str],
    width: int = 560,
    height: int = 380,
) -> str:
    """Draw points in several series, each with its own colour and shape, and a legend above.

    Args:
        points: (x, y, series, tooltip); at least one; x and y finite and not negative.
        axes: the names of the x and y axes.
        width: width of the drawing in SVG units; the drawing scales with the page.
        height: height of the drawing in SVG units.

    Returns:
        One ``<svg>`` element with all text escaped.

    Raises:
        ValueError: no points, or one that is not finite.
    """
    if not points or not all(math.isfinite(value) for point in points for value in point[:2]):
        raise ValueError("a scatter plot needs at least one point, and all points must be finite")
    series = list(dict.fromkeys(name for _, _, name, _ in points))
    marks = {name: _mark(number) for number, name in enumerate(series)}
    legend, legend_bottom = _legend(marks, width)
    steps = _tick(max(x for x, _, _, _ in points)), _tick(max(y for _, y, _, _ in points))
    top, right, bottom = legend_bottom + 42, width - _SCATTER_RIGHT, height - _SCATTER_BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (right - _LEFT) * x / (steps[0] * _TICKS),
            top + (bottom - top) * (1 - y / (steps[1] * _TICKS)),
        )

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" class="curve">']
    parts.append(f"<title>{escape(axes[1])} over {escape(axes[0])}</title>")
    for tick in range(_TICKS + 1):
        x, y = place(steps[0] * tick, steps[1] * tick)
        parts.append(_grid_line(right, y, f"{steps[1] * tick:.3g}"))
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{steps[0] * tick:,.0f}</text>"
        )
    parts += [marks[name].at(*place(x, y), tooltip) for x, y, name, tooltip in points]
    parts += legend
    parts.append(
        f'<text x="{right}" y="{height - 6}" text-anchor="end">{escape(axes[0])}</text>'
        f'<text x="{_LEFT}" y="{top - 12}">{escape(axes[1])}</text></svg>'
    )
    return "".join(parts)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Numbers with three digits, or as many as it takes to tell them apart.

    >>> tick_labels([1.0, 1.25, 1.5]), tick_labels([1.0, 1.001, 1.002])
    (['1', '1.25', '1.5'], ['1', '1.001', '1.002'])
    """
    labels: list[str] = []
    for digits in range(3, 17):
        labels = [f"{tick:.{digits}g}" for tick in ticks]
        if len(set(labels)) == len(set(ticks)):
            break
    return labels


def _thin(values: Sequence[float]) -> list[float]:
    """At most 400 points: the means of runs of neighbouring values."""
    run = -(-len(values) // _MAX_CURVE_POINTS)
    runs = (values[start : start + run] for start in range(0, len(values), run))
    return [math.fsum(part) / len(part) for part in runs]


def _grid_line(right: int, y: float, label: str, left: int = _LEFT) -> str:
    return (
        f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" '
        'stroke="currentColor" stroke-opacity="0.15" />'
        f'<text x="{left - _TICK_GAP}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _tick(highest: float) -> float:
    """A round distance between grid lines, so that five of them reach the highest value."""
    rough = max(highest, 1e-9) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= rough * 0.999)


@dataclass(frozen=True, slots=True)
class _Mark:
    """How the points of one series are drawn."""

    colour: str
    round: bool

    def at(self, x: float, y: float, tooltip: str) -> str:
        shape = f'cx="{x:.1f}" cy="{y:.1f}" r="5"'
        if not self.round:
            shape = f'x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"'
        tag = "circle" if self.round else "rect"
        return (
            f'<{tag} {shape} fill="{self.colour}" stroke="currentColor" stroke-opacity="0.4">'
            f"<title>{escape(tooltip)}</title></{tag}>"
        )


def _mark(number: int) -> _Mark:
    """Circles, then squares once every colour is taken: no two series may look alike."""
    return _Mark(hexadecimal(PALETTE[number % len(PALETTE)]), number // len(PALETTE) % 2 == 0)


def _legend(marks: dict[str, _Mark], width: int) -> tuple[list[str], int]:
    """A mark and a name for each series, in as many rows as needed, and the y of the last row."""
    parts: list[str] = []
    left, row = float(_LEFT), 14
    for name, mark in marks.items():
        needed = 30 + _LETTER_WIDTH * len(name)
        if left + needed > width and left > _LEFT:
            left, row = float(_LEFT), row + _LEGEND_ROW
        parts.append(mark.at(left, row, name))
        parts.append(f'<text x="{left + 10:.0f}" y="{row + 4}">{escape(name)}</text>')
        left += needed
    return parts, row

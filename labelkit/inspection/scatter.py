"""Points of several kinds over two axes as inline SVG, in the colours of the page around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from labelkit.inspection.palette import PALETTE, hexadecimal

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEFT, _RIGHT, _BOTTOM = 54, 28, 44
_TICKS = 5
_LINE, _LETTER = 20, 7.4  # for letters of 14 units, as small screens have them


def scatter_svg(
    points: Sequence[tuple[float, float, str, str]],
    *,
    axes: tuple[str, str],
    width: int = 560,
    height: int = 380,
) -> str:
    """Draw points, each kind in a colour and shape of its own, named above the drawing.

    Args:
        points: (x, y, kind, what it says under the mouse); at least one, all finite, from 0.
        axes: what x and y are.
        width: of the drawing, in its own units; it stretches with the page.
        height: likewise.

    Returns:
        One ``<svg>`` element, everything in it escaped.

    Raises:
        ValueError: no points, or one that is not finite.
    """
    if not points or not all(math.isfinite(value) for point in points for value in point[:2]):
        raise ValueError("a scatter plot needs at least one point, and all of them finite")
    kinds = list(dict.fromkeys(kind for _, _, kind, _ in points))
    marks = {kind: _mark(place) for place, kind in enumerate(kinds)}
    legend, above = _legend(marks, width)
    steps = _tick(max(x for x, _, _, _ in points)), _tick(max(y for _, y, _, _ in points))
    far = [step * _TICKS for step in steps]
    top_line = above + 42
    inner = width - _LEFT - _RIGHT, height - top_line - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + inner[0] * x / far[0], top_line + inner[1] * (1 - y / far[1])

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" class="curve">']
    parts.append(f"<title>{escape(axes[1])} over {escape(axes[0])}</title>")
    for tick in range(_TICKS + 1):
        x, y = place(steps[0] * tick, steps[1] * tick)
        parts.append(_rule(width, y, f"{steps[1] * tick:.3g}"))
        parts.append(
            f'<text x="{x:.1f}" y="{height - _BOTTOM + 18}" text-anchor="middle">'
            f"{steps[0] * tick:,.0f}</text>"
        )
    for x, y, kind, told in points:
        left, top = place(x, y)
        parts.append(marks[kind].at(left, top, told))
    parts += legend
    parts.append(
        f'<text x="{width - _RIGHT}" y="{height - 6}" text-anchor="end">{escape(axes[0])}</text>'
        f'<text x="{_LEFT}" y="{top_line - 12}">{escape(axes[1])}</text></svg>'
    )
    return "".join(parts)


def _tick(highest: float) -> float:
    """A round distance between lines, so that five of them reach the highest value."""
    rough = max(highest, 1e-9) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= rough * 0.999)


def _rule(width: int, y: float, value: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
        'stroke="currentColor" stroke-opacity="0.15" />'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
    )


@dataclass(frozen=True, slots=True)
class _Mark:
    """How the points of one kind are drawn."""

    colour: str
    round: bool

    def at(self, x: float, y: float, told: str) -> str:
        shape = f'cx="{x:.1f}" cy="{y:.1f}" r="5"'
        if not self.round:
            shape = f'x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"'
        tag = "circle" if self.round else "rect"
        return (
            f'<{tag} {shape} fill="{self.colour}" stroke="currentColor" stroke-opacity="0.4">'
            f"<title>{escape(told)}</title></{tag}>"
        )


def _mark(place: int) -> _Mark:
    """Dots, and squares once every colour is taken: two kinds must not look alike."""
    return _Mark(hexadecimal(PALETTE[place % len(PALETTE)]), place // len(PALETTE) % 2 == 0)


def _legend(marks: dict[str, _Mark], width: int) -> tuple[list[str], int]:
    """A mark and a name for each kind, in as many lines as they need, and where the last ends."""
    parts: list[str] = []
    left, line = float(_LEFT), 14
    for kind, mark in marks.items():
        needed = 30 + _LETTER * len(kind)
        if left + needed > width and left > _LEFT:
            left, line = float(_LEFT), line + _LINE
        parts.append(mark.at(left, line, kind))
        parts.append(f'<text x="{left + 10:.0f}" y="{line + 4}">{escape(kind)}</text>')
        left += needed
    return parts, line

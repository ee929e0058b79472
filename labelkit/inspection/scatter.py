"""Points of several kinds over two axes as inline SVG, in the colours of the page around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from labelkit.inspection.palette import PALETTE, hexadecimal

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 24, 52, 44
_TICKS = 5


def scatter_svg(
    points: Sequence[tuple[float, float, str, str]],
    *,
    axes: tuple[str, str],
    width: int = 720,
    height: int = 380,
) -> str:
    """Draw points, each kind in a colour of its own, named above the drawing.

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
    colours = {kind: hexadecimal(PALETTE[n % len(PALETTE)]) for n, kind in enumerate(kinds)}
    steps = _tick(max(x for x, _, _, _ in points)), _tick(max(y for _, y, _, _ in points))
    far = [step * _TICKS for step in steps]
    inner = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + inner[0] * x / far[0], _TOP + inner[1] * (1 - y / far[1])

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
        parts.append(
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="5" fill="{colours[kind]}" '
            f'stroke="currentColor" stroke-opacity="0.4"><title>{escape(told)}</title></circle>'
        )
    parts += _legend(colours, width)
    parts.append(
        f'<text x="{width - _RIGHT}" y="{height - 6}" text-anchor="end">{escape(axes[0])}</text>'
        f'<text x="4" y="{height - 6}">up: {escape(axes[1])}</text></svg>'
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


def _legend(colours: dict[str, str], width: int) -> list[str]:
    """A dot and a name for each kind, in as many lines as they need."""
    parts: list[str] = []
    left, line = float(_LEFT), 14
    for kind, colour in colours.items():
        needed = 24 + 6.4 * len(kind)
        if left + needed > width:
            left, line = float(_LEFT), line + 18
        parts.append(f'<circle cx="{left:.0f}" cy="{line}" r="5" fill="{colour}" />')
        parts.append(f'<text x="{left + 9:.0f}" y="{line + 4}">{escape(kind)}</text>')
        left += needed
    return parts

"""Curves as a picture: one panel each, for places that show no HTML."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, PngImagePlugin

from labelkit.files import replace_file
from labelkit.inspection.drawing import FAINT, INK, NOTE_SIZE, PALETTE, PAPER, font
from labelkit.inspection.plots import tick_labels

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from labelkit.inspection.page import Curve

_PANEL = (640, 260)
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 38, 34
_GRID = (222, 223, 226)
_LINE = PALETTE[5]


def draw_curves(curves: Sequence[Curve]) -> Image.Image:
    """One panel per curve, two in a row; caption above, the number of steps below.

    Raises:
        ValueError: no curves, or one without values or with a value that is not finite.
    """
    if not curves or not all(c.values and all(map(math.isfinite, c.values)) for c in curves):
        raise ValueError("a picture needs at least one curve, and each curve finite values")
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    picture = Image.new("RGB", (columns * _PANEL[0], rows * _PANEL[1]), PAPER)
    for number, curve in enumerate(curves):
        row, column = divmod(number, columns)
        picture.paste(_panel(curve), (column * _PANEL[0], row * _PANEL[1]))
    return picture


def write_curves(path: str | os.PathLike[str], curves: Sequence[Curve], software: str) -> None:
    """Write ``draw_curves`` as a PNG, atomically, with the name of the program in its metadata.

    Raises:
        OSError: the file cannot be written.
        ValueError: as for ``draw_curves``.
    """
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text("Software", software)
    content = io.BytesIO()
    draw_curves(curves).save(content, "PNG", pnginfo=metadata)
    replace_file(Path(path), content.getvalue())


def _panel(curve: Curve) -> Image.Image:
    panel = Image.new("RGB", _PANEL, PAPER)
    draw = ImageDraw.Draw(panel)
    low, high = min(curve.values), max(curve.values)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    right, bottom = _PANEL[0] - _RIGHT, _PANEL[1] - _BOTTOM

    def place(step: int, value: float) -> tuple[float, float]:
        along = step / (len(curve.values) - 1) if len(curve.values) > 1 else 0.5
        across = (high - value) / (high - low)
        return _LEFT + (right - _LEFT) * along, _TOP + (bottom - _TOP) * across

    draw.text((_LEFT, _TOP / 2), curve.caption, INK, font(), anchor="lm")
    ticks = [low + (high - low) * tick / 4 for tick in range(5)]
    for value, text in zip(ticks, tick_labels(ticks), strict=True):
        _, y = place(0, value)
        draw.line((_LEFT, y, right, y), _GRID)
        draw.text((_LEFT - 8, y), text, FAINT, font(NOTE_SIZE), anchor="rm")
    draw.text((_LEFT, bottom + 18), f"{curve.steps} 1", FAINT, font(NOTE_SIZE), anchor="lm")
    last = f"{len(curve.values):,}"
    draw.text((right, bottom + 18), last, FAINT, font(NOTE_SIZE), anchor="rm")
    points = [place(step, value) for step, value in enumerate(curve.values)]
    draw.line(points, _LINE, 2, joint="curve")
    draw.circle(points[-1], 3.5, _LINE)
    return panel

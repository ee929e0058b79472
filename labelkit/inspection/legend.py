"""The legend below a picture: swatches or letters, names, and a number each, in columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.inspection.palette import Colour

PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 33, 36)
FAINT: Colour = (95, 99, 104)
TEXT_SIZE = 15
NOTE_SIZE = 13
ROW_HEIGHT = 25
_NOTE_HEIGHT = 18
_COLUMN_WIDTH = 250
_MARK = 16
_GAP = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a legend: a filled swatch, or a letter where ``mark`` is given."""

    text: str
    value: str = ""
    colour: Colour | None = None
    mark: str = ""


def font(size: int = TEXT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface at ``size`` pixels, so that a picture looks the same everywhere."""
    return ImageFont.load_default(size=size)


def draw_legend(entries: Sequence[Entry], width: int) -> Image.Image:
    """The entries on paper, filled row by row in as many columns as ``width`` pixels take.

    Text that is wider than its column ends in an ellipsis.
    """
    columns = max(1, min(len(entries), width // _COLUMN_WIDTH))
    rows = -(-len(entries) // columns)
    paper = Image.new("RGB", (width, max(1, rows * ROW_HEIGHT)), PAPER)
    draw = ImageDraw.Draw(paper)
    column_width = width // columns
    for place, entry in enumerate(entries):
        row, column = divmod(place, columns)
        _draw_entry(draw, entry, (column * column_width, row * ROW_HEIGHT), column_width)
    return paper


def draw_note(text: str, width: int) -> Image.Image:
    """A sentence on paper, in faint letters and as many lines as ``width`` pixels need."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font(NOTE_SIZE).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    paper = Image.new("RGB", (width, len(lines) * _NOTE_HEIGHT + _GAP), PAPER)
    draw = ImageDraw.Draw(paper)
    for row, line in enumerate(lines):
        middle = _GAP + row * _NOTE_HEIGHT + _NOTE_HEIGHT // 2
        draw.text((0, middle), line, FAINT, font(NOTE_SIZE), anchor="lm")
    return paper


def shorten(text: str, width: float, size: int = TEXT_SIZE) -> str:
    """The text, or its beginning and an ellipsis, so that it is at most ``width`` pixels wide."""
    face = font(size)
    if face.getlength(text) <= width:
        return text
    kept = text
    while kept and face.getlength(f"{kept}…") > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def _draw_entry(
    draw: ImageDraw.ImageDraw, entry: Entry, corner: tuple[int, int], width: int
) -> None:
    left, top = corner
    middle = top + ROW_HEIGHT // 2
    box = (left, middle - _MARK // 2, left + _MARK, middle + _MARK // 2)
    if entry.mark:
        draw.rectangle(box, fill=INK)
        draw.text((left + _MARK / 2, middle), entry.mark, PAPER, font(TEXT_SIZE - 2), anchor="mm")
    elif entry.colour is not None:
        draw.rounded_rectangle(box, radius=3, fill=entry.colour)
    text_left = left + (_MARK + _GAP if entry.mark or entry.colour else 0)
    value_width = font().getlength(entry.value) + _GAP if entry.value else 0
    text = shorten(entry.text, left + width - 2 * _GAP - text_left - value_width)
    ink = INK if entry.mark or entry.colour else FAINT
    draw.text((text_left, middle), text, ink, font(), anchor="lm")
    value_left = text_left + font().getlength(text) + _GAP
    draw.text((value_left, middle), entry.value, FAINT, font(), anchor="lm")

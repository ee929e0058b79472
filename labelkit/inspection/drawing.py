"""A picture of a label map: the photo, where its classes are, and a legend with their names.

Legend: K entries per cell, H W grid, C classes, h w pixels of a panel.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from labelkit.inspection.other import OTHER_COLOUR, layers, other_index, shown_name
from labelkit.inspection.presence import class_shares, presence_of
from labelkit.label_maps import pool
from labelkit.wording import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from labelkit.geometry import CropBox
    from labelkit.label_maps import LabelMap
    from labelkit.targets import SparseLogits

    Pooling: TypeAlias = Callable[[CropBox], SparseLogits]

Colour: TypeAlias = tuple[int, int, int]

# Colours that differ for people with any colour vision, the most different ones first.
# Source: Okabe and Ito 2008, "Color Universal Design"; without their black, which photos contain.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (204, 121, 167),  # reddish purple
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermillion
)
"""The colours of classes in pictures, as RGB; they are distinct for colour-blind people too."""


def hexadecimal(colour: Colour) -> str:
    """The colour as in web pages and terminals: ``#e69f00``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 33, 36)
FAINT: Colour = (95, 99, 104)
TEXT_SIZE = 15
NOTE_SIZE = 13
ROW_HEIGHT = 25
_NOTE_HEIGHT = 18
_COLUMN_WIDTH = 250
_MARK = 16
_LEGEND_GAP = 9
STRENGTH = 0.72  # opacity of the colour where a class is certain: the photo stays visible
MAX_CROPS = len(string.ascii_uppercase)
_MIN_PRESENCE = 0.005
_DEFAULT_CLASSES = 5
GAP = 12
_SIDES = (160, 900)
_MIN_WIDTH = 320
CLASS_NOTE = (
    "Percent: the class's mean probability over all cells of the image. "
    "The stronger the colour, the more probable the class there."
)
CROP_NOTE = (
    "Next to a crop: the most probable class of its target, and that class's probability, with the "
    "file's calibration if it has one."
)


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of a legend: a colour swatch, or a letter if ``mark`` is given."""

    text: str
    value: str = ""
    colour: Colour | None = None
    mark: str = ""

    @property
    def striped(self) -> bool:
        """Whether the swatch has the stripes of *other*."""
        return self.colour == OTHER_COLOUR


@dataclass(frozen=True, eq=False, slots=True)
class LabelMapPanels:
    """The parts of a picture of a label map, before layout.

    Attributes:
        photo: the photo with its crops marked, RGB (h, w).
        overlay: the photo in grey with its classes in colour, RGB (h, w).
        classes: legend entries of the classes.
        crops: legend entries of the crops.
    """

    photo: Image.Image
    overlay: Image.Image
    classes: tuple[LegendEntry, ...]
    crops: tuple[LegendEntry, ...]

    def join(self, gap: int = GAP) -> Image.Image:
        """Both panels side by side, or one above the other if they are wide."""
        wide = self.photo.width > 2 * self.photo.height
        second = (0, self.photo.height + gap) if wide else (self.photo.width + gap, 0)
        size = second[0] + self.photo.width, second[1] + self.photo.height
        picture = Image.new("RGB", size, PAPER)
        picture.paste(self.photo, (0, 0))
        picture.paste(self.overlay, second)
        return picture


def draw_label_map(  # noqa: PLR0913 -- what to draw, and how
    image: Image.Image,
    label_map: LabelMap,
    names: Sequence[str],
    *,
    classes: Sequence[int] | None = None,
    crops: Sequence[CropBox] = (),
    pooling: Pooling | None = None,
    side: int = 560,
) -> Image.Image:
    """Draw the photo, the photo in grey with its classes in colour, and a legend with their names.

    The strength of a colour is the class's presence (see ``labelkit.inspection.presence``),
    interpolated bilinearly from cells to pixels; where no shown class is present, the photo stays
    grey. The grid covers the whole photo, because the teacher saw it resized to a square. The
    number next to a name is the class's mean presence; a note below explains it. Crops are drawn on
    the left photo, each with a letter; the legend gives the most probable class of the crop's
    pooled target, with the calibration of the map's file.

    Args:
        image: the photo, of any size.
        label_map: its label map, on any grid.
        names: the names of all C classes; underscores become spaces.
        classes: at most 7 classes to show; the most present ones if None.
        crops: at most 26 parts of the image to mark.
        pooling: gives the pooled logits of a crop; None pools ``label_map``. For an image with
            several maps, pass one that calls ``labelkit.label_maps.pool_by_zoom``.
        side: length of each photo's longer side in pixels, 160 to 900.

    Returns:
        An RGB picture; the same arguments give the same pixels.

    Raises:
        ValueError: too many classes or crops, a class that does not exist, or a side out of range.
    """
    panels = draw_panels(
        image, label_map, names, classes=classes, crops=crops, pooling=pooling, side=side
    )
    photos = panels.join()
    width = max(photos.width, _MIN_WIDTH)
    papers = [draw_legend(part, width) for part in (panels.classes, panels.crops) if part]
    papers.append(draw_note(f"{CLASS_NOTE} {CROP_NOTE if crops else ''}", width))
    height = photos.height + GAP + sum(paper.height for paper in papers)
    picture = Image.new("RGB", (width + 2 * GAP, height + 2 * GAP), PAPER)
    picture.paste(photos, (GAP, GAP))
    top = photos.height + 2 * GAP
    for paper in papers:
        picture.paste(paper, (GAP, top))
        top += paper.height
    return picture


def draw_panels(  # noqa: PLR0913 -- as draw_label_map
    image: Image.Image,
    label_map: LabelMap,
    names: Sequence[str],
    *,
    classes: Sequence[int] | None = None,
    crops: Sequence[CropBox] = (),
    pooling: Pooling | None = None,
    side: int = 560,
) -> LabelMapPanels:
    """The parts of the picture that ``draw_label_map`` makes from the same arguments.

    Raises:
        ValueError: too many classes or crops, a class that does not exist, or a side out of range.
    """
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise ValueError(f"side={side} must be between {_SIDES[0]} and {_SIDES[1]} pixels")
    if len(crops) > MAX_CROPS:
        raise ValueError(f"{len(crops)} crops, but only {MAX_CROPS} letters to mark them")
    shown = most_present(label_map, len(names)) if classes is None else tuple(classes)
    colours = class_colours(shown, len(names), other_index(names))
    photo = fit(image, side)
    return LabelMapPanels(
        photo=_mark_crops(photo, crops),
        overlay=tint(photo.convert("L"), label_map, colours, len(names)),
        classes=_class_entries(label_map, names, colours),
        crops=_crop_entries(pooling or partial(pool, label_map), names, crops),
    )


def most_present(
    label_map: LabelMap, num_classes: int, limit: int = _DEFAULT_CLASSES
) -> tuple[int, ...]:
    """The classes to draw: at most ``limit``, at least one, and otherwise none below 0.5 %."""
    shares = class_shares(label_map, num_classes)[:limit]
    kept = [share for share in shares if share.presence >= _MIN_PRESENCE] or shares[:1]
    return tuple(share.class_index for share in kept)


def fit(image: Image.Image, side: int) -> Image.Image:
    """The image as RGB, resized so that its longer side has ``side`` pixels."""
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def tint(
    photo: Image.Image, label_map: LabelMap, colours: dict[int, Colour], num_classes: int
) -> Image.Image:
    """The photo with an overlay for each class of ``colours``, as opaque as its presence.

    Raises:
        ValueError: the map has more entries per cell than there are classes.
    """
    pixels = np.asarray(photo.convert("RGB"), dtype=np.float32)
    bare = np.ones(pixels.shape[:2], np.float32)
    coloured = np.zeros_like(pixels)
    for class_index, colour in colours.items():
        presence = presence_of(label_map, class_index, num_classes)
        opacity = STRENGTH * _to_pixels(presence, photo.size)
        for paint, covered in layers(colour, photo.size):
            bare -= opacity * covered
            coloured += (opacity * covered)[..., None] * np.array(paint, np.float32)
    mixed = pixels * bare[..., None] + coloured
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _to_pixels(grid: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize cells (H, W) to pixels (h, w), bilinearly between the cells' centres."""
    cells = Image.fromarray(grid.astype(np.float32))
    return np.clip(np.asarray(cells.resize(size, Image.Resampling.BILINEAR)), 0.0, 1.0)


def class_colours(
    classes: Sequence[int], num_classes: int, other: int | None = None
) -> dict[int, Colour]:
    """A colour for each class of a picture, in the given order.

    A class has the same colour in all pictures, by its index, unless an earlier class of a picture
    has it; then it gets the next free one. So with at most 7 classes all colours stay the same.

    Args:
        classes: at most 7 class indices; repeated ones count once.
        num_classes: how many classes there are.
        other: the index of *other* if there is one; it is grey, which no class is.

    Raises:
        ValueError: too many classes, or one that does not exist.
    """
    if len(set(classes)) > len(PALETTE):
        raise ValueError(f"{len(set(classes))} classes, but only {len(PALETTE)} distinct colours")
    for class_index in classes:
        if not 0 <= class_index < num_classes:
            raise ValueError(f"class {class_index} is not one of {num_classes}")
    free = list(PALETTE)
    colours: dict[int, Colour] = {}
    for class_index in dict.fromkeys(classes):
        if class_index == other:
            colours[class_index] = OTHER_COLOUR
            continue
        wanted = [*PALETTE, *PALETTE][class_index % len(PALETTE) :]
        colours[class_index] = next(each for each in wanted if each in free)
        free.remove(colours[class_index])
    return colours


def _class_entries(
    label_map: LabelMap, names: Sequence[str], colours: dict[int, Colour]
) -> tuple[LegendEntry, ...]:
    presence = {s.class_index: s.presence for s in class_shares(label_map, len(names))}
    return tuple(
        LegendEntry(shown_name(names[at]), percent(presence.get(at, 0.0)), colour)
        for at, colour in colours.items()
    )


def _crop_entries(
    pooling: Pooling, names: Sequence[str], crops: Sequence[CropBox]
) -> tuple[LegendEntry, ...]:
    entries: list[LegendEntry] = []
    for letter, box in zip(string.ascii_uppercase, crops, strict=False):
        probabilities = pooling(box.inside()).probabilities(len(names))
        best = int(probabilities.argmax())
        entries.append(
            LegendEntry(
                f"crop: {shown_name(names[best])}", percent(float(probabilities[best])), mark=letter
            )
        )
    return tuple(entries)


def _mark_crops(photo: Image.Image, crops: Sequence[CropBox]) -> Image.Image:
    """The photo with an outline for each crop, and its letter in a corner."""
    if not crops:
        return photo
    marked = photo.copy()
    draw = ImageDraw.Draw(marked)
    for letter, box in zip(string.ascii_uppercase, crops, strict=False):
        x = [min(max(round(f * photo.width), 0), photo.width - 1) for f in (box.left, box.right)]
        y = [min(max(round(f * photo.height), 0), photo.height - 1) for f in (box.top, box.bottom)]
        right, bottom = max(x[1], x[0] + 2), max(y[1], y[0] + 2)
        draw.rectangle((x[0], y[0], right, bottom), outline=INK, width=4)
        draw.rectangle((x[0] + 1, y[0] + 1, right - 1, bottom - 1), outline=PAPER, width=2)
        draw.rectangle((x[0], y[0], x[0] + 21, y[0] + 21), fill=INK)
        draw.text((x[0] + 11, y[0] + 11), letter, PAPER, font(), anchor="mm")
    return marked


def font(size: int = TEXT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font at ``size`` pixels, so that pictures look the same everywhere."""
    return ImageFont.load_default(size=size)


def draw_legend(entries: Sequence[LegendEntry], width: int) -> Image.Image:
    """A legend of this width in pixels, with its entries row by row in columns.

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
    """A faint text of this width in pixels, wrapped at spaces."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font(NOTE_SIZE).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    paper = Image.new("RGB", (width, len(lines) * _NOTE_HEIGHT + _LEGEND_GAP), PAPER)
    draw = ImageDraw.Draw(paper)
    for row, line in enumerate(lines):
        middle = _LEGEND_GAP + row * _NOTE_HEIGHT + _NOTE_HEIGHT // 2
        draw.text((0, middle), line, FAINT, font(NOTE_SIZE), anchor="lm")
    return paper


def shorten(text: str, width: float, size: int = TEXT_SIZE) -> str:
    """The text, cut off with an ellipsis if it is wider than ``width`` pixels."""
    face = font(size)
    if face.getlength(text) <= width:
        return text
    kept = text
    while kept and face.getlength(f"{kept}…") > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def _draw_entry(
    draw: ImageDraw.ImageDraw, entry: LegendEntry, corner: tuple[int, int], width: int
) -> None:
    left, top = corner
    middle = top + ROW_HEIGHT // 2
    box = (left, middle - _MARK // 2, left + _MARK, middle + _MARK // 2)
    if entry.mark:
        draw.rectangle(box, fill=INK)
        draw.text((left + _MARK / 2, middle), entry.mark, PAPER, font(TEXT_SIZE - 2), anchor="mm")
    elif entry.colour is not None:
        _draw_swatch(draw, box, entry.colour)
    text_left = left + (_MARK + _LEGEND_GAP if entry.mark or entry.colour else 0)
    value_width = font().getlength(entry.value) + _LEGEND_GAP if entry.value else 0
    text = shorten(entry.text, left + width - 2 * _LEGEND_GAP - text_left - value_width)
    ink = INK if entry.mark or entry.colour else FAINT
    draw.text((text_left, middle), text, ink, font(), anchor="lm")
    value_left = text_left + font().getlength(text) + _LEGEND_GAP
    draw.text((value_left, middle), entry.value, FAINT, font(), anchor="lm")


def _draw_swatch(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: Colour) -> None:
    """A sample of a colour, or of the stripes of *other*."""
    if colour != OTHER_COLOUR:
        draw.rounded_rectangle(box, radius=3, fill=colour)
        return
    draw.rectangle(box, fill=(190, 190, 190))
    for paint, covered in layers(colour, (box[2] - box[0] + 1, box[3] - box[1] + 1)):
        draw.bitmap(box[:2], Image.fromarray((255 * covered).astype(np.uint8)), paint)

"""Label maps on an HTML page: a picture with its legend, a crop with its two targets, a report.

Legend: C classes.
"""

from __future__ import annotations

import json
import shlex
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from labelkit import __version__
from labelkit.files import evenly_spaced
from labelkit.geometry import CropBox
from labelkit.inspection.drawing import draw_panels
from labelkit.inspection.lookup import open_photo, output_names
from labelkit.inspection.other import shown_name
from labelkit.inspection.page import (
    Bar,
    Commands,
    CropComparison,
    DataTable,
    Facts,
    Page,
    Paragraph,
    Picture,
    Pictures,
    Section,
)
from labelkit.inspection.summary import classes_per_cell, summarize_label_maps
from labelkit.label_maps import pool
from labelkit.sources import as_source
from labelkit.wording import counted, file_size, percent

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.inspection.drawing import Pooling
    from labelkit.inspection.page import Block
    from labelkit.inspection.summary import LabelMapSummary
    from labelkit.label_maps import LabelMap, LabelMapFile
    from labelkit.sources import ImageSource


def label_map_card(  # noqa: PLR0913 -- as draw_label_map
    image: Image.Image,
    label_map: LabelMap,
    names: Sequence[str],
    *,
    classes: Sequence[int] | None = None,
    crops: Sequence[CropBox] = (),
    pooling: Pooling | None = None,
    caption: str = "",
    side: int = 480,
) -> Picture:
    """The picture that ``draw_label_map`` makes, with its legend as text for screens of any size.

    Args:
        image: the photo.
        label_map: its label map.
        names: the names of all C classes.
        classes: at most 7 classes to show; the most present ones if None.
        crops: at most 26 parts of the image to mark.
        pooling: as in ``draw_label_map``.
        caption: below the legend.
        side: length of each photo's longer side in pixels, 160 to 900.

    Raises:
        ValueError: too many classes or crops, a class that does not exist, or a side out of range.
    """
    panels = draw_panels(
        image, label_map, names, classes=classes, crops=crops, pooling=pooling, side=side
    )
    seen = ", ".join(f"{entry.text} {entry.value}" for entry in panels.classes)
    return Picture(
        panels.join(gap=0), caption, f"{caption} ({seen})", panels.classes + panels.crops
    )


def compare_crop(  # noqa: PLR0913 -- as draw_label_map
    image: Image.Image,
    label_map: LabelMap,
    box: CropBox,
    names: Sequence[str],
    *,
    pooling: Pooling | None = None,
    top: int = 3,
    caption: str = "",
) -> CropComparison:
    """A crop with its pooled target, next to the target of the whole image.

    Both are the softmax targets of ``labelkit.data.LabelMapDataset``, of which the ``top`` most
    probable classes are shown. The crop is mirrored and transposed as the box specifies.

    Args:
        image: the photo.
        label_map: its label map.
        box: the crop.
        names: the names of all C classes.
        pooling: as in ``draw_label_map``.
        top: how many classes of each target to show.
        caption: below the crop.

    Raises:
        ValueError: the box contains no pixel of the image.
    """
    edges = (
        max(round(box.left * image.width), 0),
        max(round(box.top * image.height), 0),
        min(round(box.right * image.width), image.width),
        min(round(box.bottom * image.height), image.height),
    )
    if edges[0] >= edges[2] or edges[1] >= edges[3]:
        raise ValueError(f"{box} contains no pixel of a {image.width}x{image.height} image")
    crop = image.crop(edges)
    shown = {
        Image.Transpose.TRANSPOSE: box.transposed,
        Image.Transpose.FLIP_LEFT_RIGHT: box.flipped,
        Image.Transpose.FLIP_TOP_BOTTOM: box.upside_down,
    }
    for step, done in shown.items():
        crop = crop.transpose(step) if done else crop
    pooling = pooling or partial(pool, label_map)
    pooled = pooling(box.inside()).probabilities(len(names))
    whole = pooling(CropBox.whole()).probabilities(len(names))
    return CropComparison(crop, _bars(pooled, names, top), _bars(whole, names, top), caption)


def _bars(label: NDArray[np.float32], names: Sequence[str], top: int) -> tuple[Bar, ...]:
    strongest: list[int] = np.argsort(-label, kind="stable")[:top].tolist()
    return tuple(Bar(shown_name(names[at]), float(label[at])) for at in strongest)


PICTURE_NOTE = (
    "Each photo, and next to it a grey copy with its most present classes in colour: the stronger "
    "the colour, the more probable the class there. The percentage is the class's mean probability "
    "over all cells of the image; classes that are not shown have what is left, if anything. "
    "A class keeps its colour, unless a more present class of the photo has the same."
)
"""The caption of pictures of photos and their maps."""
OTHER_NOTE = "Stripes are where the teacher sees something that is none of the classes."
AREA_NOTE = (
    "Area: the share of all cells in which no other class is stronger.\n"
    "Largest in: the number of images in which no other class has more area."
)
"""The caption of a table of classes by area."""


def label_map_report(
    file: LabelMapFile, images: ImageSource | str | os.PathLike[str], *, pictures: int = 12
) -> Page:
    """A page with a file's summary and pictures of some of its images, evenly spread over the rows.

    Args:
        file: the label maps.
        images: those that the label maps were made from, a source or the path of one.
        pictures: how many images to draw.

    Raises:
        DatasetError: an image is missing or unreadable.
        LabelMapError: a row is damaged.
        ValueError: ``pictures`` is negative.
    """
    if pictures < 0:
        raise ValueError(f"pictures={pictures} must not be negative")
    summary = summarize_label_maps(file)
    sections = [Section("At a glance", (_facts(summary),)), *_pictures(file, images, pictures)]
    if summary.frequent:
        sections.append(Section("Classes", (Paragraph(AREA_NOTE), _frequent(summary))))
    if summary.unreadable:
        sections.append(Section("Unreadable", (_unreadable(summary),)))
    if made := summary.provenance:
        sections.append(
            Section("How the label maps were made", (DataTable(("setting", "value"), made),))
        )
    sections.append(Section("Next", _next(file)))
    lead = "What a strong classifier sees in each part of each image."
    return Page(f"Label maps: {file.path.name}", tuple(sections), lead, f"labelkit {__version__}")


def _facts(summary: LabelMapSummary) -> Facts:
    largest = summary.forms[-1]
    rows, columns = largest.grid
    several = len(summary.forms) > 1
    counts = [(summary.images, "image" if summary.images == 1 else "images")]
    counts += [(summary.unreadable, "unreadable")] * bool(summary.unreadable)
    counts += [(len(summary.forms), "maps per image")] * several
    return Facts(
        (
            *((f"{count:,}", what) for count, what in counts),
            # the sign that people read
            (f"{rows} × {columns}", "cells in the finest map" if several else "cells"),  # noqa: RUF001
            (f"{largest.top_k - summary.other}", classes_per_cell(largest, other=summary.other)),
            (f"{summary.num_classes:,}", f"classes of {summary.classes_name}".removesuffix(" of ")),
            (file_size(summary.file_bytes), "file"),
            *([(file_size(summary.bytes_per_image), "per image")] if summary.images else []),
        )
    )


def _pictures(
    file: LabelMapFile, images: ImageSource | str | os.PathLike[str], count: int
) -> list[Section]:
    rows = evenly_spaced(len(file), count)
    if not rows:
        return []
    source, names = as_source(images), output_names(file)
    note = PICTURE_NOTE + (f" {OTHER_NOTE}" if file.header.other else "")
    cards: list[Picture] = [
        label_map_card(open_photo(source, key), file.maps_at(row)[-1], names, caption=key)
        for row, key in zip(rows, map(file.key_at, rows), strict=True)
    ]
    return [Section("What is where", (Paragraph(note), Pictures(tuple(cards))))]


def _frequent(summary: LabelMapSummary) -> DataTable:
    rows = tuple(
        (each.name, each.class_id, percent(each.area), f"{each.images:,}")
        for each in summary.frequent
    )
    caption = f"Classes with the largest area, in {summary.sample_name}"
    return DataTable(("class", "id", "area", "largest in"), rows, caption)


def _unreadable(summary: LabelMapSummary) -> DataTable:
    rows = summary.unreadable_examples
    caption = f"{counted(summary.unreadable, 'image', 'images')} without a label map"
    caption += f", the first {len(rows)}" if len(rows) < summary.unreadable else ""
    return DataTable(("key", "reason"), rows, caption)


def _next(file: LabelMapFile) -> tuple[Block, ...]:
    name, key = file.path.name, next(file.keys(), "KEY")
    draw = ["labelkit", "inspect", name, "--images", "FOLDER", "--key", key, "-o", "picture.png"]
    load = f'LabelMapDataset(ImageFolder("FOLDER"), maps={json.dumps(name)}, transform=...)'
    return (
        Paragraph("One image as a large picture; FOLDER holds the images of the label maps:"),
        Commands((shlex.join(draw),)),
        Paragraph("To train on these label maps, in Python:"),
        Commands((load,)),
    )

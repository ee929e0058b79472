"""A label-map file as an HTML page: its numbers, and some of its images with what is where."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import numpy as np

from labelkit import __version__
from labelkit.hierarchy import class_names
from labelkit.inspection.blocks import (
    Commands,
    Facts,
    Page,
    Paragraph,
    Pictures,
    Section,
    Table,
)
from labelkit.inspection.cards import label_map_card
from labelkit.inspection.forms import classes_per_cell
from labelkit.inspection.lookup import open_photo
from labelkit.inspection.summary import summarize_label_maps
from labelkit.wording import counted, file_size, percent, short_digests

if TYPE_CHECKING:
    import os

    from labelkit.inspection.blocks import Block, Picture
    from labelkit.inspection.summary import LabelMapSummary
    from labelkit.label_maps import LabelMapFile

LEGEND = (
    "Each photo, and again in grey with its most present classes in colour: the stronger the "
    "colour, the more probable the class there. The percentage is the class's mean probability "
    "over all cells of the image; what is missing to 100 % lies with other classes."
)
AREA = (
    "Area: the share of all cells in which no other class is stronger.\n"
    "Largest in: the number of images in which no other class has more area."
)


def label_map_report(
    file: LabelMapFile, images: str | os.PathLike[str], *, pictures: int = 12
) -> Page:
    """A page with a file's summary and ``pictures`` of its images, evenly spread over the rows.

    Args:
        file: the label maps.
        images: the data set's folder, the one that was relabelled.
        pictures: how many images to draw.

    Raises:
        DatasetError: an image is not below the folder, or cannot be read.
        LabelMapError: a row is damaged.
        ValueError: a negative number of pictures.
    """
    if pictures < 0:
        raise ValueError(f"pictures={pictures} cannot be negative")
    summary = summarize_label_maps(file)
    sections = [Section("At a glance", (_facts(summary),)), *_pictures(file, images, pictures)]
    if summary.frequent:
        sections.append(Section("Classes", (Paragraph(AREA), _frequent(summary))))
    if summary.unreadable:
        sections.append(Section("Unreadable", (_unreadable(summary),)))
    if made := settings(summary):
        sections.append(Section("How they were made", (Table(("what", "value"), made),)))
    sections.append(Section("Next", _next(file)))
    lead = "What a strong classifier sees in each part of the images."
    return Page(f"Label maps: {file.path.name}", tuple(sections), lead, f"labelkit {__version__}")


def settings(summary: LabelMapSummary) -> tuple[tuple[str, str], ...]:
    """How a file was made, (what, value): the teacher first; of digests the beginning."""
    teacher = (("teacher", summary.teacher),) if summary.teacher else ()
    rest = ((what, short_digests(value)) for what, value in summary.settings)
    return (*teacher, *rest)


def _facts(summary: LabelMapSummary) -> Facts:
    largest = summary.forms[-1]
    rows, columns = largest.grid
    several = len(summary.forms) > 1
    counts = [(summary.images, "image" if summary.images == 1 else "images")]
    counts += [(summary.unreadable, "unreadable")] * bool(summary.unreadable)
    counts += [(len(summary.forms), "maps an image")] * several
    return Facts(
        (
            *((f"{count:,}", what) for count, what in counts),
            # The sign people read.
            (f"{rows} × {columns}", "cells, of the finest map" if several else "cells"),  # noqa: RUF001
            (f"{largest.top_k}", classes_per_cell(largest)),
            (f"{summary.num_classes:,}", f"classes of {summary.classes_name}".removesuffix(" of ")),
            (file_size(summary.file_bytes), "file"),
            *([(file_size(summary.bytes_per_image), "an image")] if summary.images else []),
        )
    )


def _pictures(file: LabelMapFile, images: str | os.PathLike[str], count: int) -> list[Section]:
    rows = np.unique(np.linspace(0, len(file) - 1, min(count, len(file))).astype(int)).tolist()
    names = class_names(file.classes)
    cards: list[Picture] = [
        label_map_card(open_photo(images, key), file.maps_at(row)[-1], names, caption=key)
        for row, key in zip(rows, map(file.key_at, rows), strict=True)
    ]
    return [Section("What is where", (Paragraph(LEGEND), Pictures(tuple(cards))))] if cards else []


def _frequent(summary: LabelMapSummary) -> Table:
    rows = tuple(
        (kind.name, kind.class_id, percent(kind.area), f"{kind.images:,}")
        for kind in summary.frequent
    )
    caption = f"Classes with the largest area, in {summary.looked_at}"
    return Table(("class", "id", "area", "largest in"), rows, caption)


def _unreadable(summary: LabelMapSummary) -> Table:
    rows = summary.unreadable_examples
    caption = f"{counted(summary.unreadable, 'image', 'images')} without a label map"
    caption += f", the first {len(rows)}" if len(rows) < summary.unreadable else ""
    return Table(("key", "reason"), rows, caption)


def _next(file: LabelMapFile) -> tuple[Block, ...]:
    name, key = file.path.name, next(file.keys(), "KEY")
    draw = ["labelkit", "inspect", name, "--images", "DATA", "--key", key, "-o", "picture.png"]
    load = f'LabelMapDataset(ImageFolder("DATA"), maps={json.dumps(name)}, transform=...)'
    return (
        Paragraph("One image as a large picture; DATA is the folder that the maps were made from:"),
        Commands((shlex.join(draw),)),
        Paragraph("Training with these labels, in Python:"),
        Commands((load,)),
    )

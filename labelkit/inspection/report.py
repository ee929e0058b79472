"""A label-map file as an HTML page: its numbers, and some of its images with what is where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit import __version__
from labelkit.hierarchy import class_names
from labelkit.inspection.blocks import Commands, Facts, Page, Pictures, Section, Table
from labelkit.inspection.cards import label_map_card
from labelkit.inspection.forms import classes_per_cell
from labelkit.inspection.lookup import open_photo
from labelkit.inspection.summary import summarize_label_maps
from labelkit.inspection.wording import file_size, percent

if TYPE_CHECKING:
    import os

    from labelkit.inspection.blocks import Picture
    from labelkit.inspection.summary import LabelMapSummary
    from labelkit.label_maps import LabelMapFile


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
    sections.append(Section("Classes", (_frequent(summary),)))
    if summary.unreadable:
        rows = tuple(summary.unreadable_examples)
        caption = f"{summary.unreadable:,} images without a label map"
        sections.append(Section("Unreadable", (Table(("key", "reason"), rows, caption),)))
    sections.append(Section("How they were made", (Table(("what", "value"), settings(summary)),)))
    sections.append(Section("Next", (Commands(_next(file)),)))
    lead = "What a strong classifier sees in each part of the images."
    return Page(f"Label maps: {file.path.name}", tuple(sections), lead, f"labelkit {__version__}")


def settings(summary: LabelMapSummary) -> tuple[tuple[str, str], ...]:
    """How a file was made, (what, value): the teacher first."""
    teacher = (("teacher", summary.teacher),) if summary.teacher else ()
    return (*teacher, *summary.settings)


def _facts(summary: LabelMapSummary) -> Facts:
    largest = summary.forms[-1]
    rows, columns = largest.grid
    return Facts(
        (
            (f"{summary.images:,}", "images"),
            (f"{rows} × {columns}", "cells"),  # noqa: RUF001 -- the sign people read
            (f"{largest.top_k}", classes_per_cell(largest)),
            (f"{summary.num_classes:,}", f"classes of {summary.classes_name}".removesuffix(" of ")),
            (file_size(summary.file_bytes), "file"),
            (file_size(summary.bytes_per_image), "an image"),
        )
    )


def _pictures(file: LabelMapFile, images: str | os.PathLike[str], count: int) -> list[Section]:
    rows = np.unique(np.linspace(0, len(file) - 1, min(count, len(file))).astype(int)).tolist()
    names = class_names(file.classes)
    cards: list[Picture] = [
        label_map_card(open_photo(images, key), file.maps_at(row)[-1], names, caption=key)
        for row, key in zip(rows, map(file.key_at, rows), strict=True)
    ]
    return [Section("What is where", (Pictures(tuple(cards)),))] if cards else []


def _frequent(summary: LabelMapSummary) -> Table:
    rows = tuple(
        (kind.name, kind.class_id, f"{kind.images:,}", percent(kind.area))
        for kind in summary.frequent
    )
    caption = f"Classes with the largest area, in {summary.looked_at}"
    return Table(("class", "id", "images", "mean area"), rows, caption)


def _next(file: LabelMapFile) -> tuple[str, ...]:
    key = next(file.keys(), "KEY")
    return (
        f"labelkit inspect {file.path.name} --key '{key}' --images DATA -o picture.png",
        f'LabelMapDataset(ImageFolder("DATA"), maps="{file.path.name}", transform=...)',
    )

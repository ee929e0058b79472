"""The figures of ``labelkit evaluate`` as table cells and as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.wording import counted, printable, readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labelkit.train import FolderEvaluation

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # columns and rows
_FORMATS = {"loss": ".4f", "mistake_distance": ".3f", "hierarchical_distance": ".3f"}
_PAIRS = 1000


def scope(found: FolderEvaluation) -> str:
    """How many images and classes the figures are over."""
    images = counted(found.images, "image", "images")
    classes = counted(found.data_classes, "class", "classes")
    if not found.competing:
        return f"{images} of {classes}"
    return f"{images} of {classes}, ranked among {found.competing:,}"


def metric_rows(found: FolderEvaluation) -> list[tuple[str, str, str]]:
    """Each metric's label, value, and what it means."""
    return [
        (label, f"{found.metrics[name]:{_FORMATS.get(name, '.2f')}}{_unit(name)}", meaning)
        for name, (label, meaning) in _explained(found).items()
        if name in found.metrics
    ]


def missing_lines(found: FolderEvaluation) -> Iterator[str]:
    """Which metrics are missing, and why."""
    labels = _explained(found)
    for reason in dict.fromkeys(found.missing.values()):
        names = [labels[name][0] for name, why in found.missing.items() if why == reason]
        yield f"No {', '.join(names)}: {reason}"


def class_table(found: FolderEvaluation) -> Table:
    """The classes, the worst first."""
    columns = ("class", "name", "images", "top-1", "top-5", "semantic", "most often taken for")
    rows = [
        (
            printable(each.id),
            _name(each.name, each.id),
            f"{each.images:,}",
            _percent(each.top1),
            _percent(each.top5),
            _percent(each.semantic_accuracy),
            readable(each.mistaken_for_name),
        )
        for each in found.classes
    ]
    return _without_empty_columns(columns, rows)


def pair_table(found: FolderEvaluation) -> Table:
    """The confused pairs, the most frequent first."""
    columns = ("label", "name", "predicted", "name", "images", "share", "distance")
    rows = [
        (
            printable(each.label),
            _name(each.label_name, each.label),
            printable(each.predicted),
            _name(each.predicted_name, each.predicted),
            f"{each.images:,}",
            _percent(each.share),
            "" if each.distance is None else str(each.distance),
        )
        for each in found.confusions
    ]
    return _without_empty_columns(columns, rows)


def _without_empty_columns(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    kept = [at for at in range(len(columns)) if any(row[at] for row in rows)]
    return tuple(columns[at] for at in kept), [tuple(row[at] for at in kept) for row in rows]


def _explained(found: FolderEvaluation) -> dict[str, tuple[str, str]]:
    """The label of each metric, and what it means."""
    height = f"height of the common ancestor, 0 to {found.largest_distance}"
    return {
        "top1": ("top-1", ""),
        "top5": ("top-5", ""),
        "semantic_accuracy": ("semantic accuracy", "correct (image, level) pairs of the tree"),
        "real": ("ReaL top-1", f"any correct label counts; {found.real_images:,} images have one"),
        "calibration_error": ("calibration error", "confidence against accuracy (ECE, 15 bins)"),
        "mistake_distance": ("distance of a mistake", height),
        "hierarchical_distance": ("mean distance", "the same over all images"),
        "loss": ("loss", "the run's, over all outputs"),
    }


def _unit(name: str) -> str:
    return "" if name in _FORMATS else " %"


def _name(name: str, class_id: str) -> str:
    """A name that says more than the id."""
    return "" if name == class_id else readable(name)


def write_report(path: Path, found: FolderEvaluation) -> None:
    """Write everything as an HTML page.

    Raises:
        OSError: the file cannot be written.
    """
    from labelkit import __version__
    from labelkit.inspection import DataTable, Facts, Page, Paragraph, Section, write_page

    rows = metric_rows(found)
    tiles = Facts(tuple((value, label) for label, value, _ in rows))
    meanings = DataTable(
        ("metric", "meaning"), tuple((label, meaning) for label, _, meaning in rows if meaning)
    )
    notes = tuple(Paragraph(line) for line in missing_lines(found))
    columns, classes = class_table(found)
    sections = [
        Section("Metrics", (tiles, meanings, *notes)),
        Section("Classes", (DataTable(columns, tuple(classes), "Worst first"),)),
    ]
    if found.confusions:
        columns, pairs = pair_table(found)
        caption = "Most frequent first"
        if len(pairs) > _PAIRS:
            caption += f"; {_PAIRS:,} of {len(pairs):,} pairs, all with --json"
        table = DataTable(columns, tuple(pairs[:_PAIRS]), caption)
        sections.append(Section("Confusions", (table,)))
    if found.unreadable:
        note = Paragraph("These images could not be read, and were not counted.")
        reasons = DataTable(("image", "reason"), tuple(found.unreadable.items()))
        sections.append(Section("Unreadable images", (note, reasons)))
    lead = f"{found.classifier} on {found.data}: {scope(found)}."
    title = f"Evaluation of {found.data}"
    write_page(path, Page(title, tuple(sections), lead, f"labelkit {__version__}"))


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"

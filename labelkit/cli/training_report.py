"""The curves of a training run, as a picture and as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelkit.inspection import Curve, Facts
    from labelkit.train import TrainingResult

# The run's folder knows its own report by this name, and refuses to replace others.
TITLE = "labelkit train"


def write_report(result: TrainingResult) -> None:
    """Write ``curves.png`` and ``report.html`` into the run's folder.

    Raises:
        OSError: a file cannot be written.
    """
    from labelkit import __version__
    from labelkit.inspection import DataTable, Page, Section, write_curves, write_page
    from labelkit.train import flat_record

    curves = _curves(result)
    columns = tuple(flat_record(result.best))
    records = [flat_record(record) for record in result.records]
    rows = (tuple(_number(record.get(name)) for name in columns) for record in records)
    table = DataTable(columns, tuple(rows))
    sections = (
        Section("Best epoch", (_best(result),)),
        Section("Curves", curves),
        Section("Epochs", (table,)),
    )
    lead = f"{result.output}: {result.classes}."
    title = f"{TITLE}: {result.output.name}"
    write_curves(result.output / "curves.png", curves, TITLE)
    write_page(
        result.output / "report.html", Page(title, sections, lead, f"labelkit {__version__}")
    )


def _curves(result: TrainingResult) -> tuple[Curve, ...]:
    """The losses, each metric and the learning rate over the epochs."""
    from labelkit.inspection import Curve
    from labelkit.train import flat_record

    names = ("train_loss", *(f"val_{name}" for name in result.best.metrics), "lr")
    records = [flat_record(record) for record in result.records]
    found = {name: [record[name] for record in records if name in record] for name in names}
    return tuple(
        Curve(tuple(values), name, "epoch" if len(values) == len(records) else "evaluation")
        for name, values in found.items()
    )


def _best(result: TrainingResult) -> Facts:
    from labelkit.inspection import Facts

    metrics = ((_number(value), name) for name, value in result.best.metrics.items())
    return Facts(((str(result.best.epoch), "epoch"), *metrics))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"

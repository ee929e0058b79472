"""The log of a run's epochs: ``log.jsonl``, and the same as a table, ``log.csv``."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import msgspec

from labelkit.files import replace_file
from labelkit.train.run_folder import LOG, TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.train.checkpoint import EpochRecord


def write_log(folder: Path, records: Sequence[EpochRecord]) -> None:
    """Write one JSON object per line and epoch, and one row per epoch.

    Both files are on disk before this returns. All lines are written again, a few hundred short
    ones: so the files are complete at any moment, and an epoch that was logged before its
    checkpoint failed is not logged twice.

    Raises:
        OSError: the file cannot be written.
    """
    replace_file(folder / TABLE, _table(records))
    replace_file(folder / LOG, b"".join(msgspec.json.encode(each) + b"\n" for each in records))


def flat_record(record: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch by column; metrics of the evaluation start with ``val_``."""
    return {
        "epoch": record.epoch,
        "train_loss": record.train_loss,
        "lr": record.lr,
        **{f"val_{name}": value for name, value in record.metrics.items()},
        "seconds": record.seconds,
        "images_per_second": record.images_per_second,
        "skipped": record.skipped,
    }


def _table(records: Sequence[EpochRecord]) -> bytes:
    rows = [flat_record(record) for record in records]
    text = io.StringIO()
    # Epochs that were not evaluated have fewer columns.
    columns = max(rows, key=len) if rows else {}
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if rows:
        table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()

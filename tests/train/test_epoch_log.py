"""The log as a table, and the curves that the command draws of it."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from labelkit.cli import run as run_command
from labelkit.train.checkpoint import EpochRecord
from labelkit.train.epoch_log import write_log
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_table_has_the_numbers_of_the_log(tmp_path: Path) -> None:
    """Exactly, and with a metric called loss beside the training loss."""
    records = [
        EpochRecord(number, 1 / number, 0.1 / 3, {"loss": 2 / 3, "top1": 50.0 + number}, 1.5, 10.0)
        for number in (2, 3)
    ]
    records.insert(0, EpochRecord(1, 1.0, 0.1, {}, 1.5, 10.0))
    write_log(tmp_path, records)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert rows.pop(0)["val_top1"] == ""  # an epoch that was not evaluated
    del records[0]
    for row, record in zip(rows, records, strict=True):
        assert float(row["train_loss"]) == record.train_loss
        assert float(row["val_loss"]) == record.metrics["loss"]
        assert float(row["val_top1"]) == record.metrics["top1"]
        assert float(row["lr"]) == record.lr
    write_log(tmp_path, [])
    assert (tmp_path / "log.csv").read_bytes() == b""


def test_the_command_draws_the_curves_and_accepts_its_own_report(
    tmp_path: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=3) + "evaluate_every = 2\n")
    folder = tmp_path / "run"
    assert run_command(["train", str(tmp_path / "r.toml"), "-o", str(folder)]) == 0
    assert f"{folder}/report.html" in capfd.readouterr().out
    page = (folder / "report.html").read_text()
    for name in ("train_loss", "val_loss", "val_top1", "lr"):
        assert f"<title>{name}</title>" in page
    with (folder / "log.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert f"{float(last['val_top1']):.4g}" in page
    picture = np.asarray(Image.open(folder / "curves.png").convert("RGB")).astype(int)
    blue = (picture[..., 2] - picture[..., 0] > 100).sum()
    assert picture.shape == (2 * 260, 2 * 640, 3)
    assert blue > 4 * 500  # four lines across their panels
    (folder / "last.pt").unlink()  # start again in the same folder
    assert run_command(["train", str(tmp_path / "r.toml"), "-o", str(folder), "-q"]) == 0

"""What a training run reports, and the log that keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from labelkit.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Everything is loaded and the next step trains.

    Attributes:
        classes: the class list of the student's outputs.
        images: how many images there are to train on, and to evaluate on.
        parameters: weights of the student.
        epochs: how many epochs the run has.
        done: how many of them a checkpoint holds already.
        device: where the student is.
        data_classes: how many of the classes are the data's own, and no inner nodes of a tree.
        folders: how many classes have a folder in the evaluation data.
        measure: the metric that tells which epoch is best.
    """

    classes: ClassList
    images: tuple[int, int]
    parameters: int
    epochs: int
    done: int
    device: str
    data_classes: int
    folders: int
    measure: str


@dataclass(frozen=True, slots=True)
class StepRecord:
    """An epoch in progress; a few come each second.

    Attributes:
        epoch: from 1.
        step: updates done in this epoch.
        steps: updates of a whole epoch.
        loss: mean over this epoch's updates so far.
        images_per_second: likewise.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """A finished epoch: one line of ``log.jsonl``.

    Attributes:
        epoch: from 1.
        train_loss: mean over the epoch's updates.
        lr: the learning rate of its last update.
        metrics: name -> value on the val folder; accuracies in percent.
        seconds: training and evaluation together.
        images_per_second: in training.
    """

    epoch: int
    train_loss: float
    lr: float
    metrics: dict[str, float]
    seconds: float
    images_per_second: float


Event: TypeAlias = RunStarted | StepRecord | EpochRecord


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run.

    Attributes:
        output: the folder that holds the log and the checkpoints.
        classes: the class list of the student's outputs.
        inner: how many of them are inner nodes of a tree, and no classes of the data.
        records: all epochs, those before an interruption too.
        best: the epoch whose weights lie in ``best.safetensors``.
        measure: the metric that chose it.
    """

    output: Path
    classes: ClassList
    inner: int
    records: tuple[EpochRecord, ...]
    best: EpochRecord
    measure: str


class EpochLog:
    """``log.jsonl``: one JSON object a line and epoch, on disk before ``append`` returns.

    Begins with the epochs that a checkpoint holds, whatever stood in the file: an epoch that was
    logged but not kept runs again, and must not stand there twice.
    """

    def __init__(self, path: Path, records: Sequence[EpochRecord] = ()) -> None:
        self.path = path
        self.records = list(records)
        self._write()

    def append(self, record: EpochRecord) -> None:
        """Add one epoch."""
        self.records.append(record)
        self._write()

    def _write(self) -> None:
        # A few hundred short lines: writing them all keeps the file whole at every moment.
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in self.records)
        replace_file(self.path, lambda path: path.write_bytes(lines))


def best_record(records: Sequence[EpochRecord], measure: str) -> EpochRecord:
    """The earliest epoch with the highest value of a metric."""
    return max(records, key=lambda record: record.metrics[measure])

"""What a training run reports while it runs, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from labelkit.train.checkpoint import EpochRecord

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.hierarchy import ClassList
    from labelkit.train.label_study import LabelStudy


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Everything is loaded, and training starts.

    Attributes:
        classes: the class list of the student's outputs.
        images: number of training and of evaluation images.
        parameters: number of the student's weights.
        epochs: number of epochs of the whole run.
        done: number of epochs that a checkpoint already has.
        device: the student's device.
        data_classes: number of classes of the data, without the tree's inner nodes and *other*.
        folders: number of classes that have a folder in the evaluation data.
        measure: the metric that decides which epoch is best.
        skipped: number of training and of evaluation images left out as unreadable.
        calibrated: whether targets from label maps are calibrated; None without label maps.
        other: whether the student's last output is *other*.
        study: how many training images have a label, and how many of these are wrong on purpose.
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
    skipped: tuple[int, int] = (0, 0)
    calibrated: bool | None = None
    other: bool = False
    study: LabelStudy | None = None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The progress of an epoch, a few times per second.

    Attributes:
        epoch: from 1.
        step: updates done in this epoch.
        steps: updates of a whole epoch.
        loss: mean over this epoch's updates so far.
        images_per_second: mean over this epoch so far.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_second: float


Event: TypeAlias = RunStarted | StepRecord | EpochRecord
"""What a training run reports to ``on_event``."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished run.

    Attributes:
        output: the folder that holds the log and the checkpoints.
        classes: the class list of the student's outputs.
        inner: how many of these outputs are inner nodes of a tree, not classes of the data.
        records: all epochs, including those before an interruption.
        best: the epoch whose weights are in ``best.safetensors``.
        measure: the metric that chose the best epoch.
        study: how many training images have a label, and how many of these are wrong on purpose.
    """

    output: Path
    classes: ClassList
    inner: int
    records: tuple[EpochRecord, ...]
    best: EpochRecord
    measure: str
    study: LabelStudy

"""What a run writes: ``log.jsonl``, ``last.pt`` to resume from, and ``best.safetensors``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import torch

from labelkit import __version__
from labelkit.errors import TrainingError, first_line
from labelkit.files import replace_file
from labelkit.hierarchy import ClassList
from labelkit.torch_files import TorchFileError, read_torch_file
from labelkit.train.recipe import recipe_fields

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from labelkit.train.recipe import Recipe

FORMAT = "labelkit-checkpoint"
VERSION = 1
START_AGAIN = "Choose another folder (-o), or delete this one to start again"


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """A finished epoch: one line of ``log.jsonl``.

    Attributes:
        epoch: from 1.
        train_loss: mean over the epoch's updates.
        lr: the learning rate of the last update.
        metrics: values on the val folder, by name; accuracies in percent.
        seconds: duration of training and evaluation.
        images_per_second: speed of training.
    """

    epoch: int
    train_loss: float
    lr: float
    metrics: dict[str, float]
    seconds: float
    images_per_second: float


class EpochLog:
    """``log.jsonl``: one JSON object per line and epoch, on disk before ``append`` returns.

    It starts with the epochs of the checkpoint and replaces the old file: an epoch that was logged
    but is not in the checkpoint runs again, and must not be logged twice.
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
        # A few hundred short lines: rewriting them all keeps the file complete at any moment.
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in self.records)
        replace_file(self.path, lines)


def best_record(records: Sequence[EpochRecord], measure: str) -> EpochRecord:
    """The earliest epoch with the highest value of a metric."""
    return max(records, key=lambda record: record.metrics[measure])


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run after a complete epoch.

    It has no random state: all randomness follows from the seed and the epoch's number, and the
    schedule from the number of updates.

    Attributes:
        recipe: the fields that determine the run's results, by dotted name.
        classes: the class list of the student's outputs.
        labels: the digest of the tree or label maps that give the labels; empty for hard labels.
        records: all epochs so far.
        model: the student's ``state_dict``.
        optimizer: the optimizer's ``state_dict``.
    """

    recipe: dict[str, object]
    classes: ClassList
    labels: str
    records: tuple[EpochRecord, ...]
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.records)

    def save(self, path: Path) -> None:
        """Write the file atomically; ``torch.load(path, weights_only=True)`` reads it.

        Raises:
            OSError: the file cannot be written.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "labelkit": __version__,
            "epoch": self.epoch,
            "recipe": self.recipe,
            "classes": list(self.classes),
            "classes_name": self.classes.name,
            "classes_digest": self.classes.digest,
            "labels": self.labels,
            "records": msgspec.to_builtins(self.records),
            "model": dict(self.model),
            "optimizer": dict(self.optimizer),
        }
        replace_file(path, lambda temporary: torch.save(content, temporary))

    def require_same_run(self, path: Path, recipe: Recipe, classes: ClassList, labels: str) -> None:
        """Raise unless this checkpoint belongs to the recipe, the class list and the labels.

        Raises:
            TrainingError: the recipe has changed, and the message names the first changed field; or
                the tree or the label maps have changed.
            ClassListMismatch: the class list has changed.
        """
        fields = recipe_fields(recipe)
        for name in sorted(fields.keys() | self.recipe.keys()):
            before, now = self.recipe.get(name), fields.get(name)
            if before != now:
                raise TrainingError(
                    f"{path} was trained with {name} = {before!r}, the recipe has {now!r}. "
                    f"{START_AGAIN}"
                )
        self.classes.require_equal(
            classes, ours=str(path), theirs="the recipe's data", hint=START_AGAIN
        )
        if self.labels != labels:
            raise TrainingError(
                f"{path} was trained with other labels for the same classes: the recipe's tree or "
                f"label-map file has changed since. Restore that file. Or: {START_AGAIN.lower()}"
            )


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read ``last.pt``, with tensors on the CPU and without running code from the file.

    Raises:
        TrainingError: the file is damaged, or not a checkpoint of a known version.
        FileNotFoundError: no such file.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no such checkpoint: {source}")
    try:
        return _parse(read_torch_file(source))
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # Content of a wrong structure raises a dozen types of errors.
        reason = f"{'it ' if isinstance(error, TorchFileError) else ''}{first_line(error)}"
        raise TrainingError(
            f"{source} is damaged or not a {FORMAT} of version {VERSION} ({reason}). "
            "Delete it to start again"
        ) from error


def _parse(content: object) -> Checkpoint:
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}")
    content = cast("dict[str, Any]", content)
    if (content["format"], content["version"]) != (FORMAT, VERSION):
        raise ValueError(f"{content['format']} version {content['version']}")
    classes = ClassList.of(content["classes"], content["classes_name"])
    records = msgspec.convert(content["records"], tuple[EpochRecord, ...])
    if classes.digest != content["classes_digest"]:
        raise ValueError("the class list does not match its digest")
    return Checkpoint(
        recipe=content["recipe"],
        classes=classes,
        labels=content["labels"],
        records=records,
        model=content["model"],
        optimizer=content["optimizer"],
    )


def save_student(
    path: Path, model: Mapping[str, Tensor], classes: ClassList, facts: Mapping[str, str]
) -> None:
    """Write weights as safetensors, with the class list and its digest in the metadata.

    Args:
        path: the file to create or replace.
        model: a ``state_dict``.
        classes: the class list of its outputs, a JSON list in the metadata.
        facts: more metadata.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_file

    metadata = {
        **facts,
        "labelkit": __version__,
        "classes": msgspec.json.encode(list(classes)).decode(),
        "classes_digest": classes.digest,
    }
    # Cloned, since safetensors rejects tensors that share memory.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.items()}
    replace_file(path, lambda temporary: save_file(tensors, temporary, metadata))

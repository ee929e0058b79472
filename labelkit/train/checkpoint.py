"""What a run resumes from: ``last.pt``, with the record of each epoch."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import torch

from labelkit import __version__
from labelkit.errors import TrainingError, first_line
from labelkit.files import replace_file
from labelkit.hierarchy import ClassList
from labelkit.torch_files import TorchFileError, read_torch_file
from labelkit.train.recipe import recipe_fields, with_defaults

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from labelkit.train.recipe import Recipe

FORMAT = "labelkit-checkpoint"
_DELETE = "Delete it to start again"
VERSION = 2
START_AGAIN = "Choose another folder (-o), or delete this one to start again"


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """A finished epoch: one line of ``log.jsonl``.

    Attributes:
        epoch: from 1.
        train_loss: mean over the epoch's updates.
        lr: the learning rate of the last update.
        metrics: values on the val folder, by name; accuracies in percent. Empty for an epoch that
            ``run.evaluate_every`` leaves out.
        seconds: duration of training and evaluation.
        images_per_second: speed of training.
        skipped: number of images left out as unreadable (``data.unreadable``).
    """

    epoch: int
    train_loss: float
    lr: float
    metrics: dict[str, float]
    seconds: float
    images_per_second: float
    skipped: int = 0


def best_record(records: Sequence[EpochRecord], measure: str) -> EpochRecord:
    """The earliest epoch with the highest value of a metric, of those that were evaluated."""
    evaluated = [record for record in records if record.metrics]
    return max(evaluated, key=lambda record: record.metrics[measure])


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run after a complete epoch.

    It has no random state: all randomness follows from the seed and the epoch's number, and the
    schedule from the number of updates.

    Attributes:
        recipe: the fields that determine the run's results, by dotted name.
        classes: the class list of the student's outputs.
        labels: the digests of the tree or label maps that give the labels, and of the coarsening;
            empty for hard labels.
        images: the digest of the images' names, without those left out.
        records: all epochs so far.
        model: the student's ``state_dict``.
        optimizer: the optimizer's ``state_dict``.
        ema: the ``state_dict`` of the student's moving average; empty without one.
        scaler: the state of the loss's scaling for float16; empty in other precisions.
        start: the digest of the weights of ``model.init``; empty without it.
    """

    recipe: dict[str, object]
    classes: ClassList
    labels: str
    images: str
    records: tuple[EpochRecord, ...]
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    ema: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])
    scaler: Mapping[str, Any] = field(default_factory=dict[str, Any])
    start: str = ""

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.records)

    @property
    def state(self) -> dict[str, Mapping[str, Any]]:
        """What ``Updater`` continues from."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "ema": self.ema,
            "scaler": self.scaler,
        }

    @property
    def evaluated(self) -> Mapping[str, Tensor]:
        """The weights that were evaluated: the average, if there is one."""
        return self.ema or self.model

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
            "images": self.images,
            "records": msgspec.to_builtins(self.records),
            "model": dict(self.model),
            "optimizer": dict(self.optimizer),
            "ema": dict(self.ema),
            "scaler": dict(self.scaler),
            "start": self.start,
        }
        content["digest"] = content_digest(content)

        def write(temporary: Path) -> None:
            with temporary.open("xb") as file:
                try:
                    torch.save(content, file)
                except RuntimeError as error:
                    # torch closes its archive after a full disk, which fails again.
                    if isinstance(error.__context__, OSError):
                        raise error.__context__ from None
                    raise

        replace_file(path, write)

    def require_same_run(  # noqa: PLR0913 -- one per thing that may have changed
        self,
        path: Path,
        recipe: Recipe,
        classes: ClassList,
        *,
        labels: str,
        images: str,
        start: str,
    ) -> None:
        """Raise unless this checkpoint belongs to all that determines a run's results.

        Raises:
            TrainingError: the recipe has changed, and the message names the first changed field; or
                the tree, the label maps, the images or the weights of ``model.init`` have changed.
            ClassListMismatch: the class list has changed.
        """
        fields, trained = recipe_fields(recipe), with_defaults(self.recipe)
        kind, now = trained.get("labels.kind"), fields["labels.kind"]
        if kind != now:  # first, since its other fields differ too
            raise TrainingError(
                f"{path.parent} holds a run with {kind} labels, the recipe has {now} labels. "
                f"{START_AGAIN}"
            )
        for name in sorted(fields.keys() | trained.keys()):
            before, now = trained.get(name), fields.get(name)
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
                f"{path} was trained with other labels for the same classes: the recipe's tree, "
                "label-map file or coarsening has changed since. Restore that file. Or: "
                f"{START_AGAIN.lower()}"
            )
        if self.images != images:
            raise TrainingError(
                f"{path} was trained on other images: some were added, removed, renamed or left "
                f"out since. Restore them. Or: {START_AGAIN.lower()}"
            )
        if self.start != start:
            raise TrainingError(
                f"{path} started from other weights: those of model.init have changed since. "
                f"Restore them. Or: {START_AGAIN.lower()}"
            )


def read_checkpoint(path: str | os.PathLike[str], *, remedy: str = "") -> Checkpoint:
    """Read ``last.pt``, with tensors on the CPU and without running code from the file.

    Args:
        path: the file.
        remedy: what the user should do about a file that is none; by default, what helps a run
            that resumes.

    Raises:
        TrainingError: the file is damaged, was changed, or is not a checkpoint of this version.
        FileNotFoundError: no such file.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no such checkpoint: {source}")
    try:
        content = read_torch_file(source)
    except TorchFileError as error:
        raise TrainingError(f"{source} {error}. {remedy or _DELETE}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise TrainingError(
            f"{source} is not a checkpoint of labelkit train but another program's. "
            f"{remedy or 'Choose another folder (-o)'}"
        )
    try:
        return _parse(cast("dict[str, Any]", content))
    except Exception as error:
        # Content of a wrong structure raises a dozen types of errors.
        raise _not_a_checkpoint(source, first_line(error), remedy) from error


def _not_a_checkpoint(path: Path, reason: str, remedy: str) -> TrainingError:
    return TrainingError(
        f"{path} is damaged or not a {FORMAT} of version {VERSION} ({reason}). {remedy or _DELETE}"
    )


def content_digest(content: Mapping[str, object]) -> str:
    """SHA-256 of a checkpoint's values and tensors, without its own digest."""
    plain = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(msgspec.json.encode(plain, enc_hook=_described)).hexdigest()


def _described(value: object) -> object:
    if isinstance(value, torch.Tensor):
        numbers = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return [str(value.dtype), list(value.shape), hashlib.sha256(numbers.data).hexdigest()]
    return repr(value)


def _parse(content: dict[str, Any]) -> Checkpoint:
    if (content["format"], content["version"]) != (FORMAT, VERSION):
        raise ValueError(f"{content['format']} version {content['version']}")
    if content["digest"] != content_digest(content):
        raise ValueError("changed after it was written: its digest does not match its content")
    classes = ClassList.of(content["classes"], content["classes_name"])
    records = msgspec.convert(content["records"], tuple[EpochRecord, ...])
    if classes.digest != content["classes_digest"]:
        raise ValueError("the class list does not match its digest")
    if [record.epoch for record in records] != list(range(1, len(records) + 1)) or not records:
        raise ValueError("its epochs are not numbered from 1")
    _require_finite(content, records)
    return Checkpoint(
        recipe=msgspec.convert(content["recipe"], dict[str, Any]),
        classes=classes,
        labels=msgspec.convert(content["labels"], str),
        images=msgspec.convert(content["images"], str),
        records=records,
        model=content["model"],
        optimizer=content["optimizer"],
        # Files from before these have none.
        ema=content.get("ema", {}),
        scaler=content.get("scaler", {}),
        start=content.get("start", ""),
    )


def _require_finite(content: dict[str, Any], records: Sequence[EpochRecord]) -> None:
    numbers = [
        value for record in records for value in (record.train_loss, *record.metrics.values())
    ]
    if not all(map(math.isfinite, numbers)) or any(
        not_finite(content.get(name, {})) for name in ("model", "ema")
    ):
        raise ValueError("its weights or metrics are not finite")


def not_finite(values: object) -> list[str]:
    """The names of tensors and numbers in nested dicts and lists that are not all finite.

    >>> not_finite({"a": torch.ones(2), "b": {"c": [1.0, float("nan")]}})
    ['b.c.1']
    """
    if isinstance(values, torch.Tensor):
        return [] if bool(torch.isfinite(values).all()) else [""]
    if isinstance(values, float):
        return [] if math.isfinite(values) else [""]
    if isinstance(values, dict):
        items = cast("dict[object, object]", values).items()
    elif isinstance(values, list | tuple):
        items = enumerate(cast("list[object]", values))
    else:
        return []
    return [f"{name}.{inner}".rstrip(".") for name, value in items for inner in not_finite(value)]

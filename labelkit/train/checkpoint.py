"""Checkpoints: ``last.pt``, from which a run goes on, and ``best.safetensors``, the student."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from labelkit import __version__
from labelkit.errors import TrainingError, first_line
from labelkit.files import replace_file
from labelkit.hierarchy import ClassList
from labelkit.train.recipe import recipe_fields
from labelkit.train.records import EpochRecord

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torch import Tensor

    from labelkit.train.recipe import Recipe

FORMAT = "labelkit-checkpoint"
VERSION = 1
ANEW = "Take another folder (-o), or delete this one to begin anew"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run after a whole epoch.

    No random state is kept: all randomness follows from the seed and the epoch's number. The
    schedule follows from the number of updates.

    Attributes:
        recipe: the fields that decide the run's numbers, by dotted name.
        classes: the class list of the student's outputs.
        labels: the digest of the tree or label maps that the labels come from; may be empty.
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
        """How many epochs are done."""
        return len(self.records)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all; ``torch.load(path, weights_only=True)`` reads it.

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
            TrainingError: the recipe has changed, and the message names the first such field; or
                the tree or the label maps have.
            ClassListMismatch: the class list has changed.
        """
        wanted = recipe_fields(recipe)
        for name in sorted(wanted.keys() | self.recipe.keys()):
            ours, theirs = self.recipe.get(name), wanted.get(name)
            if ours != theirs:
                raise TrainingError(
                    f"{path} was trained with {name} = {ours!r}, the recipe has {theirs!r}. {ANEW}"
                )
        self.classes.require_equal(classes, ours=str(path), theirs="the recipe's data", hint=ANEW)
        if self.labels != labels:
            raise TrainingError(
                f"{path} was trained with other labels over the same classes: the tree or the "
                f"label maps that the recipe names have changed since. Restore the file. {ANEW}"
            )


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read ``last.pt``, with tensors on the CPU and no code from the file run.

    Raises:
        TrainingError: the file is damaged, or no checkpoint of a version known here.
        FileNotFoundError: no such file.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no such checkpoint: {source}")
    try:
        return _parse(torch.load(source, map_location="cpu", weights_only=True))
    except Exception as error:
        # Damaged pickles and zips raise a dozen types; the user needs one line and a way out.
        raise TrainingError(
            f"{source} is no {FORMAT} of version {VERSION}, or damaged ({first_line(error)}). "
            "Delete it to begin anew"
        ) from error


def _parse(content: dict[str, Any]) -> Checkpoint:
    if (content["format"], content["version"]) != (FORMAT, VERSION):
        raise ValueError(f"{content['format']} version {content['version']}")
    classes = ClassList.of(content["classes"], content["classes_name"])
    records = msgspec.convert(content["records"], tuple[EpochRecord, ...])
    if classes.digest != content["classes_digest"]:
        raise ValueError(f"its class list has the digest {classes.digest[:6]}")
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
        path: the file to make or to replace.
        model: a ``state_dict``.
        classes: the class list of its outputs; ``classes`` in the metadata is a JSON list.
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
    # Cloned, since safetensors refuses tensors that share memory.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.items()}
    replace_file(path, lambda temporary: save_file(tensors, temporary, metadata))

"""A trained classifier, loaded to evaluate it or to predict with it.

# B batch, C classes, S image side
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.device import choose_device
from labelkit.errors import (
    LabelkitError,
    TeacherError,
    TrainingError,
    first_line,
    is_machine_failure,
)
from labelkit.hierarchy import ClassList, SemanticTree, class_names, load_coarsening
from labelkit.teachers import find_card, load_teacher
from labelkit.train.building import create_student
from labelkit.train.checkpoint import not_finite, read_checkpoint
from labelkit.train.evaluation import predict_logits
from labelkit.train.recipe import Recipe, recipe_of_fields, without_dotdot
from labelkit.train.recipe_labels import MultiLabelLabels, output_tree
from labelkit.train.run_folder import BEST, LAST
from labelkit.train.student import read_student
from labelkit.train.transforms import evaluation_transform, preprocessing
from labelkit.train.validation import ranked_classes, validation_loss
from labelkit.wording import summary

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torchvision.transforms import v2

    from labelkit.hierarchy import Coarsening

EXPECTED = (
    "expected the folder of a labelkit train run, its best.safetensors or last.pt, a teacher's "
    "card or name, or a timm model"
)
REMEDY = "Pass last.pt or best.safetensors of a run of labelkit train"
OTHER_VERSION = "was written by another version of labelkit, or damaged"
TEACHER_BATCH = 32
CROP_PCT = 0.875  # timm's own default


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model with its class list and its preprocessing.

    Attributes:
        name: what it was loaded from, for messages.
        model: in eval mode, on its device; images (B, 3, S, S) to logits (B, C).
        classes: the class list of its outputs.
        transform: the validation transform of the run: an image to (3, S, S).
        loss: the run's loss of logits (B, C) and class indices (B,), without smoothing.
        batch_size: the run's.
        size: S, in pixels.
        preprocessing: ``mean``, ``std`` and ``interpolation`` of its inputs.
        tree: the tree of semantic softmax, or None.
        coarsening: the path of the run's coarsening, or None.
        epoch: the epoch that the weights are from; None for a model that no run trained.
        labels: the digests of the tree, the label maps and the coarsening; None if not known.
        independent: whether each output is a yes or no of its own, as for multi-label runs.
    """

    name: str
    model: nn.Module
    classes: ClassList
    transform: v2.Transform
    loss: nn.Module
    batch_size: int
    size: int
    preprocessing: Mapping[str, Any]
    tree: SemanticTree | None = None
    coarsening: str | None = None
    epoch: int | None = None
    labels: str | None = None
    independent: bool = False

    def __str__(self) -> str:
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        return f"{self.name}{epoch}"

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next(self.model.parameters()).device

    @cached_property
    def ranked(self) -> list[int]:
        """The classes that compete in a ranking; empty if they are on several levels of a tree."""
        return ranked_classes(self.classes, self.tree)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """C names, for people: the tree's, or WordNet's for wnids, or the ids."""
        return class_names(self.classes) if self.tree is None else self.tree.names

    def logits(self, images: Tensor, keys: list[str]) -> Tensor:
        """The logits (B, C) of images (B, 3, S, S), float32, on the model's device.

        Raises:
            TrainingError: a logit is not finite; the message names the images.
        """
        logits = predict_logits(self.model, images, self.device)
        finite = torch.isfinite(logits).all(1).tolist()
        if not all(finite):
            bad = [key for key, good in zip(keys, finite, strict=True) if not good]
            raise TrainingError(
                f"the logits of {self.name} are not finite for {summary(bad)}. Its weights are "
                "unusable: pass those of an earlier epoch, or train again with a lower "
                "optimizer.lr"
            )
        return logits

    def comparable(self, logits: Tensor) -> Tensor:
        """Logits (B, C) whose softmax over some classes shares out the probability among these.

        For independent outputs, each class gets its sigmoid over the sum of all.
        """
        return F.logsigmoid(logits) if self.independent else logits

    def load_coarsening(self) -> Coarsening | None:
        """The coarsening that the run's folders went through, None without one.

        Raises:
            TrainingError: its file is missing or has changed since the training.
            CoarseningFileError: it is damaged.
        """
        if self.coarsening is None:
            return None
        path = without_dotdot(self.coarsening)
        try:
            found = load_coarsening(path)
        except FileNotFoundError:
            raise TrainingError(
                f"{self.name} was trained with data.coarsening = {self.coarsening!r}, which is not "
                f"there (from {Path.cwd()}). Start from the folder that the training started from"
            ) from None
        if self.labels is not None and found.digest not in self.labels:
            raise TrainingError(
                f"{self.coarsening} has changed since {self.name} was trained with it. Restore it"
            )
        return found


class _Saved(NamedTuple):
    """What a run's file holds."""

    recipe: Recipe
    classes: ClassList
    weights: Mapping[str, Tensor]
    epoch: int
    labels: str | None


def load_classifier(
    source: str | os.PathLike[str], *, device: str = "auto", tree: SemanticTree | None = None
) -> Classifier:
    """Load a classifier, ready to predict.

    Nothing in a file is executed, and nothing is downloaded for a run's student.

    Args:
        source: the folder of a run (its best epoch), ``best.safetensors``, ``last.pt`` (the last
            epoch), the name or the path of a teacher's card, or a timm model with weights.
        device: torch's name of the device; ``auto`` is a GPU if there is one.
        tree: the tree of a run with semantic softmax; None reads the file that its recipe names.

    Raises:
        TrainingError: a file is damaged, not from labelkit, or does not fit the installed timm; or
            the tree is missing or has changed.
        TeacherError: the teacher's weights are missing or do not fit, or the class list of a timm
            model is not known.
        DeviceError: torch cannot use the device on this machine.
        FileNotFoundError: ``source`` is none of these.
    """
    chosen = choose_device(device)
    path = Path(source)
    if path.is_dir():
        path = _weights_of_run(path)
    if path.is_file() and path.suffix.lower() != ".toml":
        return _student(path, chosen, tree)
    if path.is_file() or find_card(str(source)) is not None or timm.is_model(str(source)):
        try:
            return _teacher(str(source), chosen)
        except TeacherError as error:
            if path.suffix.lower() != ".toml":
                raise
            raise TeacherError(f"{error}; {EXPECTED}") from error
    raise FileNotFoundError(f"no such file, folder or model: {source}; {EXPECTED}")


def _weights_of_run(folder: Path) -> Path:
    for name in (BEST, LAST):
        if (folder / name).is_file():
            return folder / name
    raise TrainingError(
        f"{folder} has no {BEST} and no {LAST}: it is not the folder of a run, or no epoch was "
        f"finished; {EXPECTED}"
    )


def _student(path: Path, device: torch.device, given: SemanticTree | None) -> Classifier:
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{" or path.suffix.lower() == ".safetensors"
    saved = _read_exported(path) if is_safetensors else _read_last(path)
    recipe = saved.recipe
    if bad := not_finite(dict(saved.weights)):
        raise TrainingError(
            f"the weights of {path} are not finite ({summary(bad)}). Pass those of another epoch"
        )
    tree = _tree(path, saved, given)
    config = preprocessing(recipe.model.name)
    return Classifier(
        name=str(path),
        model=_model(path, saved).to(device).to(memory_format=torch.channels_last).eval(),
        classes=saved.classes,
        transform=evaluation_transform(recipe.data.image_size, recipe.data.crop_pct, config),
        loss=validation_loss(recipe.labels, tree).to(device),
        batch_size=recipe.run.part_size,
        size=recipe.data.image_size,
        preprocessing=config,
        tree=tree,
        coarsening=recipe.data.coarsening,
        epoch=saved.epoch,
        labels=saved.labels,
        independent=isinstance(recipe.labels, MultiLabelLabels),
    )


def _read_last(path: Path) -> _Saved:
    checkpoint = read_checkpoint(path, remedy=REMEDY)
    try:
        recipe = recipe_of_fields(checkpoint.recipe)
    except ValueError as error:
        raise TrainingError(f"{path} {OTHER_VERSION}: {first_line(error)}") from error
    return _Saved(
        recipe, checkpoint.classes, checkpoint.evaluated, checkpoint.epoch, checkpoint.labels
    )


def _read_exported(path: Path) -> _Saved:
    metadata, weights = read_student(path)
    try:
        recipe = msgspec.json.decode(metadata["recipe"], type=Recipe)
        ids = msgspec.json.decode(metadata["classes"], type=list[str])
        classes = ClassList.of(ids, f"classes of {path.name}")
        epoch = int(metadata["epoch"])
    except (ValueError, KeyError, LabelkitError) as error:
        raise TrainingError(f"{path} {OTHER_VERSION}: {first_line(error)}") from error
    if classes.digest != metadata["classes_digest"]:
        raise TrainingError(f"{path} is damaged: its class list does not match its digest")
    return _Saved(recipe, classes, weights, epoch, metadata.get("labels"))


def _model(path: Path, saved: _Saved) -> nn.Module:
    recipe = saved.recipe
    blank = msgspec.structs.replace(
        recipe, model=msgspec.structs.replace(recipe.model, pretrained=False, init=None)
    )
    with torch.random.fork_rng(devices=[]):  # it seeds torch's generator
        model = create_student(blank, len(saved.classes))
    try:
        model.load_state_dict(saved.weights)
    except RuntimeError as error:
        if is_machine_failure(error):
            raise
        raise TrainingError(
            f"the weights of {path} do not fit {recipe.model.name} of the installed timm "
            f"{timm.__version__} ({' '.join(str(error).split())[:300]})"
        ) from error
    return model


def _tree(path: Path, saved: _Saved, given: SemanticTree | None) -> SemanticTree | None:
    """The tree that a run was trained on: the one given, if it is that, or the recipe's file."""
    name = output_tree(saved.recipe.labels)
    if name is None:
        return None
    if given is not None and _is_tree_of(given, saved):
        return given
    try:
        found = SemanticTree.load(without_dotdot(name))
    except FileNotFoundError:
        other = "" if given is None else f", and the given tree, {given.classes}, is another one"
        raise TrainingError(
            f"{path} was trained on the tree {name!r}, which is not there (from {Path.cwd()})"
            f"{other}. Pass that tree: --tree TREE"
        ) from None
    if not _is_tree_of(found, saved):
        raise TrainingError(
            f"{name} is not the tree that {path} was trained on: it has {found.classes}, the "
            f"checkpoint {saved.classes}. Pass that tree: --tree TREE"
        )
    return found


def _is_tree_of(tree: SemanticTree, saved: _Saved) -> bool:
    same = tree.classes.ids == saved.classes.ids
    return same and (saved.labels is None or tree.digest in saved.labels)


def _teacher(name: str, device: torch.device) -> Classifier:
    """A teacher as a classifier of whole images, with timm's centre crop at its native size."""
    card = find_card(name)
    teacher = load_teacher(
        name if card is None else msgspec.structs.replace(card, size=card.native_size),
        device=str(device),
    )
    card = teacher.card
    known: Any = timm.get_pretrained_cfg(card.model)
    config = {"mean": card.mean, "std": card.std, "interpolation": card.interpolation}
    crop_pct = float(getattr(known, "crop_pct", None) or CROP_PCT)
    return Classifier(
        name=card.name or card.model,
        model=teacher.model,
        classes=teacher.classes,
        transform=evaluation_transform(card.native_size, crop_pct, config),
        loss=nn.CrossEntropyLoss(),
        batch_size=TEACHER_BATCH,
        size=card.native_size,
        preprocessing=config,
    )

"""Build the task of a recipe: open its data, and check that class lists match."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from torch import nn

from labelkit.errors import ClassListError, RecipeError
from labelkit.hierarchy import Coarsening, load_coarsening
from labelkit.train.augmentation import COLOUR_ONLY
from labelkit.train.batch_mixing import BatchMixing
from labelkit.train.checked_images import CheckedImages
from labelkit.train.data import ClassSource, coarsen_folder
from labelkit.train.image_reading import SourceImages, open_folder, open_unlabelled
from labelkit.train.label_study import LabelStudy, forget, keep
from labelkit.train.map_task import label_map_task
from labelkit.train.recipe import Recipe, without_dotdot
from labelkit.train.recipe_labels import (
    DistillationLabels,
    HardLabels,
    HierarchicalLabels,
    LabelMapLabels,
    MultiLabelLabels,
    SemanticSoftmaxLabels,
    kind_of,
)
from labelkit.train.task import SAME_FOLDERS, Opened, Task
from labelkit.train.taught_tasks import distillation_task, with_tree_teacher
from labelkit.train.transforms import make_transforms
from labelkit.train.tree_tasks import hierarchical_task, tree_task
from labelkit.train.validation import validation_loss

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torchvision.datasets import ImageFolder


def build_task(recipe: Recipe) -> Task:
    """Open the data that a recipe names, and check that its class lists match.

    Raises:
        RecipeError: a file that the recipe names does not exist.
        DatasetError: a folder is missing or empty, or images cannot be read; the message names
            them all.
        ClassListMismatch: a folder is not in the class list; the message says what to do.
        ClassListError: a folder has no coarse class.
        TreeFileError: the tree file is damaged.
        CoarseningFileError: the coarsening is damaged.
        LabelMapError: the label-map file is damaged, or an image is missing from it.
    """
    _require_followed(recipe)
    transforms = make_transforms(recipe.data, recipe.model.name)
    train = open_folder(recipe.data.train, "data.train", recipe.data.columns)
    val = open_folder(recipe.data.val, "data.val", recipe.data.columns)
    coarsening = _coarsen(recipe.data.coarsening, (train, val))
    more = _open_unlabelled(recipe)
    images = CheckedImages.of(recipe, (train, val, more) if more else (train, val))
    study = LabelStudy.of(recipe.data, train)
    if isinstance(recipe.labels, DistillationLabels):
        forget(train, study.labelled)
    elif study.partial and not isinstance(recipe.labels, LabelMapLabels):
        keep(train, study.labelled)
    task = _task(recipe, Opened(train, val, transforms, images, study, _source(recipe), more))
    if recipe.mix.on:
        task = replace(task, mixing=BatchMixing(recipe.mix, recipe.run.seed, len(task.classes)))
    return replace(task, labels=task.labels + coarsening.digest) if coarsening else task


def _source(recipe: Recipe) -> ClassSource:
    return ClassSource(recipe.data.train, recipe.data.coarsening)


def _task(recipe: Recipe, opened: Opened) -> Task:
    match recipe.labels:
        case HardLabels() as labels:
            return _hard(labels, opened)
        case SemanticSoftmaxLabels() as labels:
            return with_tree_teacher(tree_task(labels, opened), labels, recipe)
        case MultiLabelLabels() as labels:
            return tree_task(labels, opened)
        case HierarchicalLabels() as labels:
            return hierarchical_task(labels, opened)
        case LabelMapLabels() as labels:
            return label_map_task(labels, opened)
        case DistillationLabels() as labels:
            return distillation_task(labels, recipe, opened)
        case _:
            assert_never(recipe.labels)


def _require_followed(recipe: Recipe) -> None:
    """Refuse an augmentation that shifts crops whose target depends on what they show."""
    labels, name = recipe.labels, recipe.data.augment
    local = isinstance(labels, LabelMapLabels) and labels.label.startswith("local")
    if local and name and name != COLOUR_ONLY:
        raise RecipeError(
            f"data.augment is {name}, which rotates, shears and shifts crops and keeps no record "
            "of it, so label maps would be pooled over another part of the image. Use "
            f'{COLOUR_ONLY}, which only changes colours, or labels.label = "global-multi"'
        )


def _open_unlabelled(recipe: Recipe) -> SourceImages | None:
    path = recipe.data.unlabelled
    if path is None:
        if isinstance(recipe.labels, LabelMapLabels) and recipe.labels.unlabelled_maps:
            raise RecipeError("labels.unlabelled_maps without data.unlabelled: set both, or none")
        return None
    if isinstance(recipe.labels, DistillationLabels):
        return open_unlabelled(path, recipe.data.columns)
    if not isinstance(recipe.labels, LabelMapLabels):
        raise RecipeError(
            "data.unlabelled: only label maps or a teacher can teach these images, and labels.kind "
            f'is {kind_of(recipe.labels)!r}. Set kind = "label-maps" or "distillation", or remove '
            "data.unlabelled"
        )
    if recipe.labels.unlabelled_maps is None:
        raise RecipeError(
            "data.unlabelled needs label maps: labelkit relabel "
            f"{path} --classes {_source(recipe).path} -o MAPS, and set labels.unlabelled_maps to "
            "MAPS"
        )
    return open_unlabelled(path, recipe.data.columns)


def _coarsen(path: str | None, folders: Iterable[ImageFolder]) -> Coarsening | None:
    if path is None:
        return None
    try:
        coarsening = load_coarsening(without_dotdot(path))
    except FileNotFoundError:
        raise RecipeError(
            f"data.coarsening: no such file: {path!r}. Make it with labelkit coarsen TREE -o {path}"
        ) from None
    for folder in folders:
        try:
            coarsen_folder(folder, coarsening)
        except ClassListError as error:
            raise ClassListError(f"{folder.root} with {path}: {error}") from error
    return coarsening


def _hard(labels: HardLabels, opened: Opened) -> Task:
    classes = opened.source.classes(opened.train)
    return Task(
        classes,
        opened.train_samples(classes, SAME_FOLDERS),
        opened.val_samples(classes, SAME_FOLDERS),
        loss=nn.CrossEntropyLoss(label_smoothing=labels.label_smoothing),
        val_loss=validation_loss(labels, None),
        images=opened.images,
        study=opened.study,
    )

"""The task that each kind of labels defines: class list, data sets, losses and metrics.

# B batch, C classes
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

import numpy as np
from torch import nn

from labelkit.data import LabelMapDataset, TargetOptions
from labelkit.errors import ClassListError, ClassListMismatch, RecipeError
from labelkit.hierarchy import ClassList, Coarsening, SemanticTree, load_coarsening
from labelkit.label_maps import LabelMapFile
from labelkit.losses import SemanticSoftmaxLoss, SoftTargetCrossEntropy
from labelkit.metrics import SemanticAccuracy, TopKAccuracy
from labelkit.train.batch_mixing import BatchMixing
from labelkit.train.checked_images import CheckedImages
from labelkit.train.data import (
    FolderSamples,
    coarsen_folder,
    folder_classes,
    make_transforms,
    open_folder,
)
from labelkit.train.evaluation import MeanLoss, Metric
from labelkit.train.recipe import Recipe, without_dotdot
from labelkit.train.recipe_labels import (
    HardLabels,
    LabelMapLabels,
    Labels,
    SemanticSoftmaxLabels,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

NEW_MAPS = (
    "Make label maps for the data set's classes: labelkit relabel DATA --classes DATA -o MAPS. "
    "Folders with plain names, not ids such as n01440764, also need --names: labelkit match-names"
)
NEW_TREE = "Build the tree from a list that includes them: labelkit build-tree CLASSES -o TREE"
_Transforms = tuple["v2.Transform", "v2.Transform"]
SAME_FOLDERS = "Training and evaluation data need the same class folders"


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that depends on the kind of labels.

    Attributes:
        classes: the class list of the student's outputs.
        train_set: yields an image and its target for ``loss``: (), or a probability for each class
            of the student or of the label maps.
        val_set: yields an image and its class index.
        loss: of logits (B, C) and the batch's targets.
        val_loss: of logits (B, C) and class indices (B,), without smoothing.
        images: what the check of all images found.
        labels: the digests of the tree or label maps that give the labels, and of the coarsening;
            empty for hard labels.
        tree: the tree of semantic softmax, else None.
        calibrated: whether targets are calibrated; None if they are not from label maps.
        other: whether the last output is *other*, which is no class of the data.
        mixing: CutMix and MixUp, or None.
    """

    classes: ClassList
    train_set: FolderSamples | LabelMapDataset
    val_set: FolderSamples
    loss: nn.Module
    val_loss: nn.Module
    images: CheckedImages
    labels: str = ""
    tree: SemanticTree | None = None
    calibrated: bool | None = None
    other: bool = False
    mixing: BatchMixing | None = None

    def prepare(self, images: Tensor, target: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """A training batch as the student and ``loss`` get it.

        Args:
            images: (B, 3, S, S), on the student's device.
            target: what ``train_set`` yields, on the same device.
            number: of the update in the run, from 1; all randomness follows from it.

        Returns:
            The images, and what ``loss`` takes beside the student's logits for them.
        """
        return self.mixing(images, target, number) if self.mixing else (images, target)

    @property
    def measure(self) -> str:
        """The metric that decides which epoch is best."""
        return "top1" if self._ranked else "semantic_accuracy"

    def metrics(self) -> dict[str, Metric]:
        """New metrics for one evaluation; see ``validation_metrics``."""
        return validation_metrics(self.val_loss, self._ranked, self.tree)

    @property
    def inner(self) -> int:
        """The number of classes that are inner nodes of the tree."""
        return len(self.tree.inner) if self.tree else 0

    @property
    def _ranked(self) -> list[int]:
        return ranked_classes(self.classes, self.tree)


def ranked_classes(classes: ClassList, tree: SemanticTree | None) -> list[int]:
    """The classes that top-k accuracy ranks: the data's, if they share one softmax, or none.

    Each level of a tree has a separate softmax, so logits of different levels cannot be compared.
    """
    if tree is None:
        return list(range(len(classes)))
    data_classes = np.flatnonzero(tree.is_data_class)
    return data_classes.tolist() if len(np.unique(tree.level[data_classes])) == 1 else []


def validation_metrics(
    loss: nn.Module, ranked: Sequence[int], tree: SemanticTree | None
) -> dict[str, Metric]:
    """New metrics, by the names under which a run logs them.

    Args:
        loss: of logits (B, C) and class indices (B,); its mean is ``loss``.
        ranked: the classes that compete for ``top1`` and, if there are more than five, ``top5``;
            empty for neither.
        tree: for ``semantic_accuracy``, or None.
    """
    metrics: dict[str, Metric] = {"loss": MeanLoss(loss)}
    if ranked:
        metrics["top1"] = TopKAccuracy(1, ranked)
        if len(ranked) > 5:
            metrics["top5"] = TopKAccuracy(5, ranked)
    if tree is not None:
        metrics["semantic_accuracy"] = SemanticAccuracy(tree)
    return metrics


def validation_loss(labels: Labels, tree: SemanticTree | None) -> nn.Module:
    """The loss of logits (B, C) and class indices (B,) of a run with these labels and their tree.

    Raises:
        RecipeError: the level weights do not fit the tree.
    """
    if tree is None or isinstance(labels, HardLabels):
        return nn.CrossEntropyLoss()
    weights = labels.level_weights or "paper"
    try:
        return SemanticSoftmaxLoss(tree, level_weights=weights)
    except ValueError as error:
        raise RecipeError(f"labels: {error}") from error


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
    transforms = make_transforms(recipe.data, recipe.model.name)
    train = open_folder(recipe.data.train, "data.train")
    val = open_folder(recipe.data.val, "data.val")
    coarsening = _coarsen(recipe.data.coarsening, (train, val))
    images = CheckedImages.of(recipe, (train, val))
    task = _task(recipe, train, val, transforms, images)
    if recipe.mix.on:
        task = replace(task, mixing=BatchMixing(recipe.mix, recipe.run.seed, len(task.classes)))
    return replace(task, labels=task.labels + coarsening.digest) if coarsening else task


def _task(
    recipe: Recipe,
    train: ImageFolder,
    val: ImageFolder,
    transforms: _Transforms,
    images: CheckedImages,
) -> Task:
    match recipe.labels:
        case HardLabels() as labels:
            return _hard(labels, train, val, transforms, images)
        case SemanticSoftmaxLabels() as labels:
            return _semantic_softmax(labels, train, val, transforms, images)
        case LabelMapLabels() as labels:
            return _label_maps(labels, train, val, transforms, images)
        case _:
            assert_never(recipe.labels)


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


def _hard(
    labels: HardLabels,
    train: ImageFolder,
    val: ImageFolder,
    transforms: _Transforms,
    images: CheckedImages,
) -> Task:
    classes = folder_classes(train)
    return Task(
        classes,
        FolderSamples(train, classes, transforms[0], hint=SAME_FOLDERS),
        FolderSamples(val, classes, transforms[1], hint=SAME_FOLDERS),
        loss=nn.CrossEntropyLoss(label_smoothing=labels.label_smoothing),
        val_loss=validation_loss(labels, None),
        images=images,
    )


def _semantic_softmax(
    labels: SemanticSoftmaxLabels,
    train: ImageFolder,
    val: ImageFolder,
    transforms: _Transforms,
    images: CheckedImages,
) -> Task:
    tree = _load_tree(labels.tree, train)
    val_loss = validation_loss(labels, tree)
    return Task(
        tree.classes,
        FolderSamples(train, tree.classes, transforms[0], hint=NEW_TREE),
        FolderSamples(val, tree.classes, transforms[1], hint=NEW_TREE),
        loss=SemanticSoftmaxLoss(tree, labels.label_smoothing, labels.level_weights),
        val_loss=val_loss,
        images=images,
        labels=tree.digest,
        tree=tree,
    )


def _load_tree(path: str, train: ImageFolder) -> SemanticTree:
    try:
        return SemanticTree.load(without_dotdot(path))
    except FileNotFoundError:
        raise RecipeError(
            f"labels.tree: no such file: {path!r}. Make it with labelkit build-tree "
            f"{train.root} -o {path}"
        ) from None


def _label_maps(
    labels: LabelMapLabels,
    train: ImageFolder,
    val: ImageFolder,
    transforms: _Transforms,
    images: CheckedImages,
) -> Task:
    try:
        maps = LabelMapFile.open(without_dotdot(labels.maps))
    except FileNotFoundError:
        raise RecipeError(
            f"labels.maps: no such file: {labels.maps!r}. Make it with labelkit relabel "
            f"{train.root} --classes {train.root} -o {labels.maps}"
        ) from None
    # Check the val folders first: a wrong class list is a likelier mistake than a wrong data set.
    val_set = FolderSamples(val, maps.classes, transforms[1], hint=NEW_MAPS)
    train_set = LabelMapDataset(train, maps, transforms[0], options=labels.options())
    task = Task(
        train_set.classes,
        train_set,
        val_set,
        loss=SoftTargetCrossEntropy(labels.label_smoothing),
        val_loss=validation_loss(labels, None),
        images=images,
        labels=maps.digest,
        calibrated=_is_calibrated(maps, labels.options()),
        other=len(train_set.classes) > len(maps.classes),
    )
    if labels.tree is None:
        return task
    return _on_tree(task, labels, _load_tree(labels.tree, train), transforms[1])


def _is_calibrated(maps: LabelMapFile, options: TargetOptions) -> bool | None:
    if options.label == "original":
        return None
    return maps.calibration is not None and options.calibrates(maps.forms)


def _on_tree(
    task: Task, labels: LabelMapLabels, tree: SemanticTree, transform: v2.Transform
) -> Task:
    """The same targets, for one softmax per level of a tree."""
    missing = [each for each in task.classes if each not in tree.classes.index]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ClassListMismatch(
            f"{labels.maps} has classes that are not in {labels.tree} ({tree.classes}): "
            f"{', '.join(missing[:3])}{more}. {NEW_TREE}"
        )
    val_loss = validation_loss(labels, tree)
    weights = labels.level_weights or "paper"
    return replace(
        task,
        classes=tree.classes,
        val_set=FolderSamples(task.val_set.folder, tree.classes, transform, hint=NEW_TREE),
        loss=SemanticSoftmaxLoss(
            tree, labels.label_smoothing, weights, target_classes=task.classes
        ),
        val_loss=val_loss,
        labels=f"{task.labels} {tree.digest}",
        tree=tree,
    )

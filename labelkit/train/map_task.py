"""The task of a run on label maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from labelkit.data import LabelMapDataset, TargetOptions
from labelkit.errors import ClassListMismatch, RecipeError
from labelkit.label_maps import LabelMapFile
from labelkit.losses import SemanticSoftmaxLoss, SoftTargetCrossEntropy
from labelkit.train.data import FolderSamples
from labelkit.train.recipe import without_dotdot
from labelkit.train.task import Opened, Task
from labelkit.train.tree_tasks import NEW_TREE, load_tree
from labelkit.train.validation import validation_loss

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree
    from labelkit.train.recipe_labels import LabelMapLabels

NEW_MAPS = (
    "Make label maps for the data set's classes: labelkit relabel DATA --classes DATA -o MAPS. "
    "Folders with plain names, not ids such as n01440764, also need --names: labelkit match-names"
)


def label_map_task(labels: LabelMapLabels, opened: Opened) -> Task:
    """Targets pooled from label maps over each random crop.

    Raises:
        RecipeError: no such file, or the level weights do not fit the tree.
        LabelMapError: the label-map file is damaged, or lacks an image.
        ClassListMismatch: a folder is not a class of the file, or a class of it not in the tree.
    """
    maps = _open_maps(labels.maps, opened)
    # Check the val folders first: a wrong class list is a likelier mistake than a wrong data set.
    val_set = FolderSamples(opened.val, maps.classes, opened.transforms[1], hint=NEW_MAPS)
    train_set = LabelMapDataset(opened.train, maps, opened.transforms[0], options=labels.options())
    task = Task(
        train_set.classes,
        train_set,
        val_set,
        loss=SoftTargetCrossEntropy(labels.label_smoothing),
        val_loss=validation_loss(labels, None),
        images=opened.images,
        labels=maps.digest,
        calibrated=_is_calibrated(maps, labels.options()),
        other=len(train_set.classes) > len(maps.classes),
    )
    if labels.tree is None:
        return task
    return _on_tree(task, labels, load_tree(labels.tree, opened), opened)


def _open_maps(path: str, opened: Opened) -> LabelMapFile:
    try:
        return LabelMapFile.open(without_dotdot(path))
    except FileNotFoundError:
        root = opened.train.root
        raise RecipeError(
            f"labels.maps: no such file: {path!r}. Make it with labelkit relabel {root} "
            f"--classes {root} -o {path}"
        ) from None


def _is_calibrated(maps: LabelMapFile, options: TargetOptions) -> bool | None:
    if options.label == "original":
        return None
    return maps.calibration is not None and options.calibrates(maps.forms)


def _on_tree(task: Task, labels: LabelMapLabels, tree: SemanticTree, opened: Opened) -> Task:
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
        val_set=FolderSamples(opened.val, tree.classes, opened.transforms[1], hint=NEW_TREE),
        loss=SemanticSoftmaxLoss(
            tree, labels.label_smoothing, weights, target_classes=task.classes
        ),
        val_loss=val_loss,
        labels=f"{task.labels} {tree.digest}",
        tree=tree,
    )

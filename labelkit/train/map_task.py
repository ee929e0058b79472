"""The task of a run on label maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch.utils.data import Subset

from labelkit.data import LabelMapDataset, TargetOptions
from labelkit.errors import ClassListMismatch, LabelMapError, RecipeError
from labelkit.label_maps import LabelMapFile
from labelkit.losses import SemanticSoftmaxLoss, SoftTargetCrossEntropy
from labelkit.train.joined_maps import JoinedMaps
from labelkit.train.recipe import without_dotdot
from labelkit.train.task import Opened, Task
from labelkit.train.tree_tasks import load_tree
from labelkit.train.validation import validation_loss
from labelkit.wording import summary

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree
    from labelkit.train.image_reading import SourceImages
    from labelkit.train.recipe_labels import LabelMapLabels


def label_map_task(labels: LabelMapLabels, opened: Opened) -> Task:
    """Targets pooled from label maps over each random crop.

    Raises:
        RecipeError: no such file, or the level weights do not fit the tree.
        LabelMapError: the label-map file is damaged, or lacks an image.
        ClassListMismatch: a folder is not a class of the file, or a class of it not in the tree.
    """
    maps = _open_maps("maps", labels.maps, str(opened.train.root), opened)
    # Check the val folders first: a wrong class list is a likelier mistake than a wrong data set.
    val_set = opened.val_samples(maps.classes, opened.source.new_maps)
    parts = _train_sets(labels, opened, maps)
    train_set = JoinedMaps(parts) if len(parts) > 1 else parts[0]
    task = Task(
        train_set.classes,
        train_set,
        val_set,
        loss=SoftTargetCrossEntropy(labels.label_smoothing),
        val_loss=validation_loss(labels, None),
        images=opened.images,
        study=opened.study,
        labels=" ".join(dict.fromkeys(part.maps.digest for part in parts)),
        calibrated=_is_calibrated(maps, labels.options()),
        other=len(train_set.classes) > len(maps.classes),
    )
    if labels.tree is None:
        return task
    return _on_tree(task, labels, load_tree(labels.tree, opened), opened)


def _train_sets(
    labels: LabelMapLabels, opened: Opened, maps: LabelMapFile
) -> list[LabelMapDataset]:
    """All training images: those without a label have targets from their maps alone."""
    options, study, transform = labels.options(), opened.study, opened.transforms[0]
    # A target of the whole image is the same wherever an augmentation shifts the crop.
    untraced = "refuse" if options.label.startswith("local") else "ignore"
    if study.partial or opened.unlabelled:
        _require_maps_alone(labels)
    parts: list[tuple[Any, LabelMapFile, TargetOptions]] = []
    if study.partial and options.original:
        rest = sorted(set(range(study.images)).difference(study.labelled))
        parts.append((Subset(opened.train, study.labelled), maps, options))
        parts.append((Subset(opened.train, rest), maps, replace(options, original=0.0)))
    else:
        parts.append((opened.train, maps, options))
    if opened.unlabelled and labels.unlabelled_maps:
        more = _more_maps(labels.unlabelled_maps, maps, opened.unlabelled, opened)
        parts.append((opened.unlabelled, more, replace(options, original=0.0)))
    return [
        LabelMapDataset(images, file, transform, options=each, untraced=untraced)
        for images, file, each in parts
    ]


def _require_maps_alone(labels: LabelMapLabels) -> None:
    """Refuse targets that need the label of every image.

    Raises:
        RecipeError: with partial labels or more images, some have none; the message says what to
            set instead.
    """
    if labels.label == "original":
        raise RecipeError(
            "labels.label is original, but with data.labels or data.unlabelled some images have no "
            'label of their own. Set kind = "hard" to train on those that have one, or another '
            "label"
        )
    if labels.other == "label":
        raise RecipeError(
            "labels.other is label, which gives *other* to each image's own label, but with "
            "data.labels or data.unlabelled some images have none. Set labels.other to drop"
        )


def _more_maps(path: str, maps: LabelMapFile, images: SourceImages, opened: Opened) -> LabelMapFile:
    """The maps of the unlabelled images.

    Raises:
        ClassListMismatch: they are over other classes than those of the train folder.
    """
    more = _open_maps("unlabelled_maps", path, str(images.root), opened)
    maps.classes.require_equal(
        more.classes, ours=str(maps.path), theirs=str(more.path), hint=opened.source.new_maps
    )
    if maps.header.other != more.header.other:
        raise LabelMapError(
            f"only one of {maps.path} and {more.path} stores *other*: make both with --no-other, "
            "or both without"
        )
    return more


def _open_maps(field: str, path: str, root: str, opened: Opened) -> LabelMapFile:
    try:
        return LabelMapFile.open(without_dotdot(path))
    except FileNotFoundError:
        raise RecipeError(
            f"labels.{field}: no such file: {path!r}. Make it with labelkit relabel {root} "
            f"--classes {opened.source.path} -o {path}"
        ) from None


def _is_calibrated(maps: LabelMapFile, options: TargetOptions) -> bool | None:
    if options.label == "original":
        return None
    return maps.calibration is not None and options.calibrates(maps.forms)


def _on_tree(task: Task, labels: LabelMapLabels, tree: SemanticTree, opened: Opened) -> Task:
    """The same targets, for one softmax per level of a tree."""
    missing = [each for each in task.classes if each not in tree.classes.index]
    if missing:
        raise ClassListMismatch(
            f"{labels.maps} has classes that are not in {labels.tree} ({tree.classes}): "
            f"{summary(missing)}. {opened.source.new_tree}"
        )
    val_loss = validation_loss(labels, tree)
    weights = labels.level_weights or "paper"
    return replace(
        task,
        classes=tree.classes,
        val_set=opened.val_samples(tree.classes, opened.source.new_tree),
        loss=SemanticSoftmaxLoss(
            tree, labels.label_smoothing, weights, target_classes=task.classes
        ),
        val_loss=val_loss,
        labels=f"{task.labels} {tree.digest}",
        tree=tree,
    )

"""What depends on a run's kind of labels: class list, data sets, losses and metrics.

# B batch, C classes, S image side
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.train.batch_mixing import soft_labels
from labelkit.train.data import FolderSamples
from labelkit.train.live_teacher import TaughtTarget
from labelkit.train.validation import ranked_classes, validation_metrics

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    from labelkit.data import LabelMapDataset
    from labelkit.hierarchy import ClassList, SemanticTree
    from labelkit.train.batch_mixing import BatchMixing
    from labelkit.train.checked_images import CheckedImages
    from labelkit.train.data import ClassSource
    from labelkit.train.evaluation import Metric
    from labelkit.train.image_reading import SourceImages
    from labelkit.train.joined_maps import JoinedMaps
    from labelkit.train.label_study import LabelStudy
    from labelkit.train.live_teacher import LiveTeacher


SAME_FOLDERS = "Training and evaluation data need the same class folders"


@dataclass(frozen=True, eq=False)
class Opened:
    """The images of a run, opened and checked, before they have labels.

    Attributes:
        train: the training images.
        val: the evaluation images.
        transforms: of training and of evaluation.
        images: what the check of all images found.
        study: which training images have a label, and how many of these are wrong.
        source: of the images' classes.
        unlabelled: more training images, which have none.
    """

    train: ImageFolder
    val: ImageFolder
    transforms: tuple[v2.Transform, v2.Transform]
    images: CheckedImages
    study: LabelStudy
    source: ClassSource
    unlabelled: SourceImages | None = None

    def train_samples(self, classes: ClassList, hint: str) -> FolderSamples:
        """The training images with their classes; ``hint`` says what to do if one is missing."""
        return FolderSamples(self.train, classes, self.transforms[0], self.source, hint=hint)

    def val_samples(self, classes: ClassList, hint: str) -> FolderSamples:
        """The same of the evaluation images."""
        return FolderSamples(self.val, classes, self.transforms[1], self.source, hint=hint)


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
        study: which training images have a label, and how many of these are wrong.
        labels: the digests of the tree or label maps that give the labels, and of the coarsening;
            empty for hard labels.
        tree: the tree of semantic softmax, else None.
        calibrated: whether targets are calibrated; None if they are not from label maps.
        other: whether the last output is *other*, which is no class of the data.
        mixing: CutMix and MixUp, or None.
        teacher: a live teacher, or None.
    """

    classes: ClassList
    train_set: FolderSamples | LabelMapDataset | JoinedMaps
    val_set: FolderSamples
    loss: nn.Module
    val_loss: nn.Module
    images: CheckedImages
    study: LabelStudy
    labels: str = ""
    tree: SemanticTree | None = None
    calibrated: bool | None = None
    other: bool = False
    mixing: BatchMixing | None = None
    teacher: LiveTeacher | None = None

    def to(self, device: torch.device) -> None:
        """Move the losses and the teacher to a device."""
        self.loss.to(device)
        self.val_loss.to(device)
        if self.teacher:
            self.teacher.to(device)

    def prepare(
        self, images: Tensor, target: Tensor, number: int
    ) -> tuple[Tensor, Tensor | TaughtTarget]:
        """A training batch as the student and ``loss`` get it.

        Args:
            images: (B, 3, S, S), on the student's device.
            target: what ``train_set`` yields, on the same device.
            number: of the update in the run, from 1; all randomness follows from it.

        Returns:
            The images, and what ``loss`` takes beside the student's logits for them.
        """
        if self.mixing:
            images, target = self.mixing(images, target, number)
        if self.teacher is None:
            return images, target
        return images, TaughtTarget(soft_labels(target, len(self.classes)), self.teacher(images))

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

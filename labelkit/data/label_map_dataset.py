"""A data set that yields, for every random crop, the soft target of just that crop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from labelkit.data.crop_targets import CropTargets, Target
from labelkit.data.crops import follow_crop, require_trackable
from labelkit.data.dataset_checks import given_options, require_choices
from labelkit.data.original_labels import original_labels, own_class
from labelkit.data.samples import open_samples
from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence, Sized

    from numpy.typing import NDArray

    from labelkit.data.crops import Untraced
    from labelkit.data.target_options import TargetOptions
    from labelkit.geometry import CropBox
    from labelkit.hierarchy import ClassList


class DrawnCrop(NamedTuple):
    """A crop that a pipeline took, and what its target is made of.

    Attributes:
        image: what the pipeline returned.
        row: the image's row in the file; -1 for none.
        box: where the crop lies.
        own: the image's own class in the file, where the target needs it; else -1.
    """

    image: torch.Tensor
    row: int
    box: CropBox
    own: int


class LabelMapDataset(Dataset[tuple[torch.Tensor, Target]]):
    """Images of a data set with targets pooled from label maps over the crop taken.

    Yields ``(image, target)``: the image as the pipeline leaves it, and by default the softmax of
    the pooled logits over the file's classes, float32 (C,), which sums to one. Plain torch loops
    take it as it is: ``torch.nn.functional.cross_entropy(logits, target)``. Where the file holds
    maps of several input sizes, their logits are mixed by how far the crop zooms in.

    Args:
        dataset: a torchvision ``ImageFolder``, a timm ``ImageDataset``, a ``Subset`` of one, or
            with ``key`` any data set of ``(image, class index)``; without a transform of its own.
        maps: a label-map file, or its path; made with ``labelkit relabel`` at the same root.
        transform: a torchvision or timm pipeline that ``track_crop`` can follow. It can be set
            later, as ``timm.data.create_loader`` does.
        key: from a sample's position to its key in the file, where the data set has no paths.
        options: which label.
        sparse: yield ``SparseProbabilities``, not all classes; collate with ``collate_sparse``.
        missing: ``error`` refuses a data set with images that the file lacks; ``hard`` gives those
            their own label. ``missing_count`` tells how many they are.
        classes: the ids behind the data set's class indices, where it has no ``classes``; read
            only where its own labels are part of the target.

    Attributes:
        missing_count: images that the file lacks.
        untraced: as in ``track_crop``: refuse steps such as RandAugment, or ignore their shifts.

    Raises:
        ValueError: the data set has its own transform or no paths, or the pipeline holds a step
            that cannot be followed; or its own labels are needed and their ids not known.
        TypeError: a step of the pipeline is not known, or an argument is of another kind.
        LabelMapError: the file lacks one of the data set's images, and the message names it; or
            it does not hold what the options need.
        ClassListMismatch: the data set's own labels are needed, and one is not in the file.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2.
    """

    def __init__(  # noqa: PLR0913 -- what, with which labels, and how they are found
        self,
        dataset: Sized,
        maps: LabelMapFile | str | os.PathLike[str],
        transform: Callable[..., Any] | None = None,
        *,
        key: Callable[[int], str] | None = None,
        options: TargetOptions | None = None,
        sparse: bool = False,
        missing: Literal["error", "hard"] = "error",
        classes: Sequence[str] | None = None,
        untraced: Untraced = "refuse",
    ) -> None:
        require_choices(missing=missing, untraced=untraced)
        options = given_options(options)
        self.dataset: Any = dataset
        self.samples = open_samples(dataset, key)
        self.untraced: Untraced = untraced
        self.transform = transform
        self.maps = maps if isinstance(maps, LabelMapFile) else LabelMapFile.open(maps)
        self._targets = CropTargets(self.maps, options, sparse=sparse)
        self._rows = _rows(self.maps, self.samples.keys)
        self.missing_count = int((self._rows < 0).sum())
        if missing == "error" and self.missing_count:
            raise _lacking(self.maps, self.samples.keys, self._rows)
        self._labels: NDArray[np.int64] | None = None
        self._needs_original = options.needs_original
        if options.needs_original or self.missing_count:
            names = list(classes) if classes is not None else self.samples.class_names
            self._labels = original_labels(self.maps, names)

    @property
    def transform(self) -> Callable[..., Any] | None:
        """The pipeline; each new one is checked."""
        return self._transform

    @transform.setter
    def transform(self, transform: Callable[..., Any] | None) -> None:
        if transform is not None:
            require_trackable(transform, untraced=self.untraced)
        self._transform = transform

    @property
    def classes(self) -> ClassList:
        """The class list of the targets."""
        return self.maps.classes

    @property
    def keys(self) -> list[str]:
        """Each sample's key in the file."""
        return self.samples.keys

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, Target]:
        return self.complete([self.draw(position)])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[tuple[torch.Tensor, Target]]:
        """The samples of a batch, as torch's ``DataLoader`` asks for them: faster than each."""
        if type(self).__getitem__ is not LabelMapDataset.__getitem__:
            return [self[position] for position in positions]
        return self.complete([self.draw(position) for position in positions])

    def crop(self, position: int) -> tuple[torch.Tensor, CropBox]:
        """One random crop of an image, and where it lies.

        Raises:
            DatasetError: the image cannot be read; the message names it.
            ValueError: there is no pipeline, or it moves pixels in a way that cannot be followed.
        """
        drawn = self.draw(position)
        return drawn.image, drawn.box

    def draw(self, position: int) -> DrawnCrop:
        """One random crop of an image, whose target ``complete`` makes: all that is left to chance.

        Raises:
            DatasetError: the image cannot be read, or its own label, which its target needs.
            ValueError: as ``crop``.
        """
        if self._transform is None:
            raise ValueError("LabelMapDataset has no transform yet: give it one that makes tensors")
        image, label = self.samples.read(position)
        output, tracker = follow_crop(image, self._transform, untraced=self.untraced)
        box = self._targets.box_of(tracker)
        return DrawnCrop(output, int(self._rows[position]), box, self._own(position, label))

    def complete(self, crops: Sequence[DrawnCrop]) -> list[tuple[torch.Tensor, Target]]:
        """The samples of some crops, their targets made together.

        Raises:
            LabelMapError: a row of the file is damaged; the message names it.
        """
        if not crops:
            return []
        images, rows, boxes, own = zip(*crops, strict=True)
        return list(zip(images, self._targets(rows, boxes, own), strict=True))

    def _own(self, position: int, label: Any) -> int:  # noqa: ANN401 -- the data set's
        """The file's class of the image's own label, where its target needs it; else -1."""
        if self._labels is None or not (self._needs_original or self._rows[position] < 0):
            return -1
        return own_class(self._labels, label, self.keys[position])


def _rows(maps: LabelMapFile, keys: list[str]) -> NDArray[np.int64]:
    """The file's row of each sample, -1 for none: 8 bytes each to carry to a worker."""
    rows = (maps.position(key) for key in keys)
    return np.fromiter((-1 if row is None else row for row in rows), np.int64, len(keys))


def _lacking(maps: LabelMapFile, keys: list[str], rows: NDArray[np.int64]) -> LabelMapError:
    first, lacking = keys[int(rows.argmin())], int((rows < 0).sum())
    why = maps.why_not(first)
    if first not in maps.unreadable and lacking < len(keys) / 2:
        why = (
            "were they added since? labelkit relabel --reuse makes their maps alone; with "
            "missing='hard' they keep their own labels"
        )
    return LabelMapError(
        f"{maps.path} has no label map for {lacking:,} of {len(keys):,} images, the first is "
        f"{first!r}: {why}"
    )

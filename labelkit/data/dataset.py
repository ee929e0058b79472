"""A data set that yields a soft target for every random crop, pooled over exactly that crop.

It wraps any map-style data set, seen as keys, images and class names. A key is an image's path
below the root that ``labelkit relabel`` was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate

from labelkit.data.crops import follow_crop, require_trackable
from labelkit.data.original_labels import OriginalLabels
from labelkit.data.rows import RowFinder, find_rows
from labelkit.data.samples import open_samples
from labelkit.data.target_options import TargetOptions
from labelkit.data.targets import CropTargets, DrawnCrop, Target
from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile
from labelkit.targets import SparseProbabilities
from labelkit.wording import summary

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence, Sized

    from numpy.typing import NDArray

    from labelkit.data.crops import CropTracker, Untraced
    from labelkit.geometry import CropBox
    from labelkit.hierarchy import ClassList


class LabelMapDataset(Dataset[tuple[torch.Tensor, Target]]):
    """Images of a data set, with targets pooled from label maps over each random crop.

    Yields ``(image, target)``: the image as the pipeline returns it, and by default the softmax of
    the pooled logits over the file's classes, float32 (C,), which sums to one. Plain torch loops
    need no change: ``torch.nn.functional.cross_entropy(logits, target)``. Where the file has maps
    of several input sizes, their logits are mixed by how far the crop zooms in.

    Args:
        dataset: a torchvision ``ImageFolder``, a timm ``ImageDataset``, a ``Subset`` of one, a
            source of images, or with ``key`` any data set of ``(image, class index)``; without its
            own transform.
        maps: a label-map file, or its path; made with ``labelkit relabel`` from the same root.
        transform: a torchvision or timm pipeline that ``track_crop`` can follow. It can be set
            later, as ``timm.data.create_loader`` does.
        key: from a sample's position to its key in the file, for a data set without paths.
        options: which target.
        sparse: yield ``SparseProbabilities`` instead of all classes; collate with
            ``collate_sparse``.
        missing: what to do with images that the file lacks: ``error`` refuses the data set,
            ``hard`` gives them their original label.
        classes: the ids of the data set's class indices, if it has no ``classes``, or if the file
            has others, such as the coarse class of each folder; read only where original labels
            are part of the target.
        untraced: as in ``track_crop``: refuse steps such as RandAugment, or ignore their shifts.

    Attributes:
        missing_count: number of images that the file lacks.

    Raises:
        ValueError: the data set has its own transform or no paths, the pipeline has a step that
            cannot be followed, or original labels are needed and their ids are not known.
        TypeError: a step of the pipeline is not known, or an argument has the wrong type.
        LabelMapError: the file lacks one of the data set's images, which the message names, or
            does not store what the options need.
        ClassListMismatch: original labels are needed, and one is not a class of the file.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2.
    """

    def __init__(  # noqa: PLR0913 -- the data, its maps, which target, and how images are found
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
        self.options = given_options(options)
        self.dataset: Any = dataset
        self.samples = open_samples(dataset, key)
        self.untraced: Untraced = untraced
        self.transform = transform
        self.maps = maps if isinstance(maps, LabelMapFile) else LabelMapFile.open(maps)
        self._targets = CropTargets(self.maps, self.options, sparse=sparse)
        finder = RowFinder(self.maps)
        self._keys, self._rows = find_rows(self.samples.keys, self.samples.above, finder)
        self.missing_count = int((self._rows < 0).sum())
        if missing == "error" and self.missing_count:
            raise _missing_maps(finder, self._keys, self._rows)
        self._originals: OriginalLabels | None = None
        if self._targets.needs_original or self.missing_count:
            names = list(classes) if classes is not None else self.samples.class_names
            self._originals = OriginalLabels(self.maps, names, self.samples.class_names)

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
        """The class list of the targets; the student needs an output for each."""
        return self._targets.classes

    @property
    def keys(self) -> list[str]:
        """Each sample's key in the file."""
        return self._keys

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, Target]:
        return self.complete([self.draw(position)])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[tuple[torch.Tensor, Target]]:
        """The samples of a batch, as torch's ``DataLoader`` requests them: faster than one by one.

        A subclass that overrides ``__getitem__`` is asked for one sample at a time.
        """
        if type(self).__getitem__ is not LabelMapDataset.__getitem__:
            return [self[position] for position in positions]
        return self.complete([self.draw(position) for position in positions])

    def crop(self, position: int) -> tuple[torch.Tensor, CropBox]:
        """One random crop of an image, and what it shows of the image.

        Raises:
            DatasetError: the image cannot be read; the message names it.
            ValueError: there is no pipeline, or it moves pixels in a way that cannot be followed.
        """
        drawn = self.draw(position)
        return drawn.image, drawn.box

    def draw(self, position: int) -> DrawnCrop:
        """One random crop of an image, for ``complete``: the only step that draws random numbers.

        Raises:
            DatasetError: the image cannot be read, or has no original label, which its target
                needs.
            ValueError: as ``crop``.
        """
        if self._transform is None:
            raise ValueError("LabelMapDataset has no transform yet: pass one that returns a tensor")
        image, label = self.samples.read(position)
        output, tracker = follow_crop(image, self._transform, untraced=self.untraced)
        row = int(self._rows[position])
        original = -1
        if self._originals and (self._targets.needs_original or row < 0):
            original = self._originals.class_of(label, self.keys[position])
        return DrawnCrop(output, row, tracked_box(tracker, self.options), original)

    def complete(self, crops: Sequence[DrawnCrop]) -> list[tuple[torch.Tensor, Target]]:
        """The samples of some crops, with their targets made together.

        Raises:
            LabelMapError: a row of the file is damaged; the message names it.
        """
        return self._targets.complete(crops)


def collate_sparse(
    samples: Sequence[tuple[Any, SparseProbabilities]],
) -> tuple[Any, SparseProbabilities]:
    """Collate images and sparse targets; a ``collate_fn`` for data sets with ``sparse=True``.

    Returns:
        The images, and one ``SparseProbabilities`` (B, E) with E of the longest target; shorter
        ones are padded with entries that add nothing.

    Raises:
        TypeError: a target is not ``SparseProbabilities``.
    """
    images, targets = zip(*samples, strict=True)
    for target in targets:
        if not isinstance(target, SparseProbabilities):
            raise TypeError(
                f"collate_sparse got a target of type {type(target).__name__}, expected "
                "SparseProbabilities: create the data set with sparse=True, or drop the collate_fn"
            )
    return default_collate(list(images)), SparseProbabilities(
        pad_sequence([target.classes for target in targets], batch_first=True),
        pad_sequence([target.excess for target in targets], batch_first=True),
        torch.stack([target.rest for target in targets]),
    )


def require_choices(*, missing: str, untraced: str) -> None:
    """Raise unless both arguments are known words.

    Raises:
        ValueError: the message names the argument and its choices.
    """
    if missing not in ("error", "hard"):
        raise ValueError(f"missing is {missing!r}, expected error or hard")
    if untraced not in ("refuse", "ignore"):
        raise ValueError(f"untraced is {untraced!r}, expected refuse or ignore")


def given_options(options: object) -> TargetOptions:
    """The options, or the defaults for None.

    Raises:
        TypeError: anything else.
    """
    if options is None:
        return TargetOptions()
    if not isinstance(options, TargetOptions):
        raise TypeError(
            f"options has type {type(options).__name__}, expected labelkit.data.TargetOptions, "
            "such as TargetOptions(temperature=2.0)"
        )
    return options


def tracked_box(tracker: CropTracker, options: TargetOptions) -> CropBox:
    """The crop that a tracker followed.

    Raises:
        ValueError: token targets are wanted, but the pixels do not fill the box in even rows and
            columns.
    """
    if options.tokens is not None and not tracker.fills_box:
        raise ValueError(
            "the pipeline slants the image, or pads it after a crop, so that token targets would "
            "not match the positions they belong to: remove such steps, or use tokens=None"
        )
    return tracker.box


def _missing_maps(finder: RowFinder, keys: list[str], rows: NDArray[np.int64]) -> LabelMapError:
    maps, missing = finder.maps, [keys[at] for at in np.flatnonzero(rows < 0)]
    first = missing[0]
    reason = finder.why_not(first)
    few = len(missing) < len(keys) / 2
    if few and reason == maps.why_not(first) and first not in maps.unreadable:
        reason = (
            "were they added since? labelkit relabel --reuse makes only their maps; with "
            "missing='hard' they keep their original labels"
        )
    return LabelMapError(
        f"{maps.path} has no label map for {len(missing):,} of {len(keys):,} images "
        f"({summary(missing)}): {reason}"
    )

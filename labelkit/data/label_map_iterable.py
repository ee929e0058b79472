"""The same for data that comes as a stream: tars, WebDataset, a database."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from labelkit.data.crop_targets import CropTargets, Target
from labelkit.data.crops import follow_crop, require_trackable
from labelkit.data.dataset_checks import given_options, require_choices
from labelkit.data.original_labels import original_labels, own_class
from labelkit.errors import DatasetError, LabelMapError
from labelkit.label_maps import LabelMapFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from labelkit.data.crops import Untraced
    from labelkit.data.target_options import TargetOptions
    from labelkit.geometry import CropBox
    from labelkit.hierarchy import ClassList

_MOST_WORKERS = 1024
# Samples that are read ahead, to make their targets at once in a fraction of the time.
_TOGETHER = 16


class LabelMapIterable(IterableDataset[tuple[torch.Tensor, Target]]):
    """A stream of keyed images with targets pooled from label maps over the crop taken.

    Yields what ``LabelMapDataset`` yields. Which worker reads which part of the stream is the
    stream's own affair, and so is its length: ``len`` is that of the stream, where it has one.

    Args:
        dataset: yields ``(key, image)`` or ``(key, image, class index)``; the key is the image's
            path below the root that ``labelkit relabel`` was given.
        maps: a label-map file, or its path.
        transform: a pipeline that ``track_crop`` can follow.
        options: which label.
        sparse: yield ``SparseProbabilities``; collate with ``collate_sparse``.
        missing: what an image does that the file lacks: ``error``, or ``hard`` for its own label.
        classes: the ids behind the class indices; needed where the data's own labels are.
        untraced: as in ``track_crop``: refuse steps such as RandAugment, or ignore their shifts.

    Raises:
        ValueError: the pipeline cannot be followed, or own labels are needed and ``classes`` is
            not given.
        TypeError: a step of the pipeline is not known, or an argument is of another kind.
        LabelMapError: the file does not hold what the options need; while iterating, it lacks an
            image, and the message names it.
        ClassListMismatch: own labels are needed, and one is not in the file.
        DatasetError: while iterating, a sample is of another form, or lacks the label it needs.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2.
    """

    def __init__(  # noqa: PLR0913 -- what, with which labels, and how they are found
        self,
        dataset: Iterable[Sequence[Any]],
        maps: LabelMapFile | str | os.PathLike[str],
        transform: Callable[..., Any],
        *,
        options: TargetOptions | None = None,
        sparse: bool = False,
        missing: Literal["error", "hard"] = "error",
        classes: Sequence[str] | None = None,
        untraced: Untraced = "refuse",
    ) -> None:
        require_choices(missing=missing, untraced=untraced)
        require_trackable(transform, untraced=untraced)
        options = given_options(options)
        self.dataset: Any = dataset
        self.transform = transform
        self.untraced: Untraced = untraced
        self.maps = maps if isinstance(maps, LabelMapFile) else LabelMapFile.open(maps)
        self._targets = CropTargets(self.maps, options, sparse=sparse)
        self._missing = missing
        self._needs_original = options.needs_original
        needed = options.needs_original or missing == "hard"
        self._labels = original_labels(self.maps, classes) if needed else None
        # One place for each worker, so that no two of them write to the same.
        self._missed = torch.zeros(_MOST_WORKERS, dtype=torch.int64).share_memory_()

    @property
    def classes(self) -> ClassList:
        """The class list of the targets."""
        return self.maps.classes

    @property
    def missing_count(self) -> int:
        """Images so far, over all workers and epochs, that the file lacks."""
        return int(self._missed.sum())

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Target]]:
        stream = iter(self.dataset)
        while crops := [self._crop(sample) for sample in islice(stream, _TOGETHER)]:
            images, rows, boxes, own = zip(*crops, strict=True)
            yield from zip(images, self._targets(rows, boxes, own), strict=True)

    def __len__(self) -> int:
        return len(self.dataset)

    def _crop(self, sample: object) -> tuple[torch.Tensor, int, CropBox, int]:
        """A sample's crop, its row in the file or -1, where it lies, and its own class or -1."""
        key, image, *label = _parts(sample)
        row = self.maps.position(key)
        if row is None:
            self._miss(key)
        output, tracker = follow_crop(image, self.transform, untraced=self.untraced)
        own = self._own(key, label, missed=row is None)
        return output, -1 if row is None else row, self._targets.box_of(tracker), own

    def _own(self, key: str, label: Sequence[Any], *, missed: bool) -> int:
        """The file's class of the image's own label, where its target needs it; else -1."""
        if self._labels is None or not (self._needs_original or missed):
            return -1
        return own_class(self._labels, label[0] if label else None, key)

    def _miss(self, key: str) -> None:
        if self._missing == "error":
            raise LabelMapError(
                f"{self.maps.path} has no label map for {key!r}: {self.maps.why_not(key)}"
            )
        worker = get_worker_info()
        self._missed[0 if worker is None else worker.id % _MOST_WORKERS] += 1


def _parts(sample: object) -> Sequence[Any]:
    """A sample's key, its image and, if it has one, its label.

    Raises:
        DatasetError: it is of another form.
    """
    if isinstance(sample, (tuple, list)) and len(sample) >= 2 and isinstance(sample[0], str):
        return sample
    what = type(sample).__name__
    if isinstance(sample, (tuple, list)):
        what += f" of {', '.join(type(part).__name__ for part in sample[:3]) or 'nothing'}"
    raise DatasetError(
        f"the stream yields a {what}, expected (key, image) or (key, image, class index) with the "
        "key a str: from WebDataset's samples to_tuple('__key__', 'jpg', 'cls') makes that"
    )

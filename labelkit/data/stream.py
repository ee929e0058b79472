"""``LabelMapDataset`` for data that comes as a stream: tars, WebDataset, a database."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from labelkit.data.crops import follow_crop, require_trackable
from labelkit.data.dataset import given_options, require_choices, tracked_box
from labelkit.data.original_labels import OriginalLabels
from labelkit.data.rows import RowFinder
from labelkit.data.targets import CropTargets, DrawnCrop, Target
from labelkit.errors import DatasetError, LabelMapError
from labelkit.label_maps import LabelMapFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from labelkit.data.crops import Untraced
    from labelkit.data.target_options import TargetOptions
    from labelkit.hierarchy import ClassList

_MOST_WORKERS = 1024
_READ_AHEAD = 16  # samples whose targets are made together, which is faster than one by one


class LabelMapIterable(IterableDataset[tuple[torch.Tensor, Target]]):
    """A stream of keyed images, with targets pooled from label maps over each random crop.

    Yields what ``LabelMapDataset`` yields. The stream itself decides which worker reads which part
    of it, and how long it is: ``len`` is the stream's, if it has one.

    Args:
        dataset: yields ``(key, image)`` or ``(key, image, class index)``; the key is the image's
            path below the root that ``labelkit relabel`` was given.
        maps: a label-map file, or its path.
        transform: a pipeline that ``track_crop`` can follow.
        options: which target.
        sparse: yield ``SparseProbabilities``; collate with ``collate_sparse``.
        missing: what to do with an image that the file lacks: ``error``, or ``hard`` for its
            original label.
        classes: the ids of the class indices; needed where original labels are.
        untraced: as in ``track_crop``: refuse steps such as RandAugment, or ignore their shifts.

    Raises:
        ValueError: the pipeline cannot be followed, or original labels are needed and ``classes``
            is not given.
        TypeError: a step of the pipeline is not known, or an argument has the wrong type.
        LabelMapError: the file does not store what the options need; while iterating, it lacks an
            image, which the message names.
        ClassListMismatch: original labels are needed, and one is not a class of the file.
        DatasetError: while iterating, a sample has another form, or no label though it needs one.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2.
    """

    def __init__(  # noqa: PLR0913 -- the data, its maps, which target, and how images are found
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
        self.options = given_options(options)
        self.dataset: Any = dataset
        self.transform = transform
        self.untraced: Untraced = untraced
        self.maps = maps if isinstance(maps, LabelMapFile) else LabelMapFile.open(maps)
        self._finder = RowFinder(self.maps)
        self._targets = CropTargets(self.maps, self.options, sparse=sparse)
        self._missing = missing
        needed = self._targets.needs_original or missing == "hard"
        self._originals = OriginalLabels(self.maps, classes) if needed else None
        # One counter per worker, so that no two of them write to the same.
        self._missed = torch.zeros(_MOST_WORKERS, dtype=torch.int64).share_memory_()

    @property
    def classes(self) -> ClassList:
        """The class list of the targets; the student needs an output for each."""
        return self._targets.classes

    @property
    def missing_count(self) -> int:
        """Images seen so far, over all workers and epochs, that the file lacks."""
        return int(self._missed.sum())

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Target]]:
        stream = iter(self.dataset)
        while crops := [self._draw(sample) for sample in islice(stream, _READ_AHEAD)]:
            yield from self._targets.complete(crops)

    def __len__(self) -> int:
        return len(self.dataset)

    def _draw(self, sample: object) -> DrawnCrop:
        """One random crop of a sample's image, and what its target is made from."""
        key, image, *labels = _parts(sample)
        row = self._finder.row(key)
        if row is None:
            self._count_missing(key)
        output, tracker = follow_crop(image, self.transform, untraced=self.untraced)
        original = -1
        if self._originals and (self._targets.needs_original or row is None):
            original = self._originals.class_of(labels[0] if labels else None, key)
        box = tracked_box(tracker, self.options)
        return DrawnCrop(output, -1 if row is None else row, box, original)

    def _count_missing(self, key: str) -> None:
        if self._missing == "error":
            raise LabelMapError(
                f"{self.maps.path} has no label map for {key!r}: {self._finder.why_not(key)}"
            )
        worker = get_worker_info()
        self._missed[0 if worker is None else worker.id % _MOST_WORKERS] += 1


def _parts(sample: object) -> Sequence[Any]:
    """A sample's key, its image and, if it has one, its label.

    Raises:
        DatasetError: the sample has another form.
    """
    if isinstance(sample, (tuple, list)) and len(sample) >= 2 and isinstance(sample[0], str):
        return sample
    found = type(sample).__name__
    if isinstance(sample, (tuple, list)):
        found += f" of {', '.join(type(part).__name__ for part in sample[:3]) or 'nothing'}"
    raise DatasetError(
        f"the stream yields a {found}, expected (key, image) or (key, image, class index) with a "
        "str as key: for WebDataset, to_tuple('__key__', 'jpg', 'cls') makes these"
    )

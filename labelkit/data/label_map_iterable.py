"""The same for data that comes as a stream: tars, WebDataset, a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from labelkit.data.crop_targets import CropTargets, Target
from labelkit.data.crop_tracking import require_trackable, track_crop
from labelkit.data.original_labels import original_labels
from labelkit.data.target_options import TargetOptions
from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from labelkit.data.crop_tracking import Untraced
    from labelkit.hierarchy import ClassList

_MOST_WORKERS = 1024


class LabelMapIterable(IterableDataset[tuple[torch.Tensor, Target]]):
    """A stream of keyed images with targets pooled from label maps over the crop taken.

    Yields what ``LabelMapDataset`` yields. Which worker reads which part of the stream is the
    stream's own affair.

    Args:
        dataset: yields ``(key, image)`` or ``(key, image, class index)``; the key is the image's
            path below the root that ``labelkit relabel`` was given.
        maps: a label-map file, or its path.
        transform: a pipeline that ``track_crop`` can follow.
        options: which label.
        sparse: yield ``SparseTargets``; collate with ``collate_sparse``.
        missing: what an image does that the file lacks: ``error``, or ``hard`` for its own label.
        classes: the ids behind the class indices; needed where the data's own labels are.
        untraced: as in ``track_crop``: refuse steps such as RandAugment, or ignore their shifts.

    Raises:
        ValueError: the pipeline cannot be followed, or own labels are needed and ``classes`` is
            not given.
        LabelMapError: the file does not hold what the options need; while iterating, it lacks an
            image, and the message names it.
        ClassListMismatch: own labels are needed, and one is not in the file.

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
        if missing not in ("error", "hard"):
            raise ValueError(f"missing is {missing!r}, expected error or hard")
        require_trackable(transform, untraced=untraced)
        options = options or TargetOptions()
        self.dataset = dataset
        self.transform = transform
        self.untraced: Untraced = untraced
        self.maps = maps if isinstance(maps, LabelMapFile) else LabelMapFile.open(maps)
        self._targets = CropTargets(self.maps, options, sparse=sparse)
        self._missing = missing
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
        for key, image, *label in self.dataset:
            row = self.maps.position(key)
            if row is None:
                self._miss(key)
            output, box = track_crop(image, self.transform, untraced=self.untraced)
            own = self._own(key, label)
            (target,) = self._targets([-1 if row is None else row], [box], [own])
            yield output, target

    def _own(self, key: str, label: Sequence[Any]) -> int:
        if self._labels is None:
            return -1
        if not label:
            raise ValueError(f"{key!r} comes without a class index, which its target needs")
        return int(self._labels[int(label[0])])

    def _miss(self, key: str) -> None:
        if self._missing == "error":
            raise LabelMapError(
                f"{self.maps.path} has no label map for {key!r}: {self.maps.why_not(key)}"
            )
        worker = get_worker_info()
        self._missed[0 if worker is None else worker.id % _MOST_WORKERS] += 1

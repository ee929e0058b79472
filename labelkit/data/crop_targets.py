"""The targets of crops, from rows of a label-map file.

Legend: E entries, C classes, h w a student's positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from labelkit.data.batch_targets import BatchTargets
from labelkit.data.dataset_checks import require_logits
from labelkit.errors import LabelMapError
from labelkit.geometry import CropBox
from labelkit.label_maps import pool, pool_by_zoom
from labelkit.label_maps.pooling_tokens import pool_tokens
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.data.crops import CropTracker
    from labelkit.data.target_options import TargetOptions
    from labelkit.label_maps import LabelMap, LabelMapFile, LabelMaps
    from labelkit.targets import SparseLogits

Target: TypeAlias = torch.Tensor | SparseProbabilities | tuple[torch.Tensor, torch.Tensor]
"""Dense (C,); sparse; or dense (C,) and one for each position (C, h, w)."""

_Soft: TypeAlias = "tuple[NDArray[np.intp], NDArray[np.float32], float]"


class CropTargets:
    """Makes targets of the rows of one file.

    Args:
        maps: the file.
        options: which label.
        sparse: list only the classes that differ (``SparseProbabilities``) instead of all.

    Raises:
        LabelMapError: the file holds several maps of each image whose zooms do not ascend, or
            lacks the log-sum-exp that pooling of probabilities needs, or holds logarithms of
            probabilities beside which absent classes cannot count as zero.
        ValueError: sparse targets of every position, which do not exist.
    """

    def __init__(self, maps: LabelMapFile, options: TargetOptions, *, sparse: bool) -> None:
        if sparse and options.tokens:
            raise ValueError("targets of every position are dense: take sparse=False")
        if options.method == "probability" and not all(form.log_sum_exp for form in maps.forms):
            raise LabelMapError(
                f"{maps.path} keeps no log-sum-exp, which pooling of probabilities needs: make it "
                "again with labelkit relabel --log-sum-exp, or take method='relabel'"
            )
        require_logits(maps, options)
        self.maps = maps
        self.options = options
        self.sparse = sparse
        self._classes = len(maps.classes)
        self._zooms = _zooms(maps)
        self._single = options.label.endswith("single")
        self._together = BatchTargets(
            options,
            self._zooms,
            self._classes,
            sparse=sparse,
            distinct=maps.forms[0].selection == "image",
        )

    def __call__(
        self, rows: Sequence[int], boxes: Sequence[CropBox], own: Sequence[int]
    ) -> list[Target]:
        """The targets of some crops.

        Args:
            rows: the row of each image in the file; -1 for one that it lacks, whose target is its
                own label.
            boxes: each crop.
            own: the class of each image's own label; read only where it is needed.
        """
        soft, grid = self.options.label != "original", self.options.tokens
        mapped = [at for at, row in enumerate(rows) if row >= 0 and (soft or grid)]
        forms = self.maps.batch([rows[at] for at in mapped])
        crops, labels = [boxes[at] for at in mapped], [own[at] for at in mapped]
        made: dict[int, torch.Tensor | SparseProbabilities] = {}
        if soft and mapped:
            made = dict(zip(mapped, self._soft(forms, crops, labels), strict=True))
        targets: list[Target] = [
            made[at] if at in made else self._wrapped(_one_hot(label), label)
            for at, label in enumerate(own)
        ]
        if grid is None:
            return targets
        maps = dict(zip(mapped, zip(*forms, strict=True), strict=True))
        return [
            (target, self._tokens(maps.get(at, ()), box, label, grid))
            for at, (target, box, label) in enumerate(zip(targets, boxes, own, strict=True))
            if isinstance(target, torch.Tensor)
        ]

    def box_of(self, tracker: CropTracker) -> CropBox:
        """The crop that a tracker followed.

        Raises:
            ValueError: each position is to have a target, and the pixels do not lie in the box in
                even rows and columns.
        """
        if self.options.tokens is not None and not tracker.fills_box:
            raise ValueError(
                "the pipeline slants the image, or pads it after a crop, so that targets of every "
                "position would lie beside what they tell of: take such steps out, or tokens=None"
            )
        return tracker.box

    def _soft(
        self, forms: Sequence[LabelMaps], boxes: Sequence[CropBox], own: Sequence[int]
    ) -> Sequence[torch.Tensor | SparseProbabilities]:
        """The labels of crops whose images have maps."""
        areas = [self._area(box) for box in boxes]
        if len(areas) > 1 or self._single:
            return self._together(forms, areas, own)
        (maps,) = zip(*forms, strict=True)
        target = self._pool(maps, areas[0])
        soft = target.softmax(self._classes, self.options.temperature)
        return [self._wrapped((target.classes, *soft), own[0])]

    def _area(self, box: CropBox) -> CropBox:
        """What a label is pooled over: padding around the image takes nothing from its classes."""
        return box.inside() if self.options.label.startswith("local") else CropBox.whole()

    def _pool(self, maps: Sequence[LabelMap], box: CropBox) -> SparseLogits:
        method, absent = self.options.method, self.options.absent
        if self._zooms:
            return pool_by_zoom(maps, self._zooms, box, method=method, absent=absent)
        return pool(maps[0], box, method=method, absent=absent)

    def _wrapped(self, soft: _Soft, own: int) -> torch.Tensor | SparseProbabilities:
        """The mixture with the data set's own label, in the form that is asked for."""
        classes, listed, other = soft
        share = self.options.original
        if share:
            listed, other = listed * np.float32(1 - share), other * (1 - share)
        if not self.sparse:
            dense = np.full(self._classes, other, np.float32)
            dense[classes] = listed
            if share:
                dense[own] += share
            return torch.from_numpy(dense)
        excess = listed - np.float32(other)
        if share:
            classes, excess = np.append(classes, own), np.append(excess, np.float32(share))
        return SparseProbabilities(
            torch.from_numpy(classes.astype(np.int64, copy=False)),
            torch.from_numpy(excess),
            torch.tensor(other, dtype=torch.float32),
        )

    def _tokens(
        self, maps: Sequence[LabelMap], box: CropBox, own: int, grid: tuple[int, int]
    ) -> torch.Tensor:
        """One distribution for each position (C, h, w); the sharpest map counts."""
        if not maps:
            target = torch.zeros(self._classes, *grid)
            target[own] = 1
            return target
        options = self.options
        pooled = pool_tokens(maps[-1], box, grid, method=options.method, absent=options.absent)
        return torch.from_numpy(pooled.probabilities(self._classes, options.temperature))


def _one_hot(own: int) -> _Soft:
    return np.array([own], np.intp), np.ones(1, np.float32), 0.0


def _zooms(maps: LabelMapFile) -> list[float]:
    """The zooms of a file with several maps an image; empty for one with a single map."""
    zooms = [form.zoom for form in maps.forms]
    if len(zooms) == 1:
        return []
    if min(zooms) <= 0 or sorted(set(zooms)) != zooms:
        raise LabelMapError(
            f"{maps.path} holds {len(zooms)} maps of each image at the zooms {zooms}: which one "
            "is for which crop is only known if they ascend"
        )
    return zooms

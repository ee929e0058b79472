"""The target of one crop, from a row of a label-map file.

Legend: E entries, C classes, h w a student's positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from labelkit.errors import LabelMapError
from labelkit.geometry import CropBox
from labelkit.label_maps import pool, pool_by_zoom
from labelkit.label_maps.pooling_tokens import pool_tokens
from labelkit.targets import SparseTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.data.target_options import TargetOptions
    from labelkit.label_maps import LabelMap, LabelMapFile
    from labelkit.targets import SparseTarget

Target: TypeAlias = torch.Tensor | SparseTargets | tuple[torch.Tensor, torch.Tensor]
"""Dense (C,); sparse; or dense (C,) and one for each position (C, h, w)."""

_Soft: TypeAlias = "tuple[NDArray[np.intp], NDArray[np.float32], float]"


class CropTargets:
    """Makes targets of the rows of one file.

    Args:
        maps: the file.
        options: which label.
        sparse: list the classes that differ from the others (``SparseTargets``), instead of all.

    Raises:
        LabelMapError: the file holds several maps of each image whose zooms do not ascend, or
            lacks the log-sum-exp that pooling of probabilities needs.
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
        self.maps = maps
        self.options = options
        self.sparse = sparse
        self._classes = len(maps.classes)
        self._zooms = _zooms(maps)

    def __call__(self, row: int, box: CropBox, own: int) -> Target:
        """The target of a crop.

        Args:
            row: the image's row in the file; -1 for an image that it lacks, whose target is its
                own label.
            box: the crop.
            own: the class of the data set's own label; read only where it is needed.
        """
        hard = row < 0 or self.options.label == "original"
        if hard and self.options.tokens is None:
            return self._wrapped(_one_hot(own), own)
        maps = [] if row < 0 else self.maps.maps_at(row)
        soft = _one_hot(own) if hard else self._pooled(maps, box)
        target = self._wrapped(soft, own)
        if self.options.tokens is None or isinstance(target, SparseTargets):
            return target
        return target, self._tokens(maps, box, own, self.options.tokens)

    def _pooled(self, maps: Sequence[LabelMap], box: CropBox) -> _Soft:
        options = self.options
        area = box if options.label.startswith("local") else CropBox.whole()
        target = self._pool(maps, area)
        if options.label.endswith("multi"):
            return (target.classes, *target.softmax(self._classes, options.temperature))
        return _one_hot(int(target.classes[target.logits.argmax()]))

    def _pool(self, maps: Sequence[LabelMap], box: CropBox) -> SparseTarget:
        method, absent = self.options.method, self.options.absent
        if self._zooms:
            return pool_by_zoom(maps, self._zooms, box, method=method, absent=absent)
        return pool(maps[0], box, method=method, absent=absent)

    def _wrapped(self, soft: _Soft, own: int) -> torch.Tensor | SparseTargets:
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
        return SparseTargets(
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

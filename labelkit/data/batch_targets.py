"""The targets of all crops of a batch at once.

Legend: B crops, E entries, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from labelkit.label_maps import MapBatch, ProbabilityBatch, pool_batch, pool_batch_by_zoom
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.data.target_options import TargetOptions
    from labelkit.geometry import CropBox
    from labelkit.label_maps import LabelMaps


class BatchTargets:
    """Makes the targets of a batch, equal to those made one by one up to rounding.

    Args:
        options: which label; not the data set's own. Targets of positions are not made here.
        zooms: of an image's maps; empty where there is one.
        classes: C.
        sparse: list the classes that differ from the others, instead of all.
        distinct: whether all cells of a map store the same classes, so that none is listed twice.
    """

    def __init__(
        self,
        options: TargetOptions,
        zooms: Sequence[float],
        classes: int,
        *,
        sparse: bool,
        distinct: bool,
    ) -> None:
        self._options = options
        self._zooms = zooms
        self._classes = classes
        self._sparse = sparse
        self._single = options.label.endswith("single")
        self._probabilities = options.method == "probability"
        # Entries are targets as they are, without a row of all classes.
        self._direct = sparse and distinct and not (zooms or self._probabilities or self._single)

    def __call__(
        self, forms: Sequence[LabelMaps], areas: Sequence[CropBox], own: Sequence[int]
    ) -> list[torch.Tensor] | list[SparseProbabilities]:
        """The targets of B crops.

        Args:
            forms: the maps of each form, of the B images.
            areas: what each label is pooled over.
            own: the class of each image's own label.
        """
        edges = torch.tensor([(each.left, each.top, each.right, each.bottom) for each in areas])
        batches = [self._stack(maps) for maps in forms]
        pooled = self._pool(batches, edges)
        labels, share = torch.tensor(own)[:, None], self._options.original
        if self._direct:
            soft = pooled.softmax(self._classes, self._options.temperature)
            if share:
                hard = SparseProbabilities(
                    labels, torch.ones(labels.shape), torch.zeros(len(labels))
                )
                soft = soft.mixed(hard, share)
            return [
                SparseProbabilities(*map(torch.clone, each)) for each in zip(*soft, strict=True)
            ]
        values = pooled.dense(self._classes)
        if self._single:
            named = self._pool([_marks(batch) for batch in batches], edges).dense(self._classes) > 0
            dense, rest, listed = _strongest(values, named)
        else:
            listed = values != pooled.rest[:, None]
            dense, rest = self._softened(values, pooled.rest[:, None])
        if share:
            dense, rest = dense * (1 - share), rest * (1 - share)
            dense.scatter_add_(1, labels, torch.full(labels.shape, share))
            listed.scatter_(1, labels, value=True)
        # Copies, so that one target does not keep those of the whole batch.
        return _listed(dense, rest, listed) if self._sparse else [row.clone() for row in dense]

    def _stack(self, maps: LabelMaps) -> MapBatch | ProbabilityBatch:
        absent = self._options.absent
        if self._probabilities:
            return ProbabilityBatch.stack(maps, absent=absent, num_classes=self._classes)
        return MapBatch.stack(maps, absent=absent)

    def _pool(
        self, batches: Sequence[MapBatch | ProbabilityBatch], edges: torch.Tensor
    ) -> SparseProbabilities:
        if self._zooms:
            return pool_batch_by_zoom(batches, self._zooms, edges)
        return pool_batch(batches[0], edges)

    def _softened(
        self, values: torch.Tensor, rest: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of all classes (B, C), made in place, and that of others (B, 1) as (B,)."""
        temperature = self._options.temperature
        if self._probabilities:
            values, rest = values.clamp_(min=0).log_(), rest.log()
        highest = values.amax(dim=1, keepdim=True)
        soft = values.sub_(highest).div_(temperature).exp_()
        # Above all classes only where none has it: all are listed.
        other = ((rest - highest) / temperature).clamp(max=0).exp()
        # torch's softmax adds up one by one, and loses digits over many thousands of classes.
        whole = soft.sum(dim=1, keepdim=True)
        return soft.div_(whole), (other / whole)[:, 0]


def _marks(maps: MapBatch | ProbabilityBatch) -> MapBatch:
    """Maps that are 1 where they name a class, and 0 elsewhere."""
    count, _, *grid = maps.excess.shape
    size = maps.behind.shape[1]
    return MapBatch(
        maps.classes,
        torch.ones_like(maps.excess),
        torch.ones(count, size),
        torch.zeros(count, 0, size),
        torch.zeros(count, 0, *grid),
        torch.zeros(count),
    )


def _strongest(
    values: torch.Tensor, named: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All of a row's share to the class with the highest of its values (B, C) among those named.

    Of a crop that shows nothing of the image no class is the strongest: all share alike.

    Returns:
        The shares (B, C), that of a class that is not listed (B,), and which is listed (B, C).
    """
    best = values.masked_fill(~named, -torch.inf).argmax(dim=1, keepdim=True)
    even = (values == values[:, :1]).all(dim=1, keepdim=True)
    listed = torch.zeros_like(named).scatter_(1, best, ~even)
    rest = even / values.shape[1]
    return listed + rest, rest[:, 0], listed


def _listed(
    dense: torch.Tensor, rest: torch.Tensor, listed: torch.Tensor
) -> list[SparseProbabilities]:
    """Rows (B, C) as the classes that are ``listed`` (B, C), ascending, and ``rest`` (B,)."""
    rows, classes = listed.nonzero(as_tuple=True)
    excess = dense[listed] - rest[rows]
    counts = listed.sum(dim=1).tolist()
    parts = zip(classes.split(counts), excess.split(counts), rest, strict=True)
    return [SparseProbabilities(*map(torch.clone, each)) for each in parts]

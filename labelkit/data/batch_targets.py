"""The targets of all crops of a batch at once.

Legend: B crops, E entries, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from labelkit.label_maps import MapBatch, ProbabilityBatch, pool_batch, pool_batch_by_zoom
from labelkit.targets import SparseTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.data.target_options import TargetOptions
    from labelkit.geometry import CropBox
    from labelkit.label_maps import LabelMaps


class BatchTargets:
    """Makes the targets of a batch, equal to those made one by one up to rounding.

    Args:
        options: which label; not the data set's own, and none of positions.
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
        probabilities = options.method == "probability"
        self._kind = ProbabilityBatch if probabilities else MapBatch
        # Entries are targets as they are, without a row of all classes.
        self._direct = sparse and distinct and not (zooms or probabilities or self._single)

    def __call__(
        self, forms: Sequence[LabelMaps], areas: Sequence[CropBox], own: Sequence[int]
    ) -> list[torch.Tensor] | list[SparseTargets]:
        """The targets of B crops.

        Args:
            forms: the maps of each form, of the B images.
            areas: what each label is pooled over.
            own: the class of each image's own label.
        """
        pooled = self._pooled(forms, areas)
        labels, share = torch.tensor(own)[:, None], self._options.original
        if self._direct:
            soft = pooled.softmax(self._classes, self._options.temperature)
            if share:
                hard = SparseTargets(labels, torch.ones(labels.shape), torch.zeros(len(labels)))
                soft = soft.mixed(hard, share)
            return [SparseTargets(*each) for each in zip(*soft, strict=True)]
        dense, rest, listed = self._distributions(pooled)
        if share:
            dense, rest = dense * (1 - share), rest * (1 - share)
            dense.scatter_add_(1, labels, torch.full(labels.shape, share))
            listed.scatter_(1, labels, value=True)
        return _listed(dense, rest, listed) if self._sparse else list(dense)

    def _pooled(self, forms: Sequence[LabelMaps], areas: Sequence[CropBox]) -> SparseTargets:
        """Mean logits, or mean probabilities."""
        edges = torch.tensor([(each.left, each.top, each.right, each.bottom) for each in areas])
        batches = [self._kind.stack(maps, absent=self._options.absent) for maps in forms]
        if self._zooms:
            return pool_batch_by_zoom(batches, self._zooms, edges)
        return pool_batch(batches[0], edges)

    def _distributions(
        self, pooled: SparseTargets
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Probabilities of all classes (B, C), that of the others (B,), and which are no others."""
        values, temperature = pooled.dense(self._classes), self._options.temperature
        rest = pooled.rest[:, None]
        listed = values != rest
        if self._options.method == "probability":
            values, rest = values.clamp(min=0).log(), rest.log()
        highest = values.amax(dim=1, keepdim=True)
        soft = ((values - highest) / temperature).softmax(dim=1)
        # Above all classes only where none has it: all are listed.
        other = ((rest - highest) / temperature).clamp(max=0).exp()
        other = other * soft.amax(dim=1, keepdim=True)
        if self._single:
            best = values.masked_fill(~listed, -torch.inf).argmax(dim=1, keepdim=True)
            # Of a crop that shows nothing of the image, no class is the strongest.
            seen = listed.any(dim=1, keepdim=True)
            listed = torch.zeros_like(listed).scatter_(1, best, seen)
            soft, other = listed.to(soft.dtype).where(seen, soft), other.masked_fill(seen, 0)
        return soft, other[:, 0], listed


def _listed(dense: torch.Tensor, rest: torch.Tensor, listed: torch.Tensor) -> list[SparseTargets]:
    """Rows (B, C) as the classes that are ``listed`` (B, C), ascending, and ``rest`` (B,)."""
    rows, classes = listed.nonzero(as_tuple=True)
    excess = dense[listed] - rest[rows]
    counts = listed.sum(dim=1).tolist()
    parts = zip(classes.split(counts), excess.split(counts), rest, strict=True)
    return [SparseTargets(*each) for each in parts]

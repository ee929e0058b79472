"""Targets of random crops, made from the label maps of their images, a batch at a time.

# B crops, E entries, C classes, h w positions of a student's feature map
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch

from labelkit.data.other_share import share_out, share_out_entries, share_out_listed
from labelkit.errors import LabelMapError
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import (
    MapBatch,
    ProbabilityBatch,
    pool_batch,
    pool_batch_by_zoom,
    pool_tokens,
    zooms_ascend,
)
from labelkit.targets import SparseLogitsBatch, SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.data.other_share import Other
    from labelkit.data.target_options import TargetOptions
    from labelkit.label_maps import LabelMap, LabelMapFile, LabelMaps
    from labelkit.targets import TokenLogits

Target: TypeAlias = torch.Tensor | SparseProbabilities | tuple[torch.Tensor, torch.Tensor]
"""Dense (C,); sparse; or dense (C,) with token targets (C, h, w)."""

_Batches: TypeAlias = "Sequence[MapBatch] | Sequence[ProbabilityBatch]"


class DrawnCrop(NamedTuple):
    """A crop that a pipeline took, and what its target is made from.

    Attributes:
        image: what the pipeline returned.
        row: the image's row in the file; -1 for none.
        box: what the crop shows of the image.
        original: the file's class of the image's original label, where the target needs it;
            else -1.
    """

    image: torch.Tensor
    row: int
    box: CropBox
    original: int


class CropTargets:
    """Makes the targets of crops from the rows of one file.

    Args:
        maps: the file.
        options: which target.
        sparse: list only the classes that differ (``SparseProbabilities``) instead of all.

    Attributes:
        classes: the class list of the targets: the file's, and *other* if that is an output.
        needs_original: whether every sample's original label is part of its target.

    Raises:
        LabelMapError: the file has several maps per image whose zooms do not ascend, or lacks the
            log-sum-exp that pooling probabilities needs, or stores log-probabilities, among which
            absent classes cannot count as logit 0; or it lacks *other*, which is to be an output.
        ValueError: sparse token targets, which do not exist.
    """

    def __init__(self, maps: LabelMapFile, options: TargetOptions, *, sparse: bool) -> None:
        if sparse and options.tokens:
            raise ValueError("token targets are dense: use sparse=False, or tokens=None")
        _require_poolable(maps, options)
        self._maps = maps
        self._options = options
        self._sparse = sparse
        stores_other = maps.header.other
        self.needs_original = options.needs_original or (stores_other and options.other == "label")
        self.classes = maps.classes
        if stores_other and options.other == "output":
            self.classes = ClassList(maps.outputs, f"{maps.classes.name} and other".lstrip())
        self._columns = len(self.classes)
        self._soft = SoftTargets(
            options,
            _zooms(maps),
            len(maps.classes),
            sparse=sparse,
            distinct=maps.forms[0].selection == "image",
            other=stores_other,
        )

    def complete(self, crops: Sequence[DrawnCrop]) -> list[tuple[torch.Tensor, Target]]:
        """The samples of some crops, with their targets made together."""
        if not crops:
            return []
        images, rows, boxes, originals = zip(*crops, strict=True)
        return list(zip(images, self(rows, boxes, originals), strict=True))

    def __call__(
        self, rows: Sequence[int], boxes: Sequence[CropBox], originals: Sequence[int]
    ) -> list[Target]:
        """The targets of some crops.

        Args:
            rows: each image's row in the file; -1 for an image that the file lacks, whose target is
                its original label.
            boxes: each crop.
            originals: the file's class of each original label; read only where it is needed.
        """
        soft, grid = self._options.label != "original", self._options.tokens
        mapped = [at for at, row in enumerate(rows) if row >= 0 and (soft or grid)]
        forms = self._maps.batch([rows[at] for at in mapped]) if mapped else ()
        made: dict[int, torch.Tensor | SparseProbabilities] = {}
        if soft and mapped:
            crops, labels = [boxes[at] for at in mapped], [originals[at] for at in mapped]
            made = dict(zip(mapped, self._soft(forms, crops, labels), strict=True))
        targets: list[Target] = [
            made[at] if at in made else self._hard(label) for at, label in enumerate(originals)
        ]
        if grid is None:
            return targets
        maps = dict(zip(mapped, zip(*forms, strict=True), strict=True))
        return [
            (target, self._tokens(maps.get(at, ()), box, label, grid))
            for at, (target, box, label) in enumerate(zip(targets, boxes, originals, strict=True))
            if isinstance(target, torch.Tensor)
        ]

    def _hard(self, label: int) -> torch.Tensor | SparseProbabilities:
        """All probability on one class."""
        if self._sparse:
            return SparseProbabilities(torch.tensor([label]), torch.ones(1), torch.tensor(0.0))
        target = torch.zeros(self._columns)
        target[label] = 1
        return target

    def _tokens(
        self, maps: Sequence[LabelMap], box: CropBox, label: int, grid: tuple[int, int]
    ) -> torch.Tensor:
        """One distribution per position (C, h, w), from the map of the largest zoom."""
        if not maps:
            target = torch.zeros(self._columns, *grid)
            target[label] = 1
            return target
        options = self._options
        pooled = pool_tokens(maps[-1], box, grid, method=options.method, absent=options.absent)
        return self._soft.of_tokens(pooled, label)


class SoftTargets:
    """Makes the soft targets of a batch of crops from the maps of their images.

    Args:
        options: which target; not ``original``. Token targets are made elsewhere.
        zooms: of an image's maps; empty for one map per image.
        classes: C, without *other*.
        sparse: list the classes that differ from the others, instead of all.
        distinct: whether all cells of a map store the same classes, so that none is listed twice.
        other: whether the maps store *other*, as class index C.
    """

    def __init__(  # noqa: PLR0913 -- which target, and what the maps are like
        self,
        options: TargetOptions,
        zooms: Sequence[float],
        classes: int,
        *,
        sparse: bool,
        distinct: bool,
        other: bool = False,
    ) -> None:
        self._options = options
        self._zooms = zooms
        self._classes = classes
        self._outputs = classes + other
        self._other: Other | None = options.other if other else None
        self._columns = self._outputs if self._other == "output" else classes
        self._sparse = sparse
        self._single = options.label.endswith("single")
        self._probabilities = options.method == "probability"
        # Then the softmax needs only the entries, not a row of all classes.
        self._by_entry = distinct and not (
            zooms or self._probabilities or self._single or self._other == "drop"
        )

    def __call__(
        self, forms: Sequence[LabelMaps], boxes: Sequence[CropBox], originals: Sequence[int]
    ) -> list[torch.Tensor] | list[SparseProbabilities]:
        """The targets of B crops.

        Args:
            forms: the B images' maps, for each form of the file.
            boxes: each crop.
            originals: the class of each original label.
        """
        areas = [self._area(box) for box in boxes]
        edges = torch.tensor([(area.left, area.top, area.right, area.bottom) for area in areas])
        batches = self._stack(forms)
        pooled = self._pool(batches, edges)
        if self._by_entry and isinstance(pooled, SparseLogitsBatch):
            return self._from_entries(pooled, originals)
        values = self._known(pooled.dense(self._outputs))
        if self._single:
            marks = self._pool([_marks(batch) for batch in batches], edges)
            dense, rest, listed = _strongest(values, self._known(marks.dense(self._outputs)) > 0)
        else:
            listed = values != pooled.rest[:, None]
            dense, rest = self._softmax(values, pooled.rest[:, None])
        labels = torch.tensor(originals)
        if self._other and self._other != "drop":
            dense, rest, listed = share_out_listed(dense, rest, listed, self._other, labels)
        if share := self._options.original:
            dense, rest = dense * (1 - share), rest * (1 - share)
            dense.scatter_add_(1, labels[:, None], torch.full((len(labels), 1), share))
            listed.scatter_(1, labels[:, None], value=True)
        return _listed(dense, rest, listed) if self._sparse else _rows(dense)

    def _area(self, box: CropBox) -> CropBox:
        """What a target is pooled over: padding around the image takes nothing from its classes."""
        return box.inside() if self._options.label.startswith("local") else CropBox.whole()

    def _stack(self, forms: Sequence[LabelMaps]) -> _Batches:
        absent, classes = self._options.absent, self._outputs
        if self._probabilities:
            return [
                ProbabilityBatch.stack(maps, absent=absent, num_classes=classes) for maps in forms
            ]
        calibrated = self._options.calibrated
        return [MapBatch.stack(maps, absent=absent, calibrated=calibrated) for maps in forms]

    def _pool(
        self, batches: _Batches, edges: torch.Tensor
    ) -> SparseLogitsBatch | SparseProbabilities:
        if self._zooms:
            return pool_batch_by_zoom(batches, self._zooms, edges)
        return pool_batch(batches[0], edges)

    def _from_entries(
        self, pooled: SparseLogitsBatch, originals: Sequence[int]
    ) -> list[torch.Tensor] | list[SparseProbabilities]:
        """Targets whose softmax is taken over the entries, without a row of all classes."""
        soft = pooled.softmax(self._outputs, self._options.temperature)
        labels = torch.tensor(originals)
        if self._other:
            soft = share_out_entries(soft, self._other, labels, self._classes)
        if share := self._options.original:
            places = labels[:, None]
            hard = SparseProbabilities(places, torch.ones(places.shape), torch.zeros(len(places)))
            soft = soft.mixed(hard, share)
        if not self._sparse:
            return _rows(soft.dense(self._columns))
        return [SparseProbabilities(*map(torch.clone, parts)) for parts in zip(*soft, strict=True)]

    def of_tokens(self, pooled: TokenLogits, label: int) -> torch.Tensor:
        """The targets (C, h, w) of one crop's tokens.

        Args:
            pooled: their mean logits.
            label: the class of the image's original label.
        """
        temperature = self._options.temperature
        if self._other == "drop":
            logits = torch.from_numpy(pooled.dense(self._outputs)[: self._classes])
            return (logits / temperature).softmax(dim=0)
        dense = torch.from_numpy(pooled.probabilities(self._outputs, temperature))
        if self._other is None:
            return dense
        return share_out(dense[None], self._other, torch.tensor([label]))[0]

    def _known(self, values: torch.Tensor) -> torch.Tensor:
        """Values of all outputs (B, C + 1) without *other* where it is left out of the softmax."""
        return values[:, : self._classes] if self._other == "drop" else values

    def _softmax(
        self, values: torch.Tensor, rest: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of all classes (B, C), in place, and those of others (B, 1) as (B,)."""
        temperature = self._options.temperature
        if self._probabilities:
            values, rest = values.clamp_(min=0).log_(), rest.log()
        highest = values.amax(dim=1, keepdim=True)
        # Nothing is left of a crop that shows *other* alone: then all classes are alike.
        empty = highest == -torch.inf
        if empty.any():
            values, rest, highest = (
                part.masked_fill(empty, 0.0) for part in (values, rest, highest)
            )
        soft = values.sub_(highest).div_(temperature).exp_()
        # Above the highest only where every class is listed, so that no class has the rest.
        other = ((rest - highest) / temperature).clamp(max=0).exp()
        # torch's softmax adds sequentially, and loses precision over many thousands of classes.
        total = soft.sum(dim=1, keepdim=True)
        return soft.div_(total), (other / total)[:, 0]


def _require_poolable(maps: LabelMapFile, options: TargetOptions) -> None:
    """Raise unless the file stores what the options pool.

    Among log-probabilities, logit 0 for absent classes would mean that they are certain, and the
    target would be nearly even whatever the image shows. Maps without a background are shifted
    around zero when they are made, and probabilities are pooled with probability 0 for absent
    classes: both are fine.
    """
    if options.method == "probability" and not all(form.log_sum_exp for form in maps.forms):
        raise LabelMapError(
            f"{maps.path} does not store the log-sum-exp, which pooling probabilities needs: "
            "recreate it with labelkit relabel --log-sum-exp, or pass method='relabel'"
        )
    if options.other == "output" and not maps.header.other:
        raise LabelMapError(
            f"{maps.path} does not store the probability of other classes, which is to be an "
            "output: recreate it with labelkit relabel --classes (without --no-other), or leave "
            "out other='output'"
        )
    if options.absent != "zeros" or options.method != "relabel":
        return
    averaged = maps.attrs.get("average") == "probability"
    if averaged and any(form.background for form in maps.forms):
        raise LabelMapError(
            f"{maps.path} stores log-probabilities (labelkit relabel averaged probabilities), "
            "among which absent='zeros' would make every class that a cell does not store "
            "certain: pass absent='background'"
        )


def _zooms(maps: LabelMapFile) -> list[float]:
    """The zooms of a file with several maps per image; empty for a file with one."""
    zooms = [form.zoom for form in maps.forms]
    if len(zooms) == 1:
        return []
    if not zooms_ascend(zooms):
        raise LabelMapError(
            f"{maps.path} has {len(zooms)} maps per image with the zooms {zooms}, expected "
            "positive, ascending zooms, to choose the map for a crop"
        )
    return zooms


def _marks(maps: MapBatch | ProbabilityBatch) -> MapBatch:
    """Maps that are 1 where they name a class, and 0 elsewhere."""
    count, _, *grid = maps.excess.shape
    size = maps.background.shape[1]
    return MapBatch(
        maps.classes,
        torch.ones_like(maps.excess),
        torch.ones(count, size),
        torch.zeros(count, 0, size),
        torch.zeros(count, 0, *grid),
        torch.zeros(count),
        # Its factor is positive. Without it, other maps of an image would count.
        maps.calibration if isinstance(maps, MapBatch) else None,
    )


def _strongest(
    values: torch.Tensor, named: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All probability on the named class with the highest of a row's values (B, C).

    A crop that shows nothing of the image has no strongest class: all get the same.

    Returns:
        The probabilities (B, C), that of a class that is not listed (B,), and which is listed
        (B, C).
    """
    named = named | ~named.any(dim=1, keepdim=True)
    best = values.masked_fill(~named, -torch.inf).argmax(dim=1, keepdim=True)
    even = (values == values[:, :1]).all(dim=1, keepdim=True)
    listed = torch.zeros_like(named).scatter_(1, best, ~even)
    rest = even / values.shape[1]
    return listed + rest, rest[:, 0], listed


def _rows(dense: torch.Tensor) -> list[torch.Tensor]:
    """Rows (C,) of targets (B, C), copied so that one does not keep the whole batch in memory."""
    return [row.clone() for row in dense]


def _listed(
    dense: torch.Tensor, rest: torch.Tensor, listed: torch.Tensor
) -> list[SparseProbabilities]:
    """Rows (B, C) as the classes that are ``listed`` (B, C), ascending, and ``rest`` (B,)."""
    rows, classes = listed.nonzero(as_tuple=True)
    excess = dense[listed] - rest[rows]
    counts = listed.sum(dim=1).tolist()
    parts = zip(classes.split(counts), excess.split(counts), rest, strict=True)
    return [SparseProbabilities(*map(torch.clone, each)) for each in parts]

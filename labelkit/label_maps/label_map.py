"""Label maps: of one image, of many images, and the form that all maps of a file share.

Legend: N images, K entries per cell, H W grid, C classes, M classes and P patterns of a background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps.calibration import Calibration

    _Join = Callable[[Sequence[NDArray[Any]]], NDArray[Any]]


class MapForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all maps of one kind in a file share.

    Attributes:
        selection: ``cell`` stores the K strongest classes of every cell, as published; ``image``
            stores the K strongest classes of the image in all cells.
        top_k: K.
        grid: rows and columns, (H, W).
        scores: the number type of stored logits; ``uint8`` divides the image's own range into 255
            steps.
        background: M, classes of the background; 0 for maps without one, where every class that a
            cell does not store has logit 0, as published.
        patterns: P, patterns over the grid that the background's classes share.
        log_sum_exp: whether each cell stores the log-sum-exp of all its logits.
        zoom: the input side over the side that the teacher was trained at; 0 if unknown.
    """

    selection: Literal["cell", "image"] = "cell"
    top_k: int
    grid: tuple[int, int]
    scores: Literal["uint8", "float16", "float32"] = "uint8"
    background: int = 0
    patterns: int = 0
    log_sum_exp: bool = False
    zoom: float = 0.0

    def check(self, num_classes: int) -> None:
        """Raise unless this form is possible for ``num_classes`` classes.

        Raises:
            ValueError: a number is out of range; the message names it.
        """
        if not 1 <= self.top_k <= num_classes:
            raise ValueError(f"top_k={self.top_k} is not between 1 and {num_classes} classes")
        if min(self.grid) < 1:
            raise ValueError(f"a grid of {self.grid[0]}x{self.grid[1]} has no cells")
        free = num_classes - self.top_k if self.selection == "image" else num_classes
        if not 0 <= self.background <= free:
            raise ValueError(f"background={self.background} is not between 0 and {free} classes")
        most = self.background if self.selection == "image" else 0
        if not 0 <= self.patterns <= most:
            raise ValueError(f"patterns={self.patterns} is not between 0 and {most}")
        if not 0 <= self.zoom < math.inf:
            raise ValueError(f"zoom={self.zoom} is not a finite number >= 0")


@dataclass(frozen=True, eq=False)
class Background:
    """The logits of classes in the cells that do not store them.

    Class m of the M has ``logits[m] + sum_p coefficients[p, m] * patterns[p]`` there; any other
    class has ``rest``. For N images, each array has one more axis in front.

    Attributes:
        classes: class indices (M,), ascending and distinct.
        logits: each class's mean logit over the cells that do not store it (M,), float32.
        rest: the mean logit of all other classes over the cells that do not store them.
        coefficients: the weight of each pattern in each class (P, M), float32; None without
            patterns.
        patterns: (P, H, W), float32; None if there are none.
    """

    classes: NDArray[np.integer]
    logits: NDArray[np.float32]
    rest: NDArray[np.float32] | float
    coefficients: NDArray[np.float32] | None = None
    patterns: NDArray[np.float32] | None = None

    def fill(self, num_classes: int) -> NDArray[np.float32]:
        """Every class's mean logit in the cells that do not store it: (C,), for one image."""
        fill = np.full(num_classes, self.rest, np.float32)
        fill[self.classes] = self.logits
        return fill

    def dense(self, num_classes: int, grid: tuple[int, int]) -> NDArray[np.float32]:
        """All logits (C, H, W) as if no cell stored any class, for one image."""
        dense = np.repeat(self.fill(num_classes), grid[0] * grid[1]).reshape(num_classes, *grid)
        if self.coefficients is not None and self.patterns is not None:
            dense[self.classes] += np.einsum("pm,phw->mhw", self.coefficients, self.patterns)
        return dense

    def image(self, number: int) -> Background:
        """The background of one of the N images."""
        rest = np.asarray(self.rest)[number]
        return Background(
            self.classes[number],
            self.logits[number],
            float(rest),
            None if self.coefficients is None else self.coefficients[number],
            None if self.patterns is None else self.patterns[number],
        )


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The strongest classes of every grid cell, with their logits.

    Logits equal the teacher's up to one constant per cell, which all classes of the cell share and
    no softmax sees.

    Attributes:
        index: class indices (K, H, W), unsigned integers, distinct within a cell; with the
            selection ``cell``, strongest first.
        score: their logits (K, H, W), float32.
        background: the logits of classes where they are not stored; None means 0, as published.
        classes: the K classes, ascending, if all cells store the same ones; None if each cell has
            its own.
        log_sum_exp: the log-sum-exp of all C logits of each cell (H, W); None if the file does not
            store it.
        calibration: of the file that the map is from, which pooling applies; None if it has none.

    Raises:
        ValueError: ``index`` and ``score`` do not share one shape (K, H, W).
    """

    index: NDArray[np.unsignedinteger]
    score: NDArray[np.float32]
    background: Background | None = None
    classes: NDArray[np.unsignedinteger] | None = None
    log_sum_exp: NDArray[np.float32] | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.index.ndim != 3 or self.index.shape != self.score.shape:
            raise ValueError(
                f"index and score must share one shape (K, H, W), got {self.index.shape} "
                f"and {self.score.shape}"
            )

    @property
    def top_k(self) -> int:
        """Entries per cell, K."""
        return self.index.shape[0]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns, (H, W)."""
        return self.index.shape[1], self.index.shape[2]

    @property
    def strongest(self) -> NDArray[np.unsignedinteger]:
        """The strongest class of each cell (H, W)."""
        first = self.score.argmax(axis=0)[None]
        return np.take_along_axis(self.index, first, axis=0)[0]

    def dense(self, num_classes: int) -> NDArray[np.float32]:
        """All logits (C, H, W), with the background where a class is not stored.

        For pictures and tests; pooling does not need it.
        """
        if self.background is None:
            dense = np.zeros((num_classes, *self.grid), np.float32)
        else:
            dense = self.background.dense(num_classes, self.grid)
        np.put_along_axis(dense, self.index.astype(np.intp), self.score, axis=0)
        return dense

    def classes_by_area(self) -> list[tuple[int, float]]:
        """Classes that are strongest in some cell, with their share of the grid, largest first."""
        classes, counts = np.unique(self.strongest, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(classes[i]), float(counts[i] / counts.sum())) for i in order]


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """The label maps of N images, all of one form.

    Attributes:
        index: class indices: (N, K, H, W), strongest first, or with the selection ``image`` (N, K),
            ascending.
        score: logits (N, K, H, W).
        background: of all N images; None for maps without one.
        log_sum_exp: (N, H, W); None if it is not stored.
        calibration: of their file; None if it has none.
    """

    index: NDArray[np.integer]
    score: NDArray[np.floating]
    background: Background | None = None
    log_sum_exp: NDArray[np.floating] | None = None
    calibration: Calibration | None = None

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, number: int) -> LabelMap:
        if not -len(self) <= number < len(self):
            raise IndexError(f"map {number} of {len(self)}")
        score = self.score[number].astype(np.float32, copy=False)
        index = self.index[number]
        classes = index if index.ndim == 1 else None
        return LabelMap(
            index if classes is None else _in_all_cells(classes, score.shape),
            score,
            None if self.background is None else self.background.image(number),
            classes,
            None if self.log_sum_exp is None else self.log_sum_exp[number],
            self.calibration,
        )

    def __iter__(self) -> Iterator[LabelMap]:
        return (self[number] for number in range(len(self)))

    @classmethod
    def stack(cls, maps: Sequence[LabelMap]) -> LabelMaps:
        """Stack the maps of several images.

        Raises:
            ValueError: no maps, or maps of several forms or calibrations.
        """
        if len({each.calibration for each in maps}) > 1:
            raise ValueError(f"{len(maps)} maps of files with different calibrations")
        shapes = {_shape(each) for each in maps}
        if len(shapes) != 1:
            raise ValueError(f"{len(maps)} maps of {len(shapes)} forms: expected maps of one form")
        classes = [each.classes for each in maps if each.classes is not None]
        return cls(
            np.stack(classes or [each.index for each in maps]),
            np.stack([each.score for each in maps]),
            _join_backgrounds([each.background for each in maps], np.stack),
            _join_arrays([each.log_sum_exp for each in maps], np.stack),
            maps[0].calibration,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[LabelMaps]) -> LabelMaps:
        """Concatenate the maps of several batches: at least one, all of one form."""
        return cls(
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.score for part in parts]),
            _join_backgrounds([part.background for part in parts], np.concatenate),
            _join_arrays([part.log_sum_exp for part in parts], np.concatenate),
            parts[0].calibration,
        )

    @classmethod
    def empty(cls, form: MapForm) -> LabelMaps:
        """Maps of no images, with the shapes of a form."""
        size, grid = form.background, form.grid
        background = Background(
            np.empty((0, size), np.int64),
            np.empty((0, size), np.float32),
            np.empty(0, np.float32),
            np.empty((0, form.patterns, size), np.float32) if form.patterns else None,
            np.empty((0, form.patterns, *grid), np.float32) if form.patterns else None,
        )
        cells = grid if form.selection == "cell" else ()
        return cls(
            np.empty((0, form.top_k, *cells), np.int64),
            np.empty((0, form.top_k, *grid), np.float32),
            background if size else None,
            np.empty((0, *grid), np.float32) if form.log_sum_exp else None,
        )


def _in_all_cells(classes: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Classes (K,) as a view (K, H, W) without a copy; faster than ``broadcast_to``."""
    index = np.ndarray(shape, classes.dtype, classes, 0, (classes.strides[0], 0, 0))
    index.flags.writeable = False
    return index


def _shape(label_map: LabelMap) -> tuple[object, ...]:
    """What maps of one form have in common."""
    background = label_map.background
    size = None if background is None else len(background.classes)
    patterns = 0 if background is None or background.patterns is None else len(background.patterns)
    has_log_sum_exp = label_map.log_sum_exp is not None
    return label_map.index.shape, label_map.classes is None, size, patterns, has_log_sum_exp


def _join_backgrounds(parts: Sequence[Background | None], join: _Join) -> Background | None:
    some = [part for part in parts if part is not None]
    if not some:
        return None
    return Background(
        join([part.classes for part in some]),
        join([part.logits for part in some]),
        join([np.asarray(part.rest, np.float32) for part in some]),
        _join_arrays([part.coefficients for part in some], join),
        _join_arrays([part.patterns for part in some], join),
    )


def _join_arrays(
    parts: Sequence[NDArray[np.floating] | None], join: _Join
) -> NDArray[np.floating] | None:
    some = [part for part in parts if part is not None]
    return join(some) if some else None

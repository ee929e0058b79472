"""Label maps as fixed-length byte records, one an image.

A record of one map holds, little-endian and side by side, so that bytes of one kind compress well:

    2 x float32       lowest and highest score; only if scores are steps (uint8)
    2 x float32       lowest and highest log-sum-exp; likewise, and only if it is kept
    3 x float32       the background's lowest and highest logit, and the logit of all other classes
    float32           what one coefficient times one pattern is worth; only if there are patterns
    K x H x W         scores: steps, float16 or float32
    H x W             log-sum-exp, in the same way
    P x H x W int8    patterns
    M uint8           the background's logits, as steps
    P x M int8        coefficients
    M classes         of the background, ascending
    the entries' classes

Steps and patterns are differences to neighbouring cells (and to the stronger plane, if planes
descend), ascending classes are differences, floats and classes go by byte planes, and the entries
of maps whose cells store classes of their own name a place in a palette of the image.
``label_maps/SPEC.md`` in the repository says it byte for byte.

Legend: N images, K entries per cell, H W grid, C classes, M classes and P patterns of a background,
D classes of a palette, R bytes of a record.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.byte_coding import (
    byte_planes,
    flatten_neighbours,
    from_byte_planes,
    quantise,
    read_floats,
    read_steps,
    restore_neighbours,
    whole_factors,
)
from labelkit.label_maps.class_coding import ClassCodec
from labelkit.label_maps.form_checks import check_maps
from labelkit.label_maps.label_map import Background, LabelMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.label_maps.form import MapForm

_FLOATS = {"float16": "<f2", "float32": "<f4"}


class MapCodec:
    """Label maps of one form to records and back.

    Args:
        form: what the maps have in common.
        num_classes: length of the class list; an index takes 2 bytes up to 65,536 classes, else 4.

    Attributes:
        nbytes: bytes of one record, R.
        places: where each part of it begins, and its bytes, by name.
        breaks: where in it bytes of another kind begin.
        classes: how it holds class indices.
        float_type: of scores and log-sum-exp; None if they are steps.

    Raises:
        ValueError: a form that such a class list cannot have.
    """

    def __init__(self, form: MapForm, num_classes: int) -> None:
        form.check(num_classes)
        self.form = form
        self._num_classes = num_classes
        self.classes = ClassCodec(form, num_classes)
        self.float_type = _FLOATS.get(form.scores)
        self.places = {name: (0, size) for name, size in self._sizes().items()}
        start = 0
        for name, (_, size) in self.places.items():
            self.places[name] = (start, size)
            start += size
        self.nbytes = start
        self.breaks = tuple(sorted({begin for begin, size in self.places.values() if size} - {0}))

    def encode(self, maps: LabelMaps) -> NDArray[np.uint8]:
        """Encode N images at once.

        Steps lose at most 1/510 of the image's own range of scores, coefficients and patterns 1/62
        of the largest each.

        Returns:
            Records (N, R), uint8.

        Raises:
            ValueError: a shape that is not the form's, a number that is not finite or does not fit
                the stored type, a class outside the list, or a part too many or too few.
        """
        check_maps(maps, self.form, self._num_classes)
        parts = self._encode_scores(maps)
        if maps.background is not None:
            parts |= self._encode_background(maps.background)
        records = np.zeros((len(maps), self.nbytes), np.uint8)
        for name, part in parts.items():
            start, size = self.places[name]
            records[:, start : start + size] = part.reshape(len(maps), size)
        start, size = self.places["classes"]
        self.classes.encode_entries(records[:, start : start + size], maps.index)
        return records

    def decode(self, records: NDArray[np.uint8]) -> LabelMaps:
        """Decode N records (N, R) at once.

        Raises:
            ValueError: records of another length, a number that is not finite, or a class outside
                the list.
        """
        if records.shape[1] != self.nbytes:
            raise ValueError(f"a record of {records.shape[1]} bytes, expected {self.nbytes}")
        form = self.form
        numbers = read_floats(records, self.places["scores"][0] // 4)
        score, log_sum_exp, patterns = self._decode_planes(records, numbers)
        background = None
        if form.background:
            background = self._decode_background(records, numbers, patterns)
        start, _ = self.places["classes"]
        if form.selection == "cell":
            index = self.classes.of_cells(records, start).reshape(score.shape)
        else:
            index = self.classes.ascending(records, start, form.top_k)
        return LabelMaps(index, score, background, log_sum_exp)

    def planes(self, records: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The planes of records that hold steps and whole numbers, as they are: (N, V, H, W).

        Scores and log-sum-exp, if they are steps, then patterns.
        """
        end = sum(self.places["patterns"])
        start = self.places["patterns" if self.float_type else "scores"][0]
        grid = self.form.grid
        count = (end - start) // (grid[0] * grid[1])
        planes = records[:, start:end].reshape(len(records), count, *grid)
        return self._restored(planes)

    def _sizes(self) -> dict[str, int]:
        """Bytes of each part, in their order."""
        form = self.form
        cells = form.grid[0] * form.grid[1]
        entries = form.top_k * cells
        value = np.dtype(self.float_type or "u1").itemsize
        return {
            "range": 0 if self.float_type else 8,
            "lse range": 8 if form.log_sum_exp and not self.float_type else 0,
            "background range": 12 if form.background else 0,
            "unit": 4 if form.patterns else 0,
            "scores": entries * value,
            "lse": cells * value if form.log_sum_exp else 0,
            "patterns": form.patterns * cells,
            "background": form.background,
            "coefficients": form.patterns * form.background,
            "background classes": form.background * self.classes.width,
            "classes": self.classes.nbytes,
        }

    # ------------------------------------------------------------------------- planes

    def _encode_scores(self, maps: LabelMaps) -> dict[str, NDArray[np.generic]]:
        descend = self.form.selection == "cell"
        parts = self._encode_values("range", "scores", maps.score, descend=descend)
        if maps.log_sum_exp is not None:
            planes = maps.log_sum_exp[:, None]
            parts |= self._encode_values("lse range", "lse", planes, descend=False)
        return parts

    def _encode_values(
        self, extremes: str, name: str, values: NDArray[np.floating], *, descend: bool
    ) -> dict[str, NDArray[np.generic]]:
        """Planes (N, L, H, W) in the file's type of scores."""
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        if self.float_type:
            return {name: byte_planes(flat, self.float_type)}
        ends, steps = quantise(flat)
        planes = steps.reshape(values.shape)
        if descend:
            planes[:, 1:] -= planes[:, :-1].copy()
        first = slice(1 if descend else None)
        planes[:, first] = flatten_neighbours(planes[:, first])
        return {extremes: ends, name: planes}

    def _decode_planes(
        self, records: NDArray[np.uint8], numbers: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.uint8]]:
        """Scores (N, K, H, W), log-sum-exp (N, H, W) if there is one, patterns (N, P, H, W)."""
        form, top_k = self.form, self.form.top_k
        planes = self.planes(records)
        if self.float_type:
            values = self._decode_floats(records, top_k + form.log_sum_exp)
            return values[:, :top_k], values[:, top_k] if form.log_sum_exp else None, planes
        scores = _values(planes[:, :top_k], *read_steps(numbers, 0))
        if not form.log_sum_exp:
            return scores, None, planes[:, top_k:]
        steps = read_steps(numbers, self.places["lse range"][0] // 4)
        return scores, _values(planes[:, top_k], *steps), planes[:, top_k + 1 :]

    def _restored(self, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Planes of whole steps and numbers from those of differences."""
        planes = planes.copy()
        if self.float_type or self.form.selection == "image":
            return restore_neighbours(planes)
        top_k = self.form.top_k
        restore_neighbours(planes[:, :1])
        for above in range(top_k - 1):  # faster than cumsum for a few planes
            planes[:, above + 1] += planes[:, above]
        restore_neighbours(planes[:, top_k:])
        return planes

    def _decode_floats(self, records: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        """Scores and log-sum-exp as they are: (N, count, H, W)."""
        float_type = str(self.float_type)
        parts: list[NDArray[np.generic]] = []
        for name in ("scores", "lse"):
            start, size = self.places[name]
            size //= np.dtype(float_type).itemsize
            parts.append(from_byte_planes(records, start, size, float_type))
        values = np.concatenate(parts, axis=1).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("a score that is not finite")
        return values.reshape(len(records), count, *self.form.grid)

    # ------------------------------------------------------------------------- background

    def _encode_background(self, background: Background) -> dict[str, NDArray[np.generic]]:
        ends, steps = quantise(background.logits)
        rest = np.asarray(background.rest, "<f4").reshape(-1, 1).view(np.uint8)
        parts: dict[str, NDArray[np.generic]] = {
            "background range": np.concatenate([ends, rest], axis=1),
            "background": steps,
            "background classes": self.classes.encode_ascending(background.classes),
        }
        if background.coefficients is not None and background.patterns is not None:
            factors, unit = whole_factors(background.coefficients)
            patterns, other = whole_factors(background.patterns)
            patterns = patterns.view(np.uint8)
            parts |= {
                "unit": (unit * other).astype("<f4").view(np.uint8),
                "coefficients": factors.view(np.uint8),
                "patterns": flatten_neighbours(patterns),
            }
        return parts

    def _decode_background(
        self,
        records: NDArray[np.uint8],
        numbers: NDArray[np.float32],
        patterns: NDArray[np.uint8],
    ) -> Background:
        form, places = self.form, self.places
        first = places["background range"][0] // 4
        scale, low = read_steps(numbers, first)
        rest = numbers[:, first + 2]
        start, size = places["background"]
        logits = _values(records[:, start : start + size], scale, low)
        start, _ = places["background classes"]
        classes = self.classes.ascending(records, start, form.background)
        if not form.patterns:
            return Background(classes, logits, rest)
        unit = numbers[:, first + 3, None]
        start, size = places["coefficients"]
        factors = records[:, start : start + size].view(np.int8) * unit
        coefficients = factors.reshape(len(records), form.patterns, form.background)
        return Background(
            classes, logits, rest, coefficients, patterns.view(np.int8).astype(np.float32)
        )


def _values(
    steps: NDArray[np.uint8], scale: NDArray[np.float32], low: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Numbers (N, ...) from whole steps and what a step and step 0 are worth (N,)."""
    each = (slice(None), *[None] * (steps.ndim - 1))
    values = steps * scale[each]
    values += low[each]
    return values

"""Label maps as byte records, and back.

A row's record is the encoded maps of one image, one of each form, concatenated and compressed. One
map holds, little-endian and grouped so that similar bytes compress well together:

    2 x float32       lowest and highest score; only if scores are steps (uint8)
    2 x float32       lowest and highest log-sum-exp; likewise, and only if it is stored
    3 x float32       the background's lowest and highest logit, and the logit of all other classes
    float32           the value of a coefficient of 1 times a pattern of 1; only with patterns
    K x H x W         scores: steps, float16 or float32
    H x W             log-sum-exp, likewise
    P x H x W int8    patterns
    M uint8           the background's logits, as steps
    P x M int8        coefficients
    M classes         the background's classes, ascending
    the entries' classes

Steps and patterns are differences from neighbouring cells (or from the stronger plane, if planes
descend), ascending classes are differences, floats and classes are byte planes, and with the
selection ``cell`` the entries' classes are indices into a palette of the image.
``label_maps/SPEC.md`` in the repository specifies this byte for byte.

Legend: N images, K entries per cell, H W grid, C classes, M classes and P patterns of a background,
R bytes of a plain record.
"""

from __future__ import annotations

import math
import zlib
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.file.byte_coding import (
    LARGEST,
    ClassCodec,
    byte_planes,
    flatten_neighbours,
    from_byte_planes,
    quantise,
    read_floats,
    read_steps,
    restore_neighbours,
    whole_factors,
)
from labelkit.label_maps.label_map import Background, LabelMaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps.label_map import MapForm

_FLOATS = {"float16": "<f2", "float32": "<f4"}
_LARGEST = {
    "uint8": LARGEST,
    "float16": float(np.finfo(np.float16).max),
    "float32": float(np.finfo(np.float32).max),
}
_LARGEST_FACTOR = LARGEST**0.5
_COMPRESSION_LEVEL = 6
_MEMORY_LEVEL = 9
_LARGEST_RECORD = 1 << 22  # decoding takes a few times as much memory
_MOST_FORMS = 64


class MapCodec:
    """Encode label maps of one form as records, and decode them.

    Args:
        form: the form of the maps.
        num_classes: length of the class list, *other* included; an index takes 2 bytes up to 65,536
            classes, else 4.
        other: whether the last class is *other*; with the selection ``cell``, it is then the last
            entry of every cell, whatever its score.

    Attributes:
        nbytes: bytes of one record, R.
        breaks: the offsets at which another kind of bytes begins.

    Raises:
        ValueError: the form is impossible for such a class list.
    """

    def __init__(self, form: MapForm, num_classes: int, *, other: bool = False) -> None:
        form.check(num_classes)
        self._form = form
        self._num_classes = num_classes
        self._other = other
        # Planes that are stored as differences from the one before, after the first.
        self._descending = max(1, _sorted_entries(form, other=other))
        self._classes = ClassCodec(form, num_classes)
        self._float_type = _FLOATS.get(form.scores)
        self._places = {name: (0, size) for name, size in self._sizes().items()}
        start = 0
        for name, (_, size) in self._places.items():
            self._places[name] = (start, size)
            start += size
        self.nbytes = start
        self.breaks = tuple(sorted({begin for begin, size in self._places.values() if size} - {0}))

    def encode(self, maps: LabelMaps) -> NDArray[np.uint8]:
        """Encode the maps of N images.

        A step is off by at most 1/510 of the image's range of scores, coefficients and patterns by
        at most 1/62 of the largest one.

        Returns:
            Records (N, R), uint8.

        Raises:
            ValueError: the maps do not match the form, or a number or class cannot be stored.
        """
        check_maps(maps, self._form, self._num_classes, other=self._other)
        parts = self._encode_scores(maps)
        if maps.background is not None:
            parts |= self._encode_background(maps.background)
        records = np.zeros((len(maps), self.nbytes), np.uint8)
        for name, part in parts.items():
            start, size = self._places[name]
            records[:, start : start + size] = part.reshape(len(maps), size)
        start, size = self._places["classes"]
        self._classes.encode_entries(records[:, start : start + size], maps.index)
        return records

    def decode(self, records: NDArray[np.uint8]) -> LabelMaps:
        """Decode the records (N, R) of N images.

        Raises:
            ValueError: the records have another length, or hold a number that is not finite or a
                class outside the list.
        """
        if records.shape[1] != self.nbytes:
            raise ValueError(f"a record of {records.shape[1]} bytes, expected {self.nbytes}")
        form = self._form
        numbers = read_floats(records, self._places["scores"][0] // 4)
        score, log_sum_exp, patterns = self._decode_planes(records, numbers)
        background = None
        if form.background:
            background = self._decode_background(records, numbers, patterns)
        start, _ = self._places["classes"]
        if form.selection == "cell":
            index = self._classes.decode_cells(records, start).reshape(score.shape)
        else:
            index = self._classes.decode_ascending(records, start, form.top_k)
        return LabelMaps(index, score, background, log_sum_exp)

    def _planes(self, records: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The planes of integers in records, restored from differences: (N, L, H, W).

        Scores and log-sum-exp, if they are steps, then patterns.
        """
        end = sum(self._places["patterns"])
        start = self._places["patterns" if self._float_type else "scores"][0]
        grid = self._form.grid
        count = (end - start) // (grid[0] * grid[1])
        planes = records[:, start:end].reshape(len(records), count, *grid)
        return self._restored(planes)

    def _sizes(self) -> dict[str, int]:
        """Bytes of each part, in order."""
        form = self._form
        cells = form.grid[0] * form.grid[1]
        entries = form.top_k * cells
        value = np.dtype(self._float_type or "u1").itemsize
        return {
            "range": 0 if self._float_type else 8,
            "lse range": 8 if form.log_sum_exp and not self._float_type else 0,
            "background range": 12 if form.background else 0,
            "unit": 4 if form.patterns else 0,
            "scores": entries * value,
            "lse": cells * value if form.log_sum_exp else 0,
            "patterns": form.patterns * cells,
            "background": form.background,
            "coefficients": form.patterns * form.background,
            "background classes": form.background * self._classes.width,
            "classes": self._classes.nbytes,
        }

    # ------------------------------------------------------------------------- planes

    def _encode_scores(self, maps: LabelMaps) -> dict[str, NDArray[np.generic]]:
        parts = self._encode_values("range", "scores", maps.score, self._descending)
        if maps.log_sum_exp is not None:
            parts |= self._encode_values("lse range", "lse", maps.log_sum_exp[:, None], 1)
        return parts

    def _encode_values(
        self, extremes: str, name: str, values: NDArray[np.floating], descending: int
    ) -> dict[str, NDArray[np.generic]]:
        """Planes (N, L, H, W) as steps or floats; the first ones descend."""
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        if self._float_type:
            return {name: byte_planes(flat, self._float_type)}
        ends, steps = quantise(flat)
        planes = steps.reshape(values.shape)
        planes[:, 1:descending] -= planes[:, : descending - 1].copy()
        for smooth in (slice(1), slice(descending, None)):
            planes[:, smooth] = flatten_neighbours(planes[:, smooth])
        return {extremes: ends, name: planes}

    def _decode_planes(
        self, records: NDArray[np.uint8], numbers: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.uint8]]:
        """Scores (N, K, H, W), log-sum-exp (N, H, W) if stored, and patterns (N, P, H, W)."""
        form, top_k = self._form, self._form.top_k
        planes = self._planes(records)
        if self._float_type:
            values = self._decode_floats(records, top_k + form.log_sum_exp)
            return values[:, :top_k], values[:, top_k] if form.log_sum_exp else None, planes
        scores = _values(planes[:, :top_k], *read_steps(numbers, 0))
        if not form.log_sum_exp:
            return scores, None, planes[:, top_k:]
        steps = read_steps(numbers, self._places["lse range"][0] // 4)
        return scores, _values(planes[:, top_k], *steps), planes[:, top_k + 1 :]

    def _restored(self, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Planes of integers from planes of differences."""
        planes = planes.copy()
        if self._float_type or self._form.selection == "image":
            return restore_neighbours(planes)
        restore_neighbours(planes[:, :1])
        for above in range(self._descending - 1):  # for few planes faster than cumsum
            planes[:, above + 1] += planes[:, above]
        restore_neighbours(planes[:, self._descending :])
        return planes

    def _decode_floats(self, records: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        """Scores and log-sum-exp that are stored as floats: (N, count, H, W)."""
        float_type = str(self._float_type)
        parts: list[NDArray[np.generic]] = []
        for name in ("scores", "lse"):
            start, size = self._places[name]
            size //= np.dtype(float_type).itemsize
            parts.append(from_byte_planes(records, start, size, float_type))
        values = np.concatenate(parts, axis=1).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("a score is not finite")
        return values.reshape(len(records), count, *self._form.grid)

    # ------------------------------------------------------------------------- background

    def _encode_background(self, background: Background) -> dict[str, NDArray[np.generic]]:
        ends, steps = quantise(background.logits)
        rest = np.asarray(background.rest, "<f4").reshape(-1, 1).view(np.uint8)
        parts: dict[str, NDArray[np.generic]] = {
            "background range": np.concatenate([ends, rest], axis=1),
            "background": steps,
            "background classes": self._classes.encode_ascending(background.classes),
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
        form, places = self._form, self._places
        first = places["background range"][0] // 4
        scale, low = read_steps(numbers, first)
        rest = numbers[:, first + 2]
        start, size = places["background"]
        logits = _values(records[:, start : start + size], scale, low)
        start, _ = places["background classes"]
        classes = self._classes.decode_ascending(records, start, form.background)
        if not form.patterns:
            return Background(classes, logits, rest)
        unit = numbers[:, first + 3, None]
        start, size = places["coefficients"]
        factors = records[:, start : start + size].view(np.int8) * unit
        coefficients = factors.reshape(len(records), form.patterns, form.background)
        return Background(
            classes, logits, rest, coefficients, patterns.view(np.int8).astype(np.float32)
        )


class RecordCodec:
    """Encode the label maps of an image, one of each form, as one record, and decode it.

    Args:
        forms: the forms of the maps, in order; at least one.
        num_classes: length of the class list, *other* included.
        other: as in ``MapCodec``.

    Attributes:
        nbytes: bytes of a plain record, R.

    Raises:
        ValueError: no forms or more than 64, a form that is impossible for such a class list, or
            records of more than 4 MiB.
    """

    def __init__(self, forms: Sequence[MapForm], num_classes: int, *, other: bool = False) -> None:
        if not 1 <= len(forms) <= _MOST_FORMS:
            raise ValueError(f"{len(forms)} maps per image, expected 1 to {_MOST_FORMS}")
        self._codecs = [MapCodec(form, num_classes, other=other) for form in forms]
        ends = list(accumulate((codec.nbytes for codec in self._codecs), initial=0))
        self._slices = [slice(*pair) for pair in pairwise(ends)]
        self.nbytes = ends[-1]
        if self.nbytes > _LARGEST_RECORD:
            raise ValueError(
                f"{len(forms)} maps per image take {self.nbytes:,} bytes, expected at most "
                f"{_LARGEST_RECORD:,}"
            )
        self._breaks = [
            place.start + offset
            for place, codec in zip(self._slices, self._codecs, strict=True)
            for offset in ((0, *codec.breaks) if place.start else codec.breaks)
        ]

    @property
    def longest_stored(self) -> int:
        """The most bytes that a compressed record can take."""
        return self.nbytes + self.nbytes // 8 + 1024

    def encode(self, maps: Sequence[LabelMaps]) -> NDArray[np.uint8]:
        """Encode N images as plain records (N, R), given their maps of each form.

        Raises:
            ValueError: the maps do not match the forms, or differ in the number of images.
        """
        if len(maps) != len(self._codecs):
            raise ValueError(f"maps of {len(maps)} forms, expected {len(self._codecs)}")
        if len({len(each) for each in maps}) != 1:
            raise ValueError("the forms have maps of different numbers of images")
        parts = [codec.encode(each) for codec, each in zip(self._codecs, maps, strict=True)]
        return np.concatenate(parts, axis=1)

    def decode(self, records: NDArray[np.uint8]) -> tuple[LabelMaps, ...]:
        """Decode plain records (N, R): for each form, the maps of all N images.

        Raises:
            ValueError: a record is damaged.
        """
        if records.shape[1] != self.nbytes:
            raise ValueError(f"a record of {records.shape[1]} bytes, expected {self.nbytes}")
        pairs = zip(self._codecs, self._slices, strict=True)
        return tuple(codec.decode(records[:, place]) for codec, place in pairs)

    def compress(self, record: bytes) -> bytes:
        """A plain record as the file stores it: one zlib stream.

        A new deflate block, with its own Huffman code, begins wherever the kind of bytes changes.
        """
        stream = zlib.compressobj(_COMPRESSION_LEVEL, memLevel=_MEMORY_LEVEL)
        ends = [0, *self._breaks, len(record)]
        parts: list[bytes] = []
        for start, end in pairwise(ends):
            parts.append(stream.compress(record[start:end]))
            parts.append(stream.flush(zlib.Z_FINISH if end == len(record) else zlib.Z_BLOCK))
        return b"".join(parts)

    def expand(self, stored: bytes) -> bytes:
        """The plain record of a compressed one.

        Raises:
            ValueError: not exactly one zlib stream of one record.
        """
        stream = zlib.decompressobj()
        try:
            record = stream.decompress(stored, self.nbytes)
            more = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if len(record) != self.nbytes or more or not stream.eof or stream.unused_data:
            raise ValueError("not one compressed record")
        return record


def _values(
    steps: NDArray[np.uint8], scale: NDArray[np.float32], low: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Numbers (N, ...) from steps, given the width of a step and the value of step 0 (N,)."""
    each = (slice(None), *[None] * (steps.ndim - 1))
    values = steps * scale[each]
    values += low[each]
    return values


def check_maps(maps: LabelMaps, form: MapForm, num_classes: int, *, other: bool = False) -> None:
    """Raise unless maps match a form, are finite, and name only classes of the list.

    Args:
        maps: of N images.
        form: the form.
        num_classes: length of the class list, *other* included.
        other: as in ``MapCodec``.

    Raises:
        ValueError: the first mismatch.
    """
    number = len(maps.score)
    cells = form.grid if form.selection == "cell" else ()
    _check_shape("index", maps.index, (number, form.top_k, *cells))
    _check_shape("score", maps.score, (number, form.top_k, *form.grid))
    largest = _LARGEST[form.scores]
    _check_finite("a score", maps.score, largest)
    if form.log_sum_exp != (maps.log_sum_exp is not None):
        raise ValueError(
            "log_sum_exp is missing"
            if form.log_sum_exp
            else "unexpected log_sum_exp: this form has none"
        )
    if maps.log_sum_exp is not None:
        _check_shape("log_sum_exp", maps.log_sum_exp, (number, *form.grid))
        _check_finite("a log-sum-exp", maps.log_sum_exp, largest)
    if maps.index.size and not 0 <= int(maps.index.min()) <= int(maps.index.max()) < num_classes:
        raise ValueError(f"class index outside the list of {num_classes} classes")
    if form.selection == "image":
        _check_ascending("the classes of an image", maps.index, num_classes)
    else:
        _check_cells(maps, _sorted_entries(form, other=other), num_classes - 1)
    if maps.background is not None:
        _check_background(maps.background, form, number, num_classes)
        if form.selection == "image":
            both = np.sort(np.concatenate([maps.index, maps.background.classes], axis=1), axis=1)
            _check_ascending("classes stored and in the background", both, num_classes)
    elif form.background:
        raise ValueError(f"a background of {form.background} classes is missing")


def _sorted_entries(form: MapForm, *, other: bool) -> int:
    """How many of a cell's K entries are sorted by score: with *other*, all but the last."""
    return 0 if form.selection == "image" else form.top_k - other


def _check_cells(maps: LabelMaps, in_order: int, last: int) -> None:
    """Raise unless the classes of each cell are distinct and sorted by score.

    Args:
        maps: of N images.
        in_order: how many entries are to be sorted; an entry after them is the ``last`` class.
        last: the last class.
    """
    score = maps.score[:, :in_order]
    if (score[:, 1:] > score[:, :-1]).any():
        raise ValueError("the scores of a cell do not descend: put the strongest class first")
    if (maps.index[:, in_order:] != last).any():
        raise ValueError("the last entry of a cell is not *other*: put it after all classes")
    ordered = np.sort(maps.index, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("duplicate class in a cell")


def _check_background(background: Background, form: MapForm, number: int, num_classes: int) -> None:
    size, patterns = form.background, form.patterns
    _check_shape("background.classes", background.classes, (number, size))
    if not size:
        raise ValueError("unexpected background: this form has none")
    _check_shape("background.logits", background.logits, (number, size))
    _check_shape("background.rest", np.asarray(background.rest), (number,))
    _check_finite("a logit of the background", background.logits, LARGEST)
    _check_finite("a logit of the background", np.asarray(background.rest), LARGEST)
    _check_ascending("the background's classes", background.classes, num_classes)
    pair = (background.coefficients, background.patterns)
    if bool(patterns) != all(part is not None for part in pair) or (
        not patterns and any(part is not None for part in pair)
    ):
        raise ValueError(f"coefficients and patterns do not match a form of {patterns} patterns")
    if background.coefficients is not None and background.patterns is not None:
        _check_shape("background.coefficients", background.coefficients, (number, patterns, size))
        _check_shape("background.patterns", background.patterns, (number, patterns, *form.grid))
        _check_finite("a coefficient", background.coefficients, _LARGEST_FACTOR)
        _check_finite("a pattern", background.patterns, _LARGEST_FACTOR)


def _check_shape(name: str, array: NDArray[np.generic], expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}")


def _check_finite(name: str, array: NDArray[np.floating], largest: float) -> None:
    if not (np.abs(array) <= largest).all():
        raise ValueError(f"{name} is not finite, or too large for the number type that stores it")


def _check_ascending(name: str, classes: NDArray[np.integer], num_classes: int) -> None:
    if len(classes) and not (
        int(classes[:, 0].min()) >= 0
        and int(classes[:, -1].max()) < num_classes
        and (classes[:, 1:] > classes[:, :-1]).all()
    ):
        raise ValueError(f"{name} are not ascending, distinct and within the list")

"""Random label maps of any form, for tests.

Legend: N images, K entries per cell, H W grid, C classes, M classes and P patterns of a background.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps import Background, LabelMap, LabelMaps, MapForm

if TYPE_CHECKING:
    from labelkit.label_maps.file.codec import MapCodec

_POOL = 300  # classes that the cells of one image choose from: more than a palette holds


def random_maps(
    rng: np.random.Generator,
    count: int,
    form: MapForm,
    num_classes: int,
    *,
    spread: float = 4.0,
    pool: int = _POOL,
    other: bool = False,
) -> LabelMaps:
    """The maps of N images, of a form; the last class of the list occurs in most of them.

    Args:
        rng: where the numbers come from.
        count: N.
        form: of the maps.
        num_classes: C.
        spread: standard deviation of the logits; 0 makes all of them equal.
        pool: how many classes an image's cells choose from, at least.
        other: whether the last class is *other*, with the selection ``cell`` the last entry of
            every cell, with a score of its own.
    """
    images = [_random_classes(rng, form, num_classes, pool) for _ in range(count)]
    if not images:
        return LabelMaps.empty(form)
    index = np.stack([index for index, _ in images])
    score = rng.normal(3, spread, (count, form.top_k, *form.grid))
    if form.selection == "cell":
        score = -np.sort(-score, axis=1)
        if other:
            index = _with_other_last(index, num_classes)
            score[:, -1] = rng.normal(3, spread, score[:, -1].shape)
    return LabelMaps(
        index,
        score.astype(np.float32),
        _random_background(rng, np.stack([background for _, background in images]), form, spread),
        rng.normal(9, spread, (count, *form.grid)).astype(np.float32) if form.log_sum_exp else None,
    )


def _with_other_last(index: np.ndarray, num_classes: int) -> np.ndarray:
    """The last class as the last entry of every cell, in exchange if another entry has it."""
    last = np.full_like(index[:, -1:], num_classes - 1)
    some = np.where(index[:, :-1] == num_classes - 1, index[:, -1:], index[:, :-1])
    return np.concatenate([some, last], axis=1)


def random_map(
    seed: int = 0,
    top_k: int = 3,
    grid: tuple[int, int] = (15, 15),
    classes: int = 20,
    background: int = 0,
) -> LabelMap:
    """One random label map with the selection ``cell``."""
    form = MapForm(top_k=top_k, grid=grid, background=background)
    rng = np.random.default_rng(seed)
    return random_maps(rng, 1, form, classes)[0]


def decoded(codec: MapCodec, record: bytes) -> LabelMap:
    """The map of one record."""
    return codec.decode(np.frombuffer(record, np.uint8)[None])[0]


def _random_classes(
    rng: np.random.Generator, form: MapForm, num_classes: int, pool: int
) -> tuple[np.ndarray, np.ndarray]:
    """One image's entries, and the classes of its background."""
    every = rng.permutation(num_classes)
    if form.selection == "image":
        chosen = every[: form.top_k + form.background]
        if num_classes - 1 not in chosen:
            chosen[0] = num_classes - 1
        return np.sort(chosen[: form.top_k]), np.sort(chosen[form.top_k :])
    some = every[: max(pool, form.top_k)]
    if num_classes - 1 not in some:
        some[0] = num_classes - 1
    places = rng.random((*form.grid, len(some))).argsort(axis=-1)[..., : form.top_k]
    background = rng.permutation(num_classes)[: form.background]
    return some[places].transpose(2, 0, 1).astype(np.uint32), np.sort(background)


def _random_background(
    rng: np.random.Generator, classes: np.ndarray, form: MapForm, spread: float
) -> Background | None:
    if not form.background:
        return None
    count, patterns = len(classes), form.patterns
    coefficients = rng.normal(0, spread, (count, patterns, form.background))
    shapes = rng.normal(0, 1, (count, patterns, *form.grid))
    return Background(
        classes,
        rng.normal(-1, spread, classes.shape).astype(np.float32),
        rng.normal(-3, spread, count).astype(np.float32),
        coefficients.astype(np.float32) if patterns else None,
        shapes.astype(np.float32) if patterns else None,
    )


def bits(part: object) -> object:
    """The whole content of a label map, with types and shapes."""
    if is_dataclass(part):
        return {field.name: bits(getattr(part, field.name)) for field in fields(part)}
    if part is None:
        return None
    array = np.asarray(part)
    return array.dtype.str, array.shape, array.tobytes()

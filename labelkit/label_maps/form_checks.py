"""Refuse label maps that are not of the form that a file is to hold.

Legend: N images, K entries per cell, H W grid, M classes and P patterns of a background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.byte_coding import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.label_maps.form import MapForm
    from labelkit.label_maps.label_map import Background, LabelMaps

_LARGEST = {
    "uint8": LARGEST,
    "float16": float(np.finfo(np.float16).max),
    "float32": float(np.finfo(np.float32).max),
}
_LARGEST_FACTOR = LARGEST**0.5


def check_maps(maps: LabelMaps, form: MapForm, num_classes: int) -> None:
    """Raise unless maps are of a form, finite, and of classes of the list.

    Raises:
        ValueError: the first thing that is off.
    """
    number = len(maps.score)
    cells = form.grid if form.selection == "cell" else ()
    _check_shape("index", maps.index, (number, form.top_k, *cells))
    _check_shape("score", maps.score, (number, form.top_k, *form.grid))
    largest = _LARGEST[form.scores]
    _check_finite("a score", maps.score, largest)
    if form.log_sum_exp != (maps.log_sum_exp is not None):
        raise ValueError(
            f"log-sum-exp is {'missing' if form.log_sum_exp else 'too many'} for this form"
        )
    if maps.log_sum_exp is not None:
        _check_shape("log_sum_exp", maps.log_sum_exp, (number, *form.grid))
        _check_finite("a log-sum-exp", maps.log_sum_exp, largest)
    if maps.index.size and not 0 <= int(maps.index.min()) <= int(maps.index.max()) < num_classes:
        raise ValueError(f"a class index is outside the list of {num_classes} classes")
    if form.selection == "image":
        _check_ascending("the classes of an image", maps.index, num_classes)
    else:
        _check_cells(maps)
    if maps.background is not None:
        _check_background(maps.background, form, number, num_classes)
        if form.selection == "image":
            both = np.sort(np.concatenate([maps.index, maps.background.classes], axis=1), axis=1)
            _check_ascending("classes stored and in the background", both, num_classes)
    elif form.background:
        raise ValueError(f"a background of {form.background} classes is missing")


def _check_cells(maps: LabelMaps) -> None:
    """Raise unless each cell has its strongest class first, and no class twice."""
    if (maps.score[:, 1:] > maps.score[:, :-1]).any():
        raise ValueError("the scores of a cell do not descend: its strongest class comes first")
    ordered = np.sort(maps.index, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("a class stands twice in a cell")


def _check_background(background: Background, form: MapForm, number: int, num_classes: int) -> None:
    size, patterns = form.background, form.patterns
    _check_shape("background.classes", background.classes, (number, size))
    if not size:
        raise ValueError("a background too many: this form has none")
    _check_shape("background.logits", background.logits, (number, size))
    _check_shape("background.rest", np.asarray(background.rest), (number,))
    _check_finite("a logit of the background", background.logits, LARGEST)
    _check_finite("a logit of the background", np.asarray(background.rest), LARGEST)
    _check_ascending("the background's classes", background.classes, num_classes)
    pair = (background.coefficients, background.patterns)
    if bool(patterns) != all(part is not None for part in pair) or (
        not patterns and any(part is not None for part in pair)
    ):
        raise ValueError(f"coefficients and patterns do not fit a form of {patterns} patterns")
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
        raise ValueError(f"{name} is not a finite number, or does not fit the type it is stored in")


def _check_ascending(name: str, classes: NDArray[np.integer], num_classes: int) -> None:
    if len(classes) and not (
        int(classes[:, 0].min()) >= 0
        and int(classes[:, -1].max()) < num_classes
        and (classes[:, 1:] > classes[:, :-1]).all()
    ):
        raise ValueError(f"{name} do not ascend, each once, within the list")

"""Maps that do not match their form, and impossible forms, are refused with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelkit.label_maps import LabelMaps, MapForm
from labelkit.label_maps.file.codec import MapCodec
from tests.label_maps.support.random_maps import random_maps

CELL = MapForm(top_k=2, grid=(3, 4), background=3, log_sum_exp=True)
IMAGE = MapForm(selection="image", top_k=2, grid=(3, 4), background=3, patterns=1)
HALF = MapForm(top_k=2, grid=(3, 4), scores="float16", log_sum_exp=True)
PLAIN = MapForm(top_k=2, grid=(3, 4))
CLASSES = 9


def maps_of(form: MapForm) -> LabelMaps:
    return random_maps(np.random.default_rng(0), 3, form, CLASSES)


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    """A copy with another last number."""
    array = array.copy()
    array[(-1,) * array.ndim] = value
    return array


def refusal(form: MapForm, maps: LabelMaps) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the caller looks at the message
        MapCodec(form, CLASSES).encode(maps)
    return str(caught.value)


@pytest.mark.parametrize("form", [CELL, IMAGE, HALF, PLAIN])
def test_maps_of_the_form_are_accepted(form):
    assert len(MapCodec(form, CLASSES).encode(maps_of(form))) == 3


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2.0**101, -(2.0**101)])
@pytest.mark.parametrize("field", ["score", "log_sum_exp"])
def test_logits_out_of_range_of_steps_are_refused(field, number):
    maps = maps_of(CELL)
    changed = replace(maps, **{field: with_one(getattr(maps, field), number)})
    assert "is not finite, or too large" in refusal(CELL, changed)


@pytest.mark.parametrize("field", ["score", "log_sum_exp"])
def test_logits_out_of_range_of_half_floats_are_refused(field):
    maps = maps_of(HALF)
    fits = replace(maps, **{field: with_one(getattr(maps, field), -65_504)})
    assert len(MapCodec(HALF, CLASSES).encode(fits)) == 3
    too_large = replace(maps, **{field: with_one(getattr(maps, field), -65_505)})
    assert "too large for the number type that stores it" in refusal(HALF, too_large)


@pytest.mark.parametrize("number", [np.nan, np.inf, 2.0**101])
@pytest.mark.parametrize("field", ["logits", "rest", "coefficients", "patterns"])
def test_backgrounds_out_of_range_are_refused(field, number):
    maps = maps_of(IMAGE)
    part = with_one(getattr(maps.background, field), number)
    changed = replace(maps, background=replace(maps.background, **{field: part}))
    assert "is not finite, or too large" in refusal(IMAGE, changed)


@pytest.mark.parametrize(
    ("form", "field", "index", "message"),
    [
        (CELL, "index", np.s_[..., :-1], "index has shape (3, 2, 3, 3), expected (3, 2, 3, 4)"),
        (CELL, "score", np.s_[:, :1], "score has shape (3, 1, 3, 4), expected (3, 2, 3, 4)"),
        (CELL, "log_sum_exp", np.s_[:, 1:], "log_sum_exp has shape (3, 2, 4)"),
        (CELL, "index", np.s_[:2], "index has shape (2, 2, 3, 4), expected (3, 2, 3, 4)"),
        (IMAGE, "index", np.s_[:, :1], "index has shape (3, 1), expected (3, 2)"),
    ],
)
def test_arrays_of_another_shape_are_refused(form, field, index, message):
    maps = maps_of(form)
    assert message in refusal(form, replace(maps, **{field: getattr(maps, field)[index]}))


@pytest.mark.parametrize(
    ("field", "index"),
    [
        ("classes", np.s_[:, 1:]),
        ("logits", np.s_[:, 1:]),
        ("rest", np.s_[1:]),
        ("coefficients", np.s_[..., 1:]),
        ("patterns", np.s_[..., 1:]),
    ],
)
def test_backgrounds_of_another_shape_are_refused(field, index):
    maps = maps_of(IMAGE)
    part = getattr(maps.background, field)[index]
    changed = replace(maps, background=replace(maps.background, **{field: part}))
    assert f"background.{field} has shape" in refusal(IMAGE, changed)


@pytest.mark.parametrize("number", [-1, CLASSES])
@pytest.mark.parametrize("form", [CELL, IMAGE])
def test_a_class_outside_the_list_is_refused(form, number):
    maps = maps_of(form)
    index = np.sort(with_one(maps.index.astype(int), number), axis=1)
    assert "outside the list of 9 classes" in refusal(form, replace(maps, index=index))


@pytest.mark.parametrize("number", [-1, CLASSES])
def test_a_background_of_a_class_outside_the_list_is_refused(number):
    maps = maps_of(CELL)
    classes = np.sort(with_one(maps.background.classes, number), axis=1)
    changed = replace(maps, background=replace(maps.background, classes=classes))
    assert "the background's classes are not ascending" in refusal(CELL, changed)


@pytest.mark.parametrize("order", [np.s_[:, ::-1], np.s_[:, [0, 0]]])
def test_the_classes_of_an_image_must_be_ascending_and_distinct(order):
    maps = maps_of(IMAGE)
    changed = replace(maps, index=maps.index[order])
    assert "the classes of an image are not ascending" in refusal(IMAGE, changed)


@pytest.mark.parametrize("order", [np.s_[:, ::-1], np.s_[:, [0, 0, 1]]])
def test_the_classes_of_a_background_must_be_ascending_and_distinct(order):
    maps = maps_of(CELL)
    background = replace(maps.background, classes=maps.background.classes[order])
    assert "the background's classes are not ascending" in refusal(
        CELL, replace(maps, background=background)
    )


def test_a_class_cannot_be_both_stored_and_in_the_background():
    """If all cells store a class, its background logit is never used."""
    maps = maps_of(IMAGE)
    classes = maps.background.classes.copy()
    classes[-1] = np.sort(np.r_[classes[-1, 1:], maps.index[-1, 0]])
    changed = replace(maps, background=replace(maps.background, classes=classes))
    assert "classes stored and in the background are not ascending" in refusal(IMAGE, changed)


def test_missing_and_unexpected_parts_are_refused():
    cell, plain, image = maps_of(CELL), maps_of(PLAIN), maps_of(IMAGE)
    bare = replace(image.background, coefficients=None, patterns=None)
    refusals = {
        "log_sum_exp is missing": (CELL, replace(cell, log_sum_exp=None)),
        "unexpected log_sum_exp": (PLAIN, replace(plain, log_sum_exp=cell.log_sum_exp)),
        "a background of 3 classes is missing": (CELL, replace(cell, background=None)),
        "expected (3, 0)": (PLAIN, replace(plain, background=cell.background)),
        "do not match a form of 1 patterns": (IMAGE, replace(image, background=bare)),
        "do not match a form of 0 patterns": (
            CELL,
            replace(cell, background=replace(image.background, classes=cell.background.classes)),
        ),
    }
    for message, (form, maps) in refusals.items():
        assert message in refusal(form, maps)
    for field in ("coefficients", "patterns"):
        half = replace(image.background, **{field: None})
        assert "do not match a form of 1" in refusal(IMAGE, replace(image, background=half))
        assert "do not match a form of 0" in refusal(
            CELL, replace(cell, background=replace(half, classes=cell.background.classes))
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 0}, "top_k=0 is not between 1 and 9"),
        ({"top_k": 10}, "top_k=10 is not between 1 and 9"),
        ({"grid": (0, 4)}, "a grid of 0x4 has no cells"),
        ({"grid": (3, -1)}, "a grid of 3x-1 has no cells"),
        ({"background": -1}, "background=-1 is not between 0 and 9"),
        ({"background": 10}, "background=10 is not between 0 and 9"),
        ({"selection": "image", "background": 8}, "background=8 is not between 0 and 7"),
        ({"patterns": 1}, "patterns=1 is not between 0 and 0"),
        ({"selection": "image", "background": 2, "patterns": 3}, "patterns=3 is not between 0 and"),
        ({"selection": "image", "background": 2, "patterns": -1}, "patterns=-1 is not between"),
        ({"zoom": -0.1}, "zoom=-0.1"),
        ({"zoom": float("inf")}, "zoom=inf"),
        ({"zoom": float("nan")}, "zoom=nan"),
    ],
)
def test_impossible_forms_are_refused(changes, message):
    form = MapForm(**({"top_k": 2, "grid": (3, 4)} | changes))
    with pytest.raises(
        ValueError, match=r"is not between|has no cells|not a finite number"
    ) as caught:
        MapCodec(form, CLASSES)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 9},
        {"background": 9},
        {"selection": "image", "background": 7, "patterns": 7},
        {"selection": "image", "top_k": 9},
    ],
)
def test_forms_at_the_limits_are_accepted(changes):
    form = MapForm(**({"top_k": 2, "grid": (1, 1)} | changes))
    assert len(MapCodec(form, CLASSES).encode(maps_of(form))) == 3


def test_the_classes_of_a_cell_must_be_sorted_and_distinct():
    maps = maps_of(PLAIN)
    rising = replace(maps, score=maps.score[:, ::-1])
    assert "do not descend" in refusal(PLAIN, rising)
    twice = replace(maps, index=maps.index[:, [0, 0]])
    assert "duplicate class in a cell" in refusal(PLAIN, twice)

"""What a picture of a label map must show, whatever the photo and the grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from labelkit.geometry import CropBox
from labelkit.inspection import draw_label_map
from labelkit.inspection.drawing import (
    CLASS_NOTE,
    PALETTE,
    ROW_HEIGHT,
    STRENGTH,
    class_colours,
    draw_legend,
    draw_note,
    draw_panels,
    most_present,
    shorten,
    tint,
)
from labelkit.inspection.other import OTHER_COLOUR
from labelkit.label_maps import Calibration, LabelMap, pool, pool_by_zoom
from labelkit.targets import OTHER
from labelkit.wording import file_size, percent, readable
from tests.inspection.conftest import left_half

NAMES = ["tabby_cat", "dog", "cup", "thing", "other"]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def test_the_colour_is_where_the_class_is_and_nowhere_else():
    """Class 0 has the left three of six columns; beyond the next cell's centre, all is grey."""
    grey = noise(600, 400).convert("L")
    base = np.asarray(grey.convert("RGB"), np.int64)
    drawn = np.asarray(tint(grey, left_half(0, 1), {0: PALETTE[0]}, 5), np.int64)
    assert (drawn[:, 360:] == base[:, 360:]).all()
    expected = base[:, :250] * (1 - STRENGTH) + np.array(PALETTE[0]) * STRENGTH
    np.testing.assert_allclose(drawn[:, :250], expected, atol=1)
    # A quarter of the distance to the next centre removes a quarter of the colour.
    three_quarters = base[:, 275] * (1 - 0.75 * STRENGTH) + np.array(PALETTE[0]) * 0.75 * STRENGTH
    np.testing.assert_allclose(drawn[:, 275], three_quarters, atol=2.5)


def test_a_class_in_a_corner_colours_that_corner_of_the_photo():
    """Rows run down and columns to the right, whatever the photo's shape."""
    index = np.full((1, 8, 8), 1, np.uint16)
    score = np.full((1, 8, 8), -30, np.float32)
    index[0, 5:, :2], score[0, 5:, :2] = 0, 30
    grey = Image.new("RGB", (900, 300), (128, 128, 128))
    drawn = np.asarray(tint(grey, LabelMap(index, score), {0: PALETTE[1]}, 5), np.int64)
    rows, columns = np.nonzero((drawn != 128).any(axis=2))
    assert rows.min() >= 4 * 300 // 8
    assert rows.max() == 299
    assert columns.min() == 0
    assert columns.max() < 3 * 900 // 8


def test_colour_grows_with_presence():
    grey = Image.new("RGB", (90, 60), (0, 0, 0))
    sums = []
    for logit in (0.0, 3.0, 6.0, 12.0):
        label_map = LabelMap(np.zeros((1, 2, 3), np.uint16), np.full((1, 2, 3), logit, np.float32))
        sums.append(int(np.asarray(tint(grey, label_map, {0: PALETTE[0]}, 100)).astype(int).sum()))
    assert sums == sorted(set(sums))


@settings(max_examples=12)
@given(
    size=st.sampled_from([(1, 1), (7, 3), (3, 900), (2000, 2), (120, 80), (2400, 1600)]),
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    side=st.integers(160, 300),
)
def test_any_photo_and_any_grid(size, grid, side):
    index = np.random.default_rng(1).integers(0, 5, (1, *grid)).astype(np.uint16)
    label_map = LabelMap(index, np.full((1, *grid), 8, np.float32))
    boxes = [CropBox.whole(), CropBox(-0.5, -0.5, 0.001, 0.001), CropBox(0.9, 0.9, 1.5, 1.5)]
    panels = draw_panels(noise(*size), label_map, NAMES, crops=boxes, side=side)
    assert panels.photo.size == panels.overlay.size
    assert max(panels.photo.size) == side
    exact = size[0] * side / max(size), size[1] * side / max(size)
    assert panels.photo.size == tuple(max(1, round(pixels)) for pixels in exact)
    picture = draw_label_map(noise(*size), label_map, NAMES, crops=boxes, side=side)
    assert picture.mode == "RGB"
    assert picture.width >= 320


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_every_kind_of_image(mode):
    image = Image.new(mode, (40, 30)) if mode == "I;16" else noise(40, 30).convert(mode)
    assert draw_label_map(image, left_half(0, 1), NAMES, side=160).mode == "RGB"


def test_the_same_arguments_give_the_same_pixels():
    first, second = (
        draw_label_map(noise(64, 48), left_half(0, 1), NAMES, crops=[CropBox(0, 0, 0.5, 0.5)])
        for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_without_crops_the_left_photo_is_unchanged():
    photo = noise(200, 160)
    picture = draw_label_map(photo, left_half(0, 1), NAMES, side=200)
    shown = picture.crop((12, 12, 212, 172))
    assert shown.tobytes() == photo.tobytes()


def test_each_class_has_its_own_colour():
    panels = draw_panels(noise(50, 50), left_half(0, 1), NAMES, classes=[2, 0, 1, 3, 4, 0])
    colours = [entry.colour for entry in panels.classes]
    assert len(set(colours)) == len(colours) == 5
    assert len(set(PALETTE)) == len(PALETTE)
    assert [entry.text for entry in panels.classes] == ["cup", "tabby cat", "dog", "thing", "other"]


def test_other_is_no_class_and_so_has_stripes_without_a_hue_and_a_plain_name():
    photo = noise(120, 80)
    named = [*NAMES[:4], OTHER]
    panels = draw_panels(photo, left_half(4, 1), named, classes=[4, 1], side=160)
    assert [(entry.text, entry.colour) for entry in panels.classes] == [
        ("other (no class)", OTHER_COLOUR),
        ("dog", PALETTE[1]),
    ]
    only = np.asarray(draw_panels(photo, left_half(4, 1), named, classes=[4]).overlay, np.int64)
    grey = np.asarray(draw_panels(photo, left_half(4, 1), named, classes=[2]).overlay, np.int64)
    assert (only.max(axis=2) == only.min(axis=2)).all()
    left, right = np.split(only - grey, [280], axis=1)
    # Of nine pixels in a row, two are lighter and two are darker, whatever the photo shows there.
    assert (left[:, :180] > 0).all(axis=2).mean() == pytest.approx(2 / 9, abs=0.03)
    assert (left[:, :180] < 0).all(axis=2).mean() == pytest.approx(2 / 9, abs=0.03)
    assert (right[:, -180:] == 0).all()


def test_a_legend_shows_the_stripes_of_other():
    entries = draw_panels(noise(9, 9), left_half(4, 1), [*NAMES[:4], OTHER], classes=[4]).classes
    swatch = np.asarray(draw_legend(entries, 300).crop((0, 4, 16, 20)))
    assert (swatch.max(axis=2) == swatch.min(axis=2)).all()
    assert {int(each) for each in np.unique(swatch)} == {70, 190, 255}


def test_a_class_keeps_its_colour_unless_a_more_present_one_has_it():
    for order in ([0, 1, 2], [2, 1], [6, 0], [1, 0, 3, 2, 5, 6, 4]):
        assert class_colours(order, 7) == {each: PALETTE[each] for each in order}
    assert class_colours([8, 1, 15, 2], 20) == {
        each: PALETTE[place] for each, place in ((8, 1), (1, 2), (15, 3), (2, 4))
    }
    assert class_colours([6, 13], 20) == {6: PALETTE[6], 13: PALETTE[0]}


def test_the_legend_shows_the_colours_and_the_shares():
    panels = draw_panels(noise(50, 50), left_half(0, 1), NAMES)
    assert [(entry.text, entry.value) for entry in panels.classes] == [("tabby cat", "50 %")]
    legend = draw_legend(panels.classes, 400)
    assert PALETTE[0] in {colour for _, colour in legend.getcolors(100_000)}


@pytest.mark.parametrize("side", [160, 560])
def test_a_note_below_the_legend_fits_the_picture(side):
    """Words are wrapped, not cut: nothing is drawn in the margins, but the last line is drawn."""
    picture = draw_label_map(noise(100, 100), left_half(0, 1), NAMES, side=side)
    pixels = np.asarray(picture.convert("L"))
    for margin in (pixels[:, -12:], pixels[:, :12], pixels[-12:]):
        assert (margin == 255).all()
    notes = [draw_note("one two three", width) for width in (60, 1000)]
    assert notes[0].height > notes[1].height
    bare = picture.height - (12 + side + 12 + ROW_HEIGHT + 12)
    assert bare == draw_note(CLASS_NOTE, picture.width - 24).height
    assert (pixels[-40:-12] < 200).any()


def test_crops_show_their_pooled_targets():
    label_map, box = left_half(0, 1), CropBox(0.0, 0.0, 0.3, 1.0)
    panels = draw_panels(noise(50, 50), label_map, NAMES, crops=[box, CropBox.whole()])
    target = pool(label_map, box).probabilities(5)
    assert panels.crops[0].text == "crop: tabby cat"
    assert panels.crops[0].value == percent(float(target[0]))
    assert [entry.mark for entry in panels.crops] == ["A", "B"]


def test_crops_show_calibrated_targets_and_those_of_several_maps():
    """The picture of the map stays as it is stored."""
    calibration = Calibration(scale=(-1, 0.5), compression=1, mixing=((0, 0), (1, 0)), classes=5)
    plain, box = left_half(0, 1), CropBox(0.1, 0.0, 0.7, 1.0)
    label_map = replace(plain, calibration=calibration)
    other = replace(label_map, index=label_map.index[:, ::-1, ::-1].copy())

    def values(drawn, **options):
        panels = draw_panels(noise(50, 50), drawn, NAMES, crops=[box], **options)
        return panels.crops[0].value, np.asarray(panels.overlay)

    expected = float(pool(label_map, box).probabilities(5).max())
    (value, overlay), (plain_value, plain_overlay) = values(label_map), values(plain)
    assert value == percent(expected)
    assert value != plain_value
    assert np.array_equal(overlay, plain_overlay)

    def pooling(crop):
        return pool_by_zoom([label_map, other], [1.0, 2.0], crop)

    mixed, _ = values(other, pooling=pooling)
    assert mixed == percent(float(pooling(box).probabilities(5).max()))
    assert mixed != value


def test_weak_classes_are_hidden_but_one_is_always_shown():
    assert most_present(left_half(0, 1), 5) == (0,)
    nothing = LabelMap(np.zeros((1, 2, 2), np.uint16), np.full((1, 2, 2), -30, np.float32))
    assert most_present(nothing, 5) == (0,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": [5]}, "class 5 is not one of 5"),
        ({"classes": [-1]}, "class -1"),
        ({"side": 100}, "side=100"),
        ({"crops": [CropBox.whole()] * 27}, "27 crops"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw_label_map(noise(50, 50), left_half(0, 1), NAMES, **wrong)
    with pytest.raises(ValueError, match="8 classes, but only 7"):
        draw_label_map(noise(50, 50), left_half(0, 1), [*NAMES] * 2, classes=range(8))


def test_words():
    assert readable("great_white\x1b[31m") == "great white\ufffd[31m"
    assert [percent(share) for share in (1.0, 0.0995, 0.0994, 0.006, 0.0005, 0.0004, 0.0)] == [
        "100 %",
        "10 %",
        "9.9 %",
        "0.6 %",
        "0.1 %",
        "<0.1 %",
        "0 %",
    ]
    assert file_size(999) == "999 bytes"
    assert file_size(12e9) == "12.0 GB"
    assert shorten("a very long name of a class", 60).endswith("…")
    assert shorten("short", 200) == "short"

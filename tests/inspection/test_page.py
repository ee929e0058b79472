"""A page is well formed and self-contained, and treats no text as HTML."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from labelkit.data import TargetOptions
from labelkit.data.targets import CropTargets
from labelkit.errors import DatasetError
from labelkit.geometry import CropBox
from labelkit.inspection import (
    PALETTE,
    Commands,
    CropComparisons,
    Curve,
    DataTable,
    Facts,
    Page,
    Paragraph,
    Pictures,
    Section,
    TreePaths,
    compare_crop,
    hexadecimal,
    label_map_card,
    label_map_report,
    write_page,
)
from labelkit.inspection.drawing import LegendEntry
from labelkit.inspection.page import Bar, CropComparison, Picture, render_page
from labelkit.inspection.plots import curve_svg
from labelkit.label_maps import LabelMapFile, LabelMapWriter, MapForm, pool, pool_by_zoom
from labelkit.targets import OTHER
from tests.inspection.conftest import CLASSES, FORM, KEYS, left_half, together
from tests.label_maps.support.small_files import calibration_of, make

PHOTO = Image.new("RGB", (60, 40), (200, 30, 30))
HOSTILE = "<script>alert('1 & 2')</script>\"><img src=x onerror=y>\x00\x1b\ud800"
NAMES = ["tabby_cat", HOSTILE, "cup", "thing", "other"]


def page_of_everything(text: str) -> Page:
    """Every kind of block, with ``text`` wherever text is allowed."""
    bars = (Bar(text, 0.75), Bar(text, 0.0))
    entries = (LegendEntry(text, text, (1, 2, 3)), LegendEntry(text, mark=text))
    blocks = (
        Paragraph(text),
        Facts(((text, text),)),
        DataTable((text, "n"), ((text, "1"), (text, "2")), text),
        Pictures(
            (Picture(PHOTO, text, text, entries), Picture(text.replace("\ud800", "\udcff"), text)),
            wide=True,
        ),
        Curve((1.0, 2.0, 0.5), text, text),
        CropComparisons((CropComparison(PHOTO, bars, bars, text),), text, text),
        TreePaths(((text, text),)),
        Commands((text,)),
    )
    return Page(text, (Section(text, blocks),), text, text)


def parse(html: str) -> ET.Element:
    """The page as a tree; fails unless every element is closed and all text escaped."""
    assert html.startswith("<!DOCTYPE html>")
    return ET.fromstring(html.removeprefix("<!DOCTYPE html>"))  # noqa: S314 -- our own output


@pytest.mark.parametrize("text", ["plain words", HOSTILE, "", "Ünïcödé 猫"])
def test_every_block_is_well_formed_and_self_contained(text):
    html = render_page(page_of_everything(text))
    root = parse(html)
    assert {element.tag for element in root.iter()}.isdisjoint({"script", "link", "iframe"})
    for element in root.iter():
        assert not any(name.startswith("on") for name in element.attrib)
        for name in ("src", "href"):
            address = element.get(name, "")
            assert address.startswith("data:image/") or not re.match(r"\w+:|//", address)
    assert not re.search(r"url\(|@import", html)


@settings(max_examples=25)
@given(st.text(max_size=20))
def test_any_text_is_shown_unchanged(text):
    """What a reader sees is the text, except for control characters."""
    root = parse(render_page(Page("t", (Section("s", (TreePaths(((text,),)),)),))))
    shown = "".join(root.find(".//ul[@class='paths']/li/span").itertext())
    assert shown == "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


@pytest.mark.parametrize("path", ["javascript:alert(1)", "http://example.org/x.png", "a b/ü#?.png"])
def test_a_picture_given_as_a_path_stays_a_relative_path(path):
    source = Picture(path).source
    assert re.fullmatch(r"[\w.~/%-]+", source)


def test_the_length_of_bars_is_the_probability():
    card = CropComparison(PHOTO, (Bar("a", 0.25),), (Bar("b", 1.0),))
    root = parse(render_page(Page("t", (Section("s", (CropComparisons((card,)),)),))))
    assert [bar.get("style") for bar in root.iter("i")] == ["width:25.0%", "width:100.0%"]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            Bar("a", wrong)


def test_a_curve_passes_through_its_values():
    root = ET.fromstring(curve_svg([3.0, 1.0, 2.0], label="<loss>"))  # noqa: S314 -- our own output
    points = [tuple(map(float, pair.split(","))) for pair in root[-4].get("points").split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    (_, top), (_, bottom), (_, middle) = points
    assert top < middle < bottom
    assert middle == pytest.approx((top + bottom) / 2, abs=0.1)
    assert root[0].text == "<loss>"


@pytest.mark.parametrize("values", [[4e-3, 7e-8], [0.00384, 7.02e-8], [100.0, 100.001], [1.0, 2.0]])
def test_numbers_beside_a_curve_are_not_cut_off(values):
    """Small learning rates have long numbers; a letter of the page is at most 7 units wide."""
    root = ET.fromstring(curve_svg(values))  # noqa: S314 -- our own output
    numbers = [each for each in root if each.get("text-anchor") == "end"][:3]
    assert all(float(each.get("x")) - 7 * len(each.text) >= 0 for each in numbers)
    lines = {float(each.get("x1")) for each in root if each.tag == "line"}
    assert min(lines) > max(float(each.get("x")) for each in numbers)


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [-1e300, 1e300], list(range(100_000))])
def test_any_finite_curve_stays_within_its_frame(values):
    root = ET.fromstring(curve_svg(values))  # noqa: S314 -- our own output
    (line,) = [element for element in root if element.tag == "polyline"]
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    assert len(points) <= 400
    assert all(0 <= x <= 600 and 0 <= y <= 220 for x, y in points)


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")]])
def test_a_curve_without_finite_values_is_refused(values):
    with pytest.raises(ValueError, match="finite"):
        curve_svg(values)


def test_a_table_with_a_missing_cell_is_refused():
    with pytest.raises(ValueError, match="1 cells"):
        DataTable(("a", "b"), (("1",),))
    assert DataTable(("a", "b"), (("x", "1"), ("y", "2 %"))).numeric == (False, True)


def test_columns_of_numbers_may_have_empty_and_rounded_cells():
    rows = (("", "1", "", "x"), ("2", "<0.1 %", "", ""))
    assert DataTable(("a", "b", "c", "d"), rows).numeric == (True, True, False, False)


def test_the_same_page_gives_the_same_bytes(tmp_path):
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, page_of_everything("text"))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_crop_with_both_targets():
    photo = Image.new("RGB", (100, 50))
    photo.paste((255, 0, 0), (0, 0, 50, 50))
    label_map, box = left_half(0, 2), CropBox(0.25, 0.0, 1.2, 1.0, flipped=True)
    np.maximum(label_map.score, 0, out=label_map.score)
    card = compare_crop(photo, label_map, box, NAMES, top=2)
    assert card.crop.size == (75, 50)
    assert card.crop.getpixel((74, 0)) == (255, 0, 0)
    target = pool(label_map, CropBox(0.25, 0.0, 1.0, 1.0)).probabilities(5)
    assert [bar.probability for bar in card.pooled] == sorted(target.tolist(), reverse=True)[:2]
    assert card.whole[0].name == "tabby cat"
    with pytest.raises(ValueError, match="no pixel"):
        compare_crop(photo, label_map, CropBox(2, 2, 3, 3), NAMES)


@pytest.mark.parametrize("forms", [1, 2])
def test_the_bars_of_a_crop_are_the_targets_that_training_gets(tmp_path, forms):
    """Calibrated, from one map per image or two."""
    some = [MapForm(top_k=3, grid=(4, 5), background=4, zoom=float(n)) for n in (1, 2)][:forms]
    with make(tmp_path / "maps.h5", ["a"], some, calibration=calibration_of(forms)) as file:
        maps, box = file.maps("a"), CropBox(0.2, 0.1, 0.7, 1.4, flipped=True)

        def pooling(crop):
            return pool_by_zoom(maps, [1.0, 2.0][:forms], crop)

        options = {"pooling": pooling} if forms == 2 else {}
        names = [f"class {n}" for n in range(20)]
        card = compare_crop(PHOTO, maps[0], box, names, top=20, **options)
        for bars, crop in ((card.pooled, box), (card.whole, CropBox.whole())):
            (target,) = CropTargets(file, TargetOptions(), sparse=False)([0], [crop], [0])
            found = {bar.name: bar.probability for bar in bars}
            np.testing.assert_allclose([found[name] for name in names], target, rtol=0, atol=1e-6)


def test_a_report_shows_every_image_once(maps, photos):
    with LabelMapFile.open(maps) as file:
        root = parse(render_page(label_map_report(file, photos)))
        captions = [caption.text for caption in root.iter("figcaption")]
        assert captions == KEYS
        paragraphs = " ".join(paragraph.text for paragraph in root.iter("p"))
        assert "percentage is the class's mean probability over all cells" in paragraphs
        assert "Area: the share of all cells" in paragraphs
        assert len([s for s in root.iter("img") if s.get("src").startswith("data:")]) == 3
        fewer = label_map_report(file, photos, pictures=2)
        assert [card.caption for card in fewer.sections[1].blocks[1].cards] == [KEYS[0], KEYS[2]]
        (maps.parent / "other.jpg").touch()
        with pytest.raises(DatasetError, match=r"has no image 'a/cat\.jpg'"):
            label_map_report(file, maps.parent)


def test_a_report_without_images_has_no_empty_tables(tmp_path):
    path = tmp_path / "maps.h5"
    LabelMapWriter(path, classes=CLASSES, keys=[], forms=[FORM], source={}).finalize().close()
    with LabelMapFile.open(path) as file:
        page = label_map_report(file, tmp_path)
    assert [section.title for section in page.sections] == ["At a glance", "Next"]
    assert ("0", "images") in page.sections[0].blocks[0].items


def test_a_report_counts_what_it_omits_and_quotes_its_commands(tmp_path):
    path, key = tmp_path / "it's.h5", "a/it's $HOME & <b>.png"
    torn = {f"torn{at}.png": "no image" for at in range(5)}
    writer = LabelMapWriter(path, classes=CLASSES, keys=[key, *torn], forms=[FORM], source={})
    writer.commit(writer.shards[0], [together([left_half(0, 1)])], torn)
    writer.finalize().close()
    (tmp_path / "a").mkdir()
    PHOTO.save(tmp_path / key)
    with LabelMapFile.open(path) as file:
        page = label_map_report(file, tmp_path)
    sections = {section.title: section.blocks for section in page.sections}
    assert {("1", "image"), ("5", "unreadable")} < set(sections["At a glance"][0].items)
    (table,) = sections["Unreadable"]
    assert (table.caption, len(table.rows)) == ("5 images without a label map, the first 3", 3)
    (shell,), (python,) = (block.lines for block in sections["Next"][1::2])
    words = shlex.split(shell)
    assert (words[2], words[words.index("--key") + 1]) == ("it's.h5", key)
    assert '"it\'s.h5"' in python


def test_a_card_names_its_classes():
    card = label_map_card(PHOTO, left_half(0, 1), NAMES, caption="cat.jpg")
    assert [entry.text for entry in card.legend] == ["tabby cat"]
    assert card.alt == "cat.jpg (tabby cat 50 %)"


def test_the_legend_of_a_page_shows_other_in_stripes():
    named = [*NAMES[:4], OTHER]
    card = label_map_card(PHOTO, left_half(4, 0), named, classes=[4, 0], caption="cat.jpg")
    legend = render_page(Page("Cats", (Section("A cat", (Pictures((card,)),)),)))
    assert '<li><i class="other"></i>other (no class) <span>' in legend
    assert f'<li><i style="background:{hexadecimal(PALETTE[0])}"></i>tabby cat <span>' in legend

"""A page in a real browser, on large and small screens."""

from __future__ import annotations

import pytest
from PIL import Image

from labelkit.inspection import (
    DataTable,
    Facts,
    Page,
    Paragraph,
    Pictures,
    Section,
    write_page,
)
from labelkit.inspection.drawing import LegendEntry
from labelkit.inspection.page import Picture

LONG = f"{'many words ' * 12}{'x' * 150}"
CUT = """[...document.querySelectorAll('h1, p, dd, dt, li, figcaption, caption, td')]
    .filter(e => e.scrollWidth > e.clientWidth + 1
        || e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll'))
    .map(e => e.tagName)"""


@pytest.mark.parametrize("width", [1280, 480, 320])
def test_long_words_are_not_cut_and_do_not_displace_numbers(browser, tmp_path, width):
    picture = Picture(
        Image.new("RGB", (80, 40)), LONG, legend=(LegendEntry(LONG, "5 %", (1, 2, 3)),) * 2
    )
    rows = ((LONG, "1 %"), ("short", "<0.1 %"))
    blocks = (
        Paragraph(LONG),
        Facts(((LONG, LONG), ("1", "one"))),
        Pictures((picture, picture)),
        DataTable(("class", "share"), rows, LONG),
    )
    write_page(tmp_path / "page.html", Page(LONG, (Section("s", blocks),), LONG, LONG))
    tab = browser.open(tmp_path / "page.html", size=(width, 900))
    assert tab.evaluate(CUT) == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    number = "document.querySelector('td.number').getBoundingClientRect()"
    assert tab.evaluate(f"{number}.right <= innerWidth && {number}.height > 0")
    lines = "document.querySelectorAll('td.number')[1]"
    assert tab.evaluate(f"{lines}.getBoundingClientRect().height") < 60
    assert tab.complaints == []
    assert tab.requests == [(tmp_path / "page.html").as_uri(), *tab.requests[1:]]
    assert all(address.startswith("data:") for address in tab.requests[1:])


def test_values_of_facts_are_aligned_whatever_their_labels(browser, tmp_path):
    facts = Facts((("1", "one"), ("2", "a label of so many words that it needs two lines")))
    write_page(tmp_path / "page.html", Page("t", (Section("s", (facts,)),)))
    tab = browser.open(tmp_path / "page.html", size=(330, 600))
    tops = tab.evaluate(
        "[...document.querySelectorAll('dd')].map(e => e.getBoundingClientRect().y)"
    )
    heights = tab.evaluate("[...document.querySelectorAll('dt')].map(e => e.offsetHeight)")
    assert tops[0] == tops[1]
    assert heights[0] < heights[1]


def test_neither_captions_of_narrow_tables_nor_words_of_wide_ones_break(browser, tmp_path):
    narrow = DataTable(("a", "b"), (("x", "1"),), "A caption that is wider than the table")
    wide = DataTable(("agreement",) * 9, (("probabilities",) * 9,))
    write_page(tmp_path / "page.html", Page("t", (Section("s", (narrow, wide)),)))
    tab = browser.open(tmp_path / "page.html", size=(480, 900))
    heights = "[...document.querySelectorAll('caption, th, td')].map(e => e.offsetHeight)"
    assert max(tab.evaluate(heights)) < 50  # one line each, with padding
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    write_page(tmp_path / "page.html", Page("t", (Section("s", (DataTable(("a",), (("1",),)),)),)))
    tab = browser.open(tmp_path / "page.html", size=(480, 900))
    assert tab.evaluate("document.querySelector('table').offsetWidth") < 100  # no stretched columns

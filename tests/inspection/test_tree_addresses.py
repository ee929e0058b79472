"""The fragment of a tree page's address (#): the class at which it opens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labelkit.hierarchy import definitions
from tests.inspection.tree_tab import by_name, chosen, click, rows_in_list, text


def test_an_address_opens_a_class_with_its_details(browser, imagenet, imagenet_page):
    tab = browser.open(imagenet_page, "#n02111889")
    assert chosen(tab) == "n02111889"
    samoyed = imagenet.classes.index["n02111889"]
    names = [imagenet.names[at].replace("_", " ") for at in imagenet.chain(samoyed).tolist()]
    path = tab.evaluate("[...document.querySelectorAll('.path button')].map(e => e.textContent)")
    assert path == names
    if meaning := definitions(["n02111889"]):
        assert meaning["n02111889"] in text(tab, "#detail")
    assert text(tab, "#detail dl").startswith(f"level{imagenet.depth[samoyed]}classes below0")
    click(tab, ".path button")
    assert chosen(tab) == imagenet.classes[int(imagenet.chain(samoyed)[0])]
    assert tab.evaluate("location.hash") == f"#{chosen(tab)}"
    click(tab, "#by-name")
    tab.press("Tab")
    tab.evaluate("tree.focus()")
    tab.press("Home")
    roots = np.flatnonzero(imagenet.parent < 0).tolist()
    assert chosen(tab) == imagenet.classes[by_name(imagenet, roots)[0]]
    click(tab, "#by-size")
    tab.evaluate("tree.focus()")
    tab.press("Home")
    assert chosen(tab) == "n00004475"  # no root has more classes below it
    assert tab.complaints == []


def test_an_address_of_an_unknown_class_shows_a_message(browser, imagenet_page):
    tab = browser.open(imagenet_page, "#n99999999")
    assert text(tab, "#unknown") == "No class n99999999 in this tree."
    assert "Select a class" in text(tab, "#detail")
    assert (rows_in_list(tab), tab.evaluate("selected")) == (538, -1)
    for address, line in [("%3Cb%3E", "<b>"), ("x" * 500, "x" * 60 + "\u2026")]:
        tab.evaluate(f"location.hash = '#{address}'")
        tab.until(f"detail.textContent.includes({json.dumps(f'No class {line} in this tree.')})")
        assert tab.evaluate("document.querySelectorAll('#unknown').length") == 1
    tab.evaluate("location.hash = '#n02111889'")
    tab.until("selected >= 0")
    assert chosen(tab) == "n02111889"
    assert text(tab, "#unknown") == ""
    assert tab.complaints == []
    assert text(browser.open(imagenet_page), "#unknown") == ""


@pytest.mark.parametrize(("size", "scrolls"), [((600, 700), True), ((700, 700), False)])
def test_an_address_opens_a_small_screen_at_the_class(browser, imagenet_page, size, scrolls):
    tab = browser.open(imagenet_page, "#n02111889", size=size)
    assert chosen(tab) == "n02111889"
    assert (tab.evaluate("scrollY") > 0) == scrolls
    in_sight = "detail.getBoundingClientRect().top < innerHeight / 2"
    assert tab.evaluate(in_sight) == scrolls
    tab = browser.open(imagenet_page, "#n99999999", size=size)
    assert tab.evaluate(in_sight) == scrolls
    tab = browser.open(imagenet_page, size=size)
    assert tab.evaluate("scrollY") == 0

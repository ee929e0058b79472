"""The page of a tree in a real browser, as people use it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, definitions
from labelkit.inspection import write_tree_page
from labelkit.inspection.tree_page import render_tree_page
from tests.inspection.tree_tab import (
    ROW,
    by_name,
    by_size,
    chosen,
    click,
    rows_in_list,
    search,
    text,
)

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE_ID = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"
HOSTILE = f"{HOSTILE_ID}\u2028\u2029\x00\x1b\ud800"


def page_of(tmp_path: Path, tree: SemanticTree, meanings: dict[str, str] | None = None) -> Path:
    path = tmp_path / "tree.html"
    write_tree_page(path, tree, meanings or {})
    return path


def test_a_page_of_22_thousand_classes_has_a_few_megabytes(imagenet, imagenet_page):
    size = imagenet_page.stat().st_size
    assert size < 2.6e6 if definitions(imagenet.classes) else size < 1.3e6


def test_22_thousand_classes_open_and_unfold(browser, imagenet, imagenet_page):
    tab = browser.open(imagenet_page)
    roots = by_size(imagenet, np.flatnonzero(imagenet.parent < 0).tolist())
    assert rows_in_list(tab) == len(roots)
    assert text(tab, ".row .id") == imagenet.classes[roots[0]]
    assert text(tab, "#lead").startswith(f"21,841 classes{len(roots)} roots")
    counts = tab.evaluate("[...document.querySelectorAll('#levels .count')].map(e => e.innerText)")
    assert tuple(int(count.replace(",", "")) for count in counts) == imagenet.counts
    click(tab, "#expand")
    assert rows_in_list(tab) == 21_841
    tab.evaluate("tree.scrollTop = 1e9")
    tab.until("Number([...document.querySelectorAll('.row')].at(-1).dataset.at) === 21840")
    last = roots[-1]
    while below := by_name(imagenet, np.flatnonzero(imagenet.parent == last).tolist()):
        last = below[-1]
    ids = tab.evaluate("[...document.querySelectorAll('.row .id')].map(e => e.textContent)")
    assert ids[-1] == imagenet.classes[last]
    assert rows_in_list(tab) == 21_841
    click(tab, "#levels button:nth-child(3)")
    assert rows_in_list(tab) == sum(imagenet.counts[:3])
    click(tab, "#collapse")
    assert rows_in_list(tab) == len(roots)
    assert tab.complaints == []
    assert tab.requests == [imagenet_page.as_uri()]


def test_a_search_shows_the_hits_and_the_classes_above_them(browser, imagenet, imagenet_page):
    meanings = definitions(imagenet.classes)
    hits = {
        at
        for at, (wnid, name) in enumerate(zip(imagenet.classes, imagenet.names, strict=True))
        if "shark" in f"{name} {meanings.get(wnid, '')}".lower()
    }
    shown = {above for at in hits for above in imagenet.chain(at).tolist()}
    tab = browser.open(imagenet_page)
    search(tab, "shark")
    assert text(tab, "#hits") == f"{len(hits)} classes"
    assert rows_in_list(tab) == len(shown)
    assert set(tab.evaluate("[...document.querySelectorAll('mark')].map(e => e.innerText)")) <= {
        "shark",
        "Shark",
    }
    tab.press("Enter")
    assert chosen(tab) == "n01482330"  # the hit with exactly this name
    assert re.match(rf"\d+ of {len(hits)} classes", text(tab, "#hits"))
    tab.press("Enter")
    assert imagenet.classes.index[chosen(tab)] in hits - {imagenet.classes.index["n01482330"]}
    tab.press("Escape", "ArrowUp")
    # The tree is restored, open down to the selected class.
    assert text(tab, "#hits") == ""
    assert rows_in_list(tab) > 538
    assert tab.complaints == []


def test_a_search_without_a_selection_restores_the_tree(browser, imagenet_page):
    tab = browser.open(imagenet_page)
    tab.evaluate("tree.scrollTop = 2000")
    search(tab, "Great_White-SHARK")
    assert text(tab, "#hits") == "1 class"
    assert text(tab, ".row mark") == "great white shark"
    tab.press("Escape")
    assert (rows_in_list(tab), tab.evaluate("tree.scrollTop")) == (538, 2000)
    search(tab, "no such thing")
    assert (rows_in_list(tab), text(tab, "#hits")) == (0, "0 classes")
    assert text(tab, "#rows") == "No class contains this text."
    tab.press("Enter")
    assert tab.complaints == []


def test_the_keyboard_walks_the_tree(browser, imagenet, imagenet_page):
    tab = browser.open(imagenet_page, "#n00004475")
    organism = imagenet.classes.index["n00004475"]
    below = by_size(imagenet, np.flatnonzero(imagenet.parent == organism).tolist())
    tab.evaluate("tree.focus()")
    assert chosen(tab) == "n00004475"
    tab.press("ArrowRight", "ArrowRight")
    assert chosen(tab) == imagenet.classes[below[0]]
    row = "document.querySelector('[aria-selected=true]')"
    facts = [tab.evaluate(f"{row}.getAttribute('aria-{name}')") for name in ("level", "posinset")]
    assert facts == ["2", "1"]
    assert tab.evaluate(f"{row}.getAttribute('aria-setsize')") == str(len(below))
    tab.press("ArrowDown")
    assert chosen(tab) == imagenet.classes[below[1]]
    tab.press("ArrowLeft", "ArrowLeft")
    assert chosen(tab) == "n00004475"
    assert rows_in_list(tab) == 538
    tab.press("Enter", "End", "ArrowUp", "ArrowDown")
    assert tab.evaluate("tree.scrollTop + tree.clientHeight") == (538 + len(below)) * ROW
    tab.press("Home")
    assert tab.evaluate("tree.scrollTop") == 0
    assert tab.complaints == []


@pytest.mark.parametrize("size", [(1280, 900), (380, 700)])
def test_hostile_names_are_inert(browser, tmp_path, size):
    names = (HOSTILE, HOSTILE, "[[constructor]]")
    classes = ClassList.of([HOSTILE_ID, "__proto__", "c"], HOSTILE_ID)
    tree = SemanticTree(classes, names, np.array([-1, 0, 1]), {"taxonomy": HOSTILE})
    path = page_of(tmp_path, tree, {"__proto__": HOSTILE, "c": HOSTILE})
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    assert not set("<>&\u2028") & set(data[1])
    assert json.loads(data[1])["definitions"][1] == HOSTILE
    tab = browser.open(path, size=size)
    click(tab, "#expand")
    search(tab, "alert")
    tab.press("Enter", "Enter")
    assert chosen(tab) == "__proto__"
    assert text(tab, "#detail h2").startswith("</script><script>alert(1)</script>")
    assert tab.evaluate("document.scripts.length") == 2
    assert tab.evaluate("document.images.length") == 0
    assert tab.complaints == []
    # Even an injected script would not run.
    tab.evaluate(
        "{ const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); }"
    )
    assert tab.evaluate("window.ran") is None
    assert tab.complaints != []


def test_inner_nodes_are_marked_and_counted_separately(browser, tmp_path):
    edges = {"cat": "animal", "dog": "animal", "cup": "thing", "pan": "thing", "animal": None}
    taxonomy = Taxonomy.from_parents({**edges, "thing": None})
    classes = ClassList.of(["cat", "dog", "cup", "pan"], "four")
    tree = SemanticTree.build(classes, taxonomy, inner_levels="all")
    assert len(tree.inner) == 2
    tab = browser.open(page_of(tmp_path, tree))
    assert text(tab, "#lead").startswith("4 classes2 inner nodes2 roots")
    assert tab.evaluate("document.querySelectorAll('#levels .bar .inner').length") == 1
    badges = "[...document.querySelectorAll('.row')].map(e => !!e.querySelector('.badge'))"
    assert tab.evaluate(badges) == [True, False, False] * 2
    assert text(tab, ".row .below") == "2"
    assert "inner nodes (striped)" in text(tab, "figcaption")
    assert "Inner nodes were added" in text(tab, "#detail")
    click(tab, "#collapse")
    assert tab.evaluate(badges) == [True, True]
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("below", "open_rows"),
    [
        ([3, 4, 4], 1 + 3 + 12),
        ([2, 3, 5], 1 + 2 + 6 + 30),
        ([2, 3, 6], 1 + 2 + 6),
        ([60, 2], 1 + 60),
        ([1, 38], 40),
        ([1, 39], 2),
    ],
)
def test_a_page_opens_unfolded_to_about_one_screen(browser, tmp_path, below, open_rows):
    """Complete levels, at most 40 rows; but a single root is never shown alone."""
    parents, level = [-1], [0]
    for width in below:
        kids = [(len(parents) + k, at) for k, at in enumerate(np.repeat(level, width).tolist())]
        parents += [at for _, at in kids]
        level = [kid for kid, _ in kids]
    ids = tuple(f"c{at}" for at in range(len(parents)))
    tree = SemanticTree(ClassList.of(ids), ids, np.array(parents))
    tab = browser.open(page_of(tmp_path, tree))
    assert rows_in_list(tab) == open_rows
    search(tab, "c1")
    tab.press("Escape")
    assert rows_in_list(tab) == open_rows
    assert tab.complaints == []


def test_a_flat_list_shows_no_largest_roots(browser, tmp_path):
    ids = tuple("abc")
    flat = SemanticTree(ClassList.of(ids), ids, np.array([-1, -1, -1]))
    tab = browser.open(page_of(tmp_path, flat))
    assert rows_in_list(tab) == 3
    assert "Largest roots" not in text(tab, "#detail")
    taller = SemanticTree(ClassList.of(ids), ids, np.array([-1, -1, 0]))
    tab = browser.open(page_of(tmp_path, taller))
    assert "Largest rootsclasses belowa1b0" in text(tab, "#detail")
    assert rows_in_list(tab) == 3


def test_one_class_without_a_definition_is_a_page(browser, tmp_path):
    tree = SemanticTree(ClassList.of(["only"]), ("only",), np.array([-1]))
    tab = browser.open(page_of(tmp_path, tree), "#only")
    assert chosen(tab) == "only"
    assert text(tab, "#lead").startswith("1 class1 root")
    assert text(tab, ".row .id") == ""  # the name is the id
    assert tab.complaints == []


def test_a_chain_of_thousands_is_drawn_in_part(browser, tmp_path):
    count = 30_000
    ids = [f"c{at}" for at in range(count)]
    tree = SemanticTree(ClassList.of(ids), tuple(ids), np.arange(-1, count - 1))
    tab = browser.open(page_of(tmp_path, tree), f"#c{count - 1}")
    assert chosen(tab) == ids[-1]
    assert rows_in_list(tab) == count
    assert tab.evaluate("document.querySelectorAll('.path li').length") < 50
    assert tab.complaints == []


def test_a_printout_has_all_open_rows(browser, imagenet_page):
    tab = browser.open(imagenet_page)
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("document.querySelectorAll('.row').length") == 538
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert rows_in_list(tab) == 538


def test_the_same_tree_gives_the_same_bytes(tree_file, tmp_path):
    tree = SemanticTree.load(tree_file)
    assert render_tree_page(tree) == render_tree_page(SemanticTree.load(tree_file))
    write_tree_page(tmp_path / "a.html", tree)
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    assert (tmp_path / "a.html").read_text() == render_tree_page(tree)


def test_levels_with_names_show_them(browser, tmp_path):
    tree = SemanticTree.of(["Sula", "Sula sula"], [-1, 0], ranks=["genus", "<b>species"])
    tab = browser.open(page_of(tmp_path, tree), "#Sula sula")
    assert "1 (<b>species)" in text(tab, "#detail")
    titles = tab.evaluate("[...document.querySelectorAll('#levels button')].map(e => e.title)")
    assert [title.split(":")[0] for title in titles] == ["level 0 (genus)", "level 1 (<b>species)"]

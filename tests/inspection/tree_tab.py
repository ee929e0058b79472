"""A tree's page in a browser's tab: what it shows, and how a user works with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree
    from tests.inspection.browser import Tab

ROW = 28  # pixels, as in the style sheet


def rows_in_list(tab: Tab) -> float:
    """How many rows the list says that it has, by its height; few of them are drawn."""
    assert tab.evaluate("document.querySelectorAll('.row').length") < 200
    return tab.evaluate("document.getElementById('sheet').offsetHeight") / ROW


def click(tab: Tab, selector: str) -> None:
    tab.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def text(tab: Tab, selector: str) -> str:
    return tab.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")


def chosen(tab: Tab) -> str:
    """The id of the row that the keyboard stands on, as a screen reader is told."""
    tab.until("document.getElementById(tree.getAttribute('aria-activedescendant'))")
    name = text(tab, "[aria-selected=true] .name")
    assert name == text(tab, "#detail h2")
    return text(tab, "#detail code")


def search(tab: Tab, words: str) -> None:
    tab.press("/")
    tab.call("Input.insertText", text=words)
    tab.until(f"field.value === {json.dumps(words)} && !waiting")


def by_name(tree: SemanticTree, nodes: list[int]) -> list[int]:
    return sorted(
        nodes, key=lambda at: (tree.names[at].replace("_", " ").casefold(), tree.classes[at])
    )


def by_size(tree: SemanticTree, nodes: list[int]) -> list[int]:
    """Those with the most classes below first; of equal ones, by name."""
    below = np.bincount(np.concatenate([tree.chain(at) for at in range(len(tree.classes))]))
    return sorted(by_name(tree, nodes), key=lambda at: -below[at])

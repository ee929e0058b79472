"""A tree page in a browser tab: what it shows, and the actions of a user."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree
    from tests.inspection.browser import Tab

ROW = 28  # pixels, as in the style sheet


def rows_in_list(tab: Tab) -> float:
    """The number of rows in the list, by its height; only a few of them are drawn."""
    assert tab.evaluate("document.querySelectorAll('.row').length") < 200
    return tab.evaluate("document.getElementById('sheet').offsetHeight") / ROW


def click(tab: Tab, selector: str) -> None:
    tab.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def text(tab: Tab, selector: str) -> str:
    return tab.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")


def chosen(tab: Tab) -> str:
    """The id of the row with the keyboard focus, as reported to screen readers."""
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
    """Nodes with the most classes below first; equal ones by name."""
    below = np.bincount(np.concatenate([tree.chain(at) for at in range(len(tree.classes))]))
    return sorted(by_name(tree, nodes), key=lambda at: -below[at])

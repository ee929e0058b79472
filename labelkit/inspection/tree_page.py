"""Write a tree as one self-contained HTML page to search and unfold."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from labelkit.files import replace_file
from labelkit.inspection.page import template_environment
from labelkit.inspection.subtrees import sorted_children, top_down
from labelkit.wording import flatten, readable

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from labelkit.hierarchy import SemanticTree

_SCRIPTS = ("tree_model.js", "tree_view.js", "tree_pane.js", "tree_keys.js")
_NOTHING: Mapping[str, str] = {}


def write_tree_page(
    path: str | os.PathLike[str], tree: SemanticTree, definitions: Mapping[str, str] = _NOTHING
) -> None:
    """Write a tree as a page to search and unfold, atomically; an existing file is replaced.

    The page needs no network and no other file; the same tree gives the same bytes. Adding ``#``
    and a class id to its address opens it at that class.

    Args:
        path: the file (.html).
        tree: the tree, of any size: the page draws only the rows on the screen.
        definitions: definitions of classes, by id; not every class needs one.

    Raises:
        OSError: the file cannot be written.
    """
    replace_file(Path(path), render_tree_page(tree, definitions).encode())


def render_tree_page(tree: SemanticTree, definitions: Mapping[str, str] = _NOTHING) -> str:
    """The page's HTML. It contains all text of the tree as data, none as HTML or script."""
    style = _template("tree.css")
    script = "".join(map(_template, _SCRIPTS))
    return (
        template_environment()
        .get_template("tree.html")
        .render(
            title=tree.classes.name or "Class list",
            classes=len(tree.classes) - len(tree.inner),
            script=Markup(script),  # noqa: S704 -- our own file
            style=Markup(style),  # noqa: S704 -- our own file
            script_hash=_content_hash(script),
            style_hash=_content_hash(style),
            data=Markup(_json(tree_data(tree, definitions))),  # noqa: S704 -- escaped
        )
    )


def tree_data(tree: SemanticTree, definitions: Mapping[str, str]) -> dict[str, object]:
    """The page's data: parallel arrays over the nodes, each node before its children.

    Siblings are ordered by name, so the arrays are in the order of the unfolded tree.
    """
    order = top_down(sorted_children(tree))
    place = np.empty(len(order) + 1, dtype=np.int64)
    place[order], place[-1] = np.arange(len(order)), -1
    ids = [tree.classes[at] for at in order]
    data: dict[str, object] = {
        "name": tree.classes.name,
        "digest": tree.classes.digest,
        "source": flatten(tree.source),
        "ids": ids,
        "names": [readable(tree.names[at]) for at in order],
        "parent": place[tree.parent[order]].tolist(),
        "index": order,
        "inner": np.sort(place[tree.inner]).tolist(),
        "ranks": [readable(rank) for rank in tree.ranks],
        "definitions": [definitions.get(identity, "") for identity in ids] if definitions else [],
    }
    # In most trees levels equal depths, which the page computes itself.
    differ = not np.array_equal(tree.level, tree.depth)
    return data | {"level": tree.level[order].tolist() if differ else []}


def _json(data: object) -> str:
    """JSON that is safe to embed in HTML, whatever text it holds."""
    text = json.dumps(data, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _content_hash(text: str) -> str:
    """The hash by which a Content-Security-Policy allows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _template(name: str) -> str:
    return (files("labelkit.inspection") / "templates" / name).read_text(encoding="utf-8")

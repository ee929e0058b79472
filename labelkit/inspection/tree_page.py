"""Write a tree as an HTML page to search and unfold: one file that needs nothing else."""

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
    """Write a tree as a page to search and unfold, whole or not at all; replaces what is there.

    The page needs no network and no other file; the same tree gives the same bytes. A class's id
    behind a ``#`` in its address opens it at that class.

    Args:
        path: the file, an ``.html``.
        tree: of any size; only the rows on the screen are drawn.
        definitions: what classes mean, by id; classes without one are shown without.

    Raises:
        OSError: the file cannot be written.
    """
    replace_file(Path(path), render_tree_page(tree, definitions).encode())


def render_tree_page(tree: SemanticTree, definitions: Mapping[str, str] = _NOTHING) -> str:
    """The page's HTML. Every text of the tree lies in it as data, none as HTML or as a script."""
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
            data=Markup(_json(tree_data(tree, definitions))),  # noqa: S704 -- has no mark of HTML
        )
    )


def tree_data(tree: SemanticTree, definitions: Mapping[str, str]) -> dict[str, object]:
    """What the page is drawn from: parallel arrays over the nodes, each before its children.

    Siblings stand in the order of their names, so that the arrays are the unfolded tree.
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
        "definitions": [definitions.get(identity, "") for identity in ids] if definitions else [],
    }
    # Most trees are not aligned: their levels are their depths, which the page counts itself.
    aligned = not np.array_equal(tree.level, tree.depth)
    return data | {"level": tree.level[order].tolist() if aligned else []}


def _json(data: object) -> str:
    """JSON that no HTML parser can take for anything else, whatever texts it holds."""
    text = json.dumps(data, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _content_hash(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _template(name: str) -> str:
    return (files("labelkit.inspection") / "templates" / name).read_text(encoding="utf-8")

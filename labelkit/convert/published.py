"""The ``.pth`` layout of the trees published with ImageNet-21K-P.

A dict of plain lists and dicts: ``class_list`` the ids; ``child_2_parent`` id -> the parent's id;
``class_tree_list`` for each class the indices from itself up to its root; ``class_description``
id -> name, in the order of the classes.

Source: Ridnik et al. 2021, ImageNet-21K Pretraining for the Masses (arXiv 2104.10972).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from labelkit.convert.assembly import imported_tree
from labelkit.errors import TreeFileError
from labelkit.file_kinds import BEGINNING, known_kind
from labelkit.files import replace_file, require_regular_file
from labelkit.hierarchy import NodeTable

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree

LARGEST = 2**28  # bytes; a tree of 21,843 classes has about 2 million
KEYS = ("class_list", "child_2_parent", "class_tree_list", "class_description")
REMEDY = "Get another copy of the file, or build the tree: labelkit build-tree"


def write_published(tree: SemanticTree, path: str | Path) -> None:
    """Write a tree as the published code expects it; the same tree gives the same bytes.

    Inner nodes become ordinary classes, since the layout does not distinguish them.

    Raises:
        TreeFileError: the tree's levels are not depths, which the layout cannot represent.
        OSError: the file cannot be written.
    """
    import torch

    unequal = (tree.level != tree.depth).nonzero()[0]
    if unequal.size:
        at = int(unequal[0])
        raise TreeFileError(
            f"{path}: the published layout uses depths as levels, but {tree.classes[at]!r} has "
            f"depth {tree.depth[at]} and level {tree.level[at]}. Write .csv, which keeps both"
        )
    ids = tree.classes.ids
    parent = tree.parent.tolist()
    # A pickle writes the same object once but equal strings each time: keep one of each.
    one = {text: text for text in (*ids, *tree.names)}
    content = {
        "class_list": [one[node] for node in ids],
        "child_2_parent": {
            one[node]: one[ids[above]]
            for node, above in zip(ids, parent, strict=True)
            if above >= 0
        },
        "class_tree_list": [tree.chain(at)[::-1].tolist() for at in range(len(ids))],
        "class_description": {
            one[node]: one[name] for node, name in zip(ids, tree.names, strict=True)
        },
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_file(Path(path), buffer.getvalue())


def read_published(path: str | Path) -> SemanticTree:
    """Read a published tree; nothing in it is executed and everything is checked.

    ``child_2_parent`` may contain ids that are not classes, and may leave classes out.

    Raises:
        TreeFileError: not such a file, damaged, too large, or inconsistent.
        OSError: the file cannot be read.
    """
    path = Path(path)
    content = _load(path)
    ids = _strings(path, content["class_list"], "class_list")
    chains = _chains(path, content["class_tree_list"], ids)
    parents = [ids[chain[1]] if len(chain) > 1 else "" for chain in chains]
    described = _string_dict(path, content["class_description"], "class_description")
    missing = [node for node in ids if node not in described]
    if missing or len(described) != len(ids):
        which = f", {missing[0]!r} is missing" if missing else ""
        _refuse(path, f"class_description has {len(described)} entries for {len(ids)} ids{which}")
    names = [described[node] for node in ids]
    tree = imported_tree(path, NodeTable(ids, names, parents))
    above = _string_dict(path, content["child_2_parent"], "child_2_parent")
    _compare(path, tree, above)
    return tree


def _load(path: Path) -> dict[str, object]:
    from labelkit.torch_files import ForeignObjectError, TorchFileError, read_torch_file

    require_regular_file(path, TreeFileError)
    with path.open("rb") as file:
        kind = known_kind(file.read(BEGINNING))
    if kind:
        raise TreeFileError(f"{path}, which should be a torch file, {kind}")
    try:
        content = read_torch_file(path, largest=LARGEST)
    except ForeignObjectError as error:
        raise TreeFileError(
            f"{path} contains {error.name}, expected only lists, numbers and strings: refused, "
            f"since loading such a file could run code. {REMEDY}"
        ) from error
    except (TorchFileError, MemoryError) as error:
        raise TreeFileError(f"{path} {error}. {REMEDY}") from error
    if not isinstance(content, dict) or not set(KEYS) <= set(content):
        found = ", ".join(map(repr, list(content)[:8])) if isinstance(content, dict) else ""
        _refuse(
            path,
            f"it is a {type(content).__name__}{f' of {found}' if found else ''}, expected a dict "
            f"of {', '.join(KEYS)}",
        )
    return cast("dict[str, object]", content)


def _strings(path: Path, value: object, what: str) -> list[str]:
    if not isinstance(value, list):
        _refuse(path, f"{what} is a {type(value).__name__}, expected a list")
    for at, text in enumerate(cast("list[object]", value)):
        if not isinstance(text, str):
            _refuse(path, f"{what}[{at}] is a {type(text).__name__}, expected a string")
    return cast("list[str]", value)


def _string_dict(path: Path, value: object, what: str) -> dict[str, str]:
    if not isinstance(value, dict):
        _refuse(path, f"{what} is a {type(value).__name__}, expected a dict")
    entries = cast("dict[object, object]", value)
    _strings(path, list(entries), f"the keys of {what}")
    _strings(path, list(entries.values()), f"the values of {what}")
    return cast("dict[str, str]", value)


def _chains(path: Path, value: object, ids: list[str]) -> list[list[int]]:
    """Each class's chain, checked to be the class followed by its parent's chain."""
    if not isinstance(value, list) or len(cast("list[object]", value)) != len(ids):
        found = (
            f"{len(cast('list[object]', value))} chains" if isinstance(value, list) else "no list"
        )
        _refuse(path, f"class_tree_list has {found} for {len(ids)} ids")
    chains = cast("list[list[int]]", value)
    for at, chain in enumerate(chains):
        valid = isinstance(chain, list) and all(type(step) is int for step in chain)
        if not valid or not chain or chain[0] != at:
            _refuse(path, f"class_tree_list[{at}] is not a list of indices that begins with {at}")
        if len(chain) > 1 and not 0 <= chain[1] < len(ids):
            _refuse(
                path,
                f"class_tree_list[{at}] leads to {chain[1]}, expected one of {len(ids)} classes",
            )
    for at, chain in enumerate(chains):
        if len(chain) > 1 and chain[1:] != chains[chain[1]]:
            _refuse(
                path,
                f"class_tree_list[{at}] is {_brief(chain)}, but its parent's is "
                f"{_brief(chains[chain[1]])}: a chain is a class followed by its parent's chain",
            )
    return chains


def _compare(path: Path, tree: SemanticTree, above: dict[str, str]) -> None:
    """Refuse a ``child_2_parent`` that leads a class to a different parent than its chain does."""
    ids, places = tree.classes.ids, tree.classes.index
    nearest: dict[str, str] = {}  # id that is not a class -> the closest class above it
    for node, parent in zip(ids, tree.parent.tolist(), strict=True):
        if node not in above:
            continue
        passed: list[str] = []
        up = above[node]
        while up and up not in places and up not in nearest:
            passed.append(up)
            nearest[up] = ""  # the final value if the ids form a cycle
            up = above.get(up, "")
        found = up if up in places else nearest.get(up, "")
        nearest.update(dict.fromkeys(passed, found))
        expected = ids[parent] if parent >= 0 else ""
        if found != expected:
            _refuse(
                path,
                f"child_2_parent leads {node!r} to {found or 'no class'!r}, class_tree_list to "
                f"{expected or 'no class'!r}",
            )


def _brief(chain: list[int]) -> str:
    shown = ", ".join(map(str, chain[:6]))
    return f"[{shown}, ...]" if len(chain) > 6 else f"[{shown}]"


def _refuse(path: Path, what: str) -> NoReturn:
    raise TreeFileError(f"{path} is not a published tree: {what}. {REMEDY}")

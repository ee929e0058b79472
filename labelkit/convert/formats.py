"""The file formats of trees, by suffix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy import SemanticTree

TREE_FORMATS: Mapping[str, str] = {
    ".json": "a labelkit tree",
    ".pth": "the layout published with ImageNet-21K-P",
    ".pt": "the same",
    ".csv": "a table with one row per class",
}
"""The formats of tree files by suffix, with a description."""


def import_tree(path: str | Path) -> SemanticTree:
    """Read a tree in any of the ``TREE_FORMATS``, chosen by the file's suffix.

    Raises:
        ValueError: another suffix; the message lists the known ones.
        TreeFileError: the file's content does not match its suffix, or is damaged.
        OSError: the file cannot be read.
    """
    path = Path(path)
    match _known_suffix(path):
        case ".json":
            from labelkit.hierarchy import SemanticTree

            return SemanticTree.load(path)
        case ".csv":
            from labelkit.convert.table import read_csv_tree

            return read_csv_tree(path)
        case _:
            from labelkit.convert.published import read_published

            return read_published(path)


def export_tree(tree: SemanticTree, path: str | Path) -> None:
    """Write a tree in any of the ``TREE_FORMATS``, atomically.

    An existing file is replaced. The same tree gives the same bytes.

    Raises:
        ValueError: another suffix; the message lists the known ones.
        TreeFileError: the format cannot represent this tree.
        OSError: the file cannot be written.
    """
    path = Path(path)
    match _known_suffix(path):
        case ".json":
            tree.save(path)
        case ".csv":
            from labelkit.convert.table import write_csv_tree

            write_csv_tree(tree, path)
        case _:
            from labelkit.convert.published import write_published

            write_published(tree, path)


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in TREE_FORMATS:
        listed = ", ".join(f"{known} ({about})" for known, about in TREE_FORMATS.items())
        raise ValueError(f"{path.name!r} has the suffix {suffix!r}, expected {listed}")
    return suffix

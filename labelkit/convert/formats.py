"""Which file formats a tree can be turned into and out of, by the file's suffix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import TreeFileError
from labelkit.files import require_regular_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy import SemanticTree

READABLE: Mapping[str, str] = {
    ".json": "a labelkit tree",
    ".pth": "the layout published with ImageNet-21K-P",
    ".pt": "the same",
    ".graphml": "GraphML",
    ".csv": "a table with one row per class",
}
WRITABLE: Mapping[str, str] = {**READABLE, ".dot": "Graphviz, for drawing"}


def import_tree(path: str | Path) -> SemanticTree:
    """Read a tree from any of the formats in ``READABLE``, which the file's suffix tells.

    Raises:
        ValueError: another suffix; the message lists them.
        TreeFileError: the file does not hold what its suffix says, or is damaged.
        OSError: the file cannot be read.
    """
    path = Path(path)
    match _known_suffix(path, READABLE, "read"):
        case ".json":
            from labelkit.hierarchy import SemanticTree

            require_regular_file(path, TreeFileError)
            return SemanticTree.load(path)
        case ".graphml":
            from labelkit.convert.graphs import read_graphml

            return read_graphml(path)
        case ".csv":
            from labelkit.convert.table import read_csv_tree

            return read_csv_tree(path)
        case _:
            from labelkit.convert.published import read_published

            return read_published(path)


def export_tree(tree: SemanticTree, path: str | Path) -> None:
    """Write a tree in any of the formats in ``WRITABLE``, whole or not at all.

    A file that is there is replaced. The same tree gives the same bytes.

    Raises:
        ValueError: another suffix; the message lists them.
        TreeFileError: the format cannot hold this tree.
        OSError: the file cannot be written.
    """
    path = Path(path)
    match _known_suffix(path, WRITABLE, "written"):
        case ".json":
            tree.save(path)
        case ".graphml":
            from labelkit.convert.graphs import write_graphml

            write_graphml(tree, path)
        case ".dot":
            from labelkit.convert.graphs import write_dot

            write_dot(tree, path)
        case ".csv":
            from labelkit.convert.table import write_csv_tree

            write_csv_tree(tree, path)
        case _:
            from labelkit.convert.published import write_published

            write_published(tree, path)


def _known_suffix(path: Path, known: Mapping[str, str], verb: str) -> str:
    suffix = path.suffix.lower()
    if suffix not in known:
        listed = ", ".join(f"{end} ({about})" for end, about in known.items())
        only = " DOT is only written." if suffix == ".dot" else ""
        raise ValueError(
            f"{path.name!r} has the suffix {suffix!r}.{only} Trees can be {verb} as {listed}"
        )
    return suffix

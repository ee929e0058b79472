"""Turn the nodes listed in a foreign file into a tree, or refuse the file by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit import __version__
from labelkit.errors import ClassListError, TreeFileError
from labelkit.hierarchy import ClassList, NodeTable, SemanticTree, identify

if TYPE_CHECKING:
    from pathlib import Path


def imported_tree(path: Path, nodes: NodeTable) -> SemanticTree:
    """The tree of these nodes, with the file as its source.

    Raises:
        TreeFileError: they do not form a tree; the message names the file and the ids.
    """
    inner = {at for at, is_inner in enumerate(nodes.inner) if is_inner}
    data_classes = [node for at, node in enumerate(nodes.ids) if at not in inner]
    try:
        known = identify(ClassList.of(data_classes)) if data_classes else ""
        source = {
            "taxonomy": f"imported from {path.name}",
            "rule": "as in the file",
            "class_list": known or path.name,
            "labelkit": __version__,
        }
        return SemanticTree.from_nodes(nodes, source)
    except (ClassListError, ValueError) as error:
        raise TreeFileError(f"{path} is not a tree: {error}") from error

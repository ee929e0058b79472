"""What labelkit's own files are, by their first bytes, for readers that are given another kind."""

from __future__ import annotations

import re

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
TREE_FORMAT = "labelkit-tree"
BEGINNING = 200  # bytes that are enough to recognise a file
_TREE = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + TREE_FORMAT.encode() + rb'"')


def is_hdf5(content: bytes) -> bool:
    """Whether a file begins like HDF5, as label-map files do."""
    return content.startswith(HDF5_SIGNATURE)


def is_tree(content: bytes) -> bool:
    """Whether a file begins like a tree file, even of another version or damaged."""
    return _TREE.match(content[:BEGINNING]) is not None


def known_kind(content: bytes) -> str:
    """What a file is and what takes it, to follow its name in a message; empty if unknown.

    >>> known_kind(b"child,parent")
    ''
    """
    if is_hdf5(content):
        return (
            "is a label-map file, or other HDF5: look at it with labelkit inspect; verify, merge, "
            "convert, LabelMapFile.open and a recipe's labels.maps take it"
        )
    if is_tree(content):
        return (
            "is a labelkit tree: look at it with labelkit inspect; convert, SemanticTree.load and "
            "a recipe's labels.tree take it, and build-tree takes its class list"
        )
    return ""

"""What labelkit's own files are, by their first bytes, for readers that are given another kind."""

from __future__ import annotations

import re

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
TREE_FORMAT = "labelkit-tree"
COARSENING_FORMAT = "labelkit-coarsening"
MANIFEST_FORMAT = "labelkit-images"
BEGINNING = 200  # bytes that are enough to recognise a file
_FORMAT = re.compile(rb'\s*\{\s*"format"\s*:\s*"([a-z-]+)"')


def is_hdf5(content: bytes) -> bool:
    """Whether a file begins like HDF5, as label-map files do."""
    return content.startswith(HDF5_SIGNATURE)


def is_tree(content: bytes) -> bool:
    """Whether a file begins like a tree file, even of another version or damaged."""
    return _format(content) == TREE_FORMAT


def is_coarsening(content: bytes) -> bool:
    """Whether a file begins like a coarsening, even of another version or damaged."""
    return _format(content) == COARSENING_FORMAT


def is_manifest(content: bytes) -> bool:
    """Whether a file begins like a manifest of images, even of another version or damaged."""
    return _format(content) == MANIFEST_FORMAT


def _format(content: bytes) -> str:
    """The format that one of labelkit's JSON files begins with; empty if it is none."""
    found = _FORMAT.match(content[:BEGINNING])
    return found[1].decode() if found else ""


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
    return kind_of_format(_format(content))


def kind_of_format(name: str) -> str:
    """As ``known_kind``, of one of labelkit's JSON files by its field ``format``."""
    if name == TREE_FORMAT:
        return (
            "is a labelkit tree: look at it with labelkit inspect; convert, SemanticTree.load and "
            "a recipe's labels.tree take it, and build-tree takes its class list"
        )
    if name == COARSENING_FORMAT:
        return (
            "is a coarsening from labelkit coarsen: look at it with labelkit inspect; "
            "load_coarsening and a recipe's data.coarsening take it, and build-tree and relabel "
            "--classes take its coarse classes"
        )
    if name == MANIFEST_FORMAT:
        return (
            "is a manifest of images from labelkit subset or labelkit cluster: commands take it in "
            "place of a folder of images, and build-tree takes its classes"
        )
    return ""

"""Coarsening files: coarse classes, the tree that they were made from, and the map between them."""

# C classes of the fine tree, G coarse classes

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from labelkit.errors import ClassListError, CoarseningFileError, TreeFileError
from labelkit.file_kinds import COARSENING_FORMAT, is_coarsening, known_kind
from labelkit.files import decode_json, one_line_per_field, replace_file, require_regular_file
from labelkit.hierarchy.coarsening import Coarsening, coarse_list
from labelkit.hierarchy.forest import IntArray, read_only
from labelkit.hierarchy.tree import SemanticTree
from labelkit.hierarchy.tree_file import (
    ClassIndex,
    TreeDocument,
    TreeHeader,
    checksum_of,
    require_checksum,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
AGAIN = "Make it again: labelkit coarsen"


class CoarseningDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A whole coarsening file, with its fields in order.

    Attributes:
        classes: G coarse class ids.
        names: G names, for people.
        index: (C,) the coarse class of each class of the tree, -1 if it has none.
        digest: of the coarse class list.
        how: how the coarse classes were chosen, for people.
        tree: the fields of the fine tree's file.
        checksum: SHA-256 of all other fields, as in tree files.
    """

    format: str
    version: int
    classes: list[str]
    names: list[str]
    index: list[ClassIndex]
    digest: str
    how: str
    tree: TreeDocument
    checksum: str

    def fields(self) -> Mapping[str, object]:
        """All fields by name, in the order of the file."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return values | {"tree": dict(self.tree.fields())}

    def expected_checksum(self) -> str:
        """SHA-256 of all other fields, in hexadecimal."""
        return checksum_of({k: value for k, value in self.fields().items() if k != "checksum"})


def save_coarsening(coarsening: Coarsening, path: str | Path) -> None:
    """Write a coarsening as JSON, atomically; an existing file is replaced.

    The file contains the fine tree, so it needs no other. The same coarsening gives the same bytes.

    Raises:
        CoarseningFileError: a name is not valid Unicode.
        OSError: the file cannot be written.
    """
    tree = coarsening.tree.document()
    try:
        document = CoarseningDocument(
            format=COARSENING_FORMAT,
            version=VERSION,
            classes=list(coarsening.classes),
            names=list(coarsening.names),
            index=coarsening.index.tolist(),
            digest=coarsening.classes.digest,
            how=coarsening.how,
            tree=msgspec.structs.replace(tree, checksum=tree.expected_checksum()),
            checksum="",
        )
        document.checksum = document.expected_checksum()
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise CoarseningFileError(f"{path}: invalid Unicode near {near!r}: rename that") from error
    replace_file(Path(path), one_line_per_field(document.fields().items()))


def load_coarsening(path: str | Path) -> Coarsening:
    """Read a file from ``labelkit coarsen`` or ``save_coarsening``, and check everything in it.

    For a data set of class folders: ``ClassFolders(root,
    target_transform=load_coarsening("coarse.json").for_folders(root))``.

    Raises:
        CoarseningFileError: not such a file, damaged, changed since it was written, or of another
            version.
        OSError: the file cannot be read.
    """
    document = _read_document(Path(path))
    try:
        tree = SemanticTree.of_document(document.tree, path)
        require_checksum(document.tree, path)
        classes = coarse_list(tree, document.classes)
        coarsening = Coarsening(tree, classes, _checked_index(document, tree), document.how)
        _check_classes(document, coarsening)
    except (ClassListError, TreeFileError, ValueError) as error:
        raise CoarseningFileError(f"{path} is damaged: {error}. {AGAIN}") from error
    return coarsening


def _read_document(path: Path) -> CoarseningDocument:
    """A document with fields of the right types and a valid checksum."""
    require_regular_file(path, CoarseningFileError)
    content = path.read_bytes()
    if not is_coarsening(content):
        kind = known_kind(content) or "does not begin like one"
        raise CoarseningFileError(
            f"{path}, which should be a coarsening (from labelkit coarsen), {kind}"
        )
    header = decode_json(content, TreeHeader, path, CoarseningFileError, AGAIN)
    if header.version != VERSION:
        raise CoarseningFileError(
            f"{path} is {COARSENING_FORMAT!r} version {header.version}, expected version "
            f"{VERSION}. {AGAIN}"
        )
    document = decode_json(content, CoarseningDocument, path, CoarseningFileError, AGAIN)
    expected = document.expected_checksum()
    if document.checksum != expected:
        raise CoarseningFileError(
            f"{path} was changed after it was written: it gives the checksum "
            f"{document.checksum[:64]}, but its content has {expected}. {AGAIN}"
        )
    return document


def _check_classes(document: CoarseningDocument, coarsening: Coarsening) -> None:
    if document.digest != coarsening.classes.digest:
        raise ValueError(f"its digest is not that of {coarsening.classes}")
    if tuple(document.names) != coarsening.names:
        raise ValueError("its names are not those of the tree")


def _checked_index(document: CoarseningDocument, tree: SemanticTree) -> IntArray:
    """The map, if its coarse classes are classes of the tree, and above or equal to their own."""
    index = read_only(document.index)
    if len(index) != len(tree.classes) or index.max(initial=-1) >= len(document.classes):
        raise ValueError(
            f"it maps {len(index)} classes onto {len(document.classes)}, but the tree has "
            f"{len(tree.classes)}"
        )
    unknown = [coarse for coarse in document.classes if coarse not in tree.classes.index]
    if unknown:
        raise ValueError(f"the tree has no {unknown[0]!r}")
    nodes = np.array([tree.classes.index[coarse] for coarse in document.classes])
    mapped = np.flatnonzero(index >= 0)
    at, goal = mapped, nodes[index[mapped]]
    for _ in range(len(tree.counts)):  # climb until each class has met its coarse class
        at = np.where((at == goal) | (tree.parent[at] < 0), at, tree.parent[at])
    if (at != goal).any():
        wrong = int(mapped[np.argmax(at != goal)])
        raise ValueError(f"{tree.classes[wrong]!r} is not below its coarse class")
    return index

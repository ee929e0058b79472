"""Tree files: the JSON in which a semantic tree is kept, read strictly and written atomically."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np

from labelkit.errors import ClassListError, TreeFileError
from labelkit.files import replace_file
from labelkit.hierarchy.arrays import read_only
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.tree import SemanticTree, list_name

FORMAT = "labelkit-tree"
VERSION = 1
REBUILD = "Build it again: labelkit build-tree"
BEGINNING = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + FORMAT.encode() + rb'"')

Document = TypeVar("Document")
ClassIndex = Annotated[int, msgspec.Meta(ge=-1, lt=2**31)]


class TreeHeader(msgspec.Struct):
    """What tells whether this code can read the rest."""

    format: str
    version: int


class TreeDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A whole tree file, its fields in their order; the last two where they say something."""

    format: str
    version: int
    classes: list[str]
    names: list[str]
    parent: list[ClassIndex]
    digest: str
    source: dict[str, str]
    inner: list[ClassIndex] | msgspec.UnsetType = msgspec.UNSET
    level: list[ClassIndex] | msgspec.UnsetType = msgspec.UNSET


def read_tree(path: str | Path) -> SemanticTree:
    """Read and check a tree file; ``SemanticTree.load`` is the public way.

    Raises:
        TreeFileError: the file is no tree, damaged, or of another version.
        OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    header = _decode(content, TreeHeader, path)
    if (header.format, header.version) != (FORMAT, VERSION):
        raise TreeFileError(
            f"{path} is {header.format!r} version {header.version}, this labelkit reads "
            f"{FORMAT!r} version {VERSION}. {REBUILD}"
        )
    document = _decode(content, TreeDocument, path)
    try:
        inner = document.inner or []
        name = list_name(document.source.get("class_list", ""), inner=len(inner))
        tree = SemanticTree(
            classes=ClassList.of(document.classes, name),
            names=tuple(document.names),
            parent=read_only(document.parent),
            source=document.source,
            inner=read_only(inner),
            level=read_only(document.level or []),
        )
    except (ClassListError, ValueError) as error:
        raise TreeFileError(f"{path} is damaged: {error}. {REBUILD}") from error
    if document.digest != tree.classes.digest:
        raise TreeFileError(
            f"{path} is damaged: it says that its classes have the digest {document.digest[:64]}, "
            f"but they have {tree.classes.digest}. {REBUILD}"
        )
    return tree


def _decode(content: bytes, kind: type[Document], path: str | Path) -> Document:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TreeFileError(f"{path} is no labelkit tree: {error}. {REBUILD}") from error


def write_tree(tree: SemanticTree, path: str | Path) -> None:
    """Write a tree file, one line per field; ``SemanticTree.save`` is the public way.

    Raises:
        OSError: the file cannot be written.
    """
    document = TreeDocument(
        format=FORMAT,
        version=VERSION,
        classes=list(tree.classes),
        names=list(tree.names),
        parent=tree.parent.tolist(),
        digest=tree.classes.digest,
        source=dict(tree.source),
        inner=tree.inner.tolist() or msgspec.UNSET,
        level=msgspec.UNSET if np.array_equal(tree.level, tree.depth) else tree.level.tolist(),
    )
    fields = (
        msgspec.json.encode(name) + b": " + msgspec.json.encode(value)
        for name, value in msgspec.structs.asdict(document).items()
        if value is not msgspec.UNSET
    )
    replace_file(Path(path), b"{\n" + b",\n".join(fields) + b"\n}\n")


def is_tree_file(path: str | Path) -> bool:
    """Whether a file begins as a tree file does, of whatever version and however damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return BEGINNING.match(file.read(200)) is not None

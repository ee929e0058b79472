"""Tree files: the JSON of a semantic tree, read strictly and written atomically."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from labelkit.errors import TreeFileError
from labelkit.files import replace_file, require_regular_file

FORMAT = "labelkit-tree"
VERSION = 1
REBUILD = "Rebuild it: labelkit build-tree"
BEGINNING = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + FORMAT.encode() + rb'"')

Document = TypeVar("Document")
ClassIndex = Annotated[int, msgspec.Meta(ge=-1, lt=2**31)]


class TreeHeader(msgspec.Struct):
    """The fields that decide whether this code can read the rest."""

    format: str
    version: int


class TreeDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A whole tree file, with its fields in order; the last two only if a tree needs them."""

    classes: list[str]
    names: list[str]
    parent: list[ClassIndex]
    digest: str
    source: dict[str, str]
    inner: list[ClassIndex] | msgspec.UnsetType = msgspec.UNSET
    level: list[ClassIndex] | msgspec.UnsetType = msgspec.UNSET
    format: str = FORMAT
    version: int = VERSION


FIELDS = ("format", "version", "classes", "names", "parent", "digest", "source", "inner", "level")


def read_document(path: str | Path) -> TreeDocument:
    """Read a tree file whose fields have the right types; ``SemanticTree.load`` checks the rest.

    Raises:
        TreeFileError: not a tree file, damaged, or of another version.
        OSError: the file cannot be read.
    """
    path = Path(path)
    require_regular_file(path, TreeFileError)
    content = path.read_bytes()
    header = _decode(content, TreeHeader, path)
    if (header.format, header.version) != (FORMAT, VERSION):
        raise TreeFileError(
            f"{path} is {header.format!r} version {header.version}, expected {FORMAT!r} version "
            f"{VERSION}. {REBUILD}"
        )
    return _decode(content, TreeDocument, path)


def write_document(document: TreeDocument, path: str | Path) -> None:
    """Write a tree file, one line per field; the same tree gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    values = ((name, getattr(document, name)) for name in FIELDS)
    lines = (
        msgspec.json.encode(name) + b": " + msgspec.json.encode(value)
        for name, value in values
        if value is not msgspec.UNSET
    )
    replace_file(Path(path), b"{\n" + b",\n".join(lines) + b"\n}\n")


def is_tree_file(path: str | Path) -> bool:
    """Whether a file begins like a tree file, even of another version or damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return BEGINNING.match(file.read(200)) is not None


def _decode(content: bytes, kind: type[Document], path: Path) -> Document:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TreeFileError(f"{path} is not a labelkit tree: {error}. {REBUILD}") from error

"""Tree files: the JSON of a semantic tree, read strictly and written atomically."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from labelkit.errors import TreeFileError
from labelkit.file_kinds import BEGINNING, TREE_FORMAT, is_tree, known_kind
from labelkit.files import one_line_per_field, replace_file, require_regular_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = TREE_FORMAT
VERSION = 1
REBUILD = "Rebuild it: labelkit build-tree"
CHANGE = (
    "Restore it, or rebuild it: labelkit build-tree (--parents FILE chooses other parents). A "
    "program that edits trees writes them with SemanticTree.of(...).save(path)"
)

Document = TypeVar("Document")
ClassIndex = Annotated[int, msgspec.Meta(ge=-1, lt=2**31)]


class TreeHeader(msgspec.Struct):
    """The fields that decide whether this code can read the rest."""

    format: str
    version: int


class TreeDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A whole tree file, with its fields in order; ``inner`` to ``ranks`` only if needed.

    ``digest`` identifies the class list, as everywhere; ``checksum`` covers all other fields.
    """

    classes: list[str]
    names: list[str]
    parent: list[ClassIndex]
    digest: str
    source: dict[str, str]
    inner: list[ClassIndex] | msgspec.UnsetType = msgspec.UNSET
    level: list[ClassIndex] | msgspec.UnsetType = msgspec.UNSET
    ranks: list[str] | msgspec.UnsetType = msgspec.UNSET
    checksum: str = ""
    format: str = FORMAT
    version: int = VERSION

    def expected_checksum(self) -> str:
        """SHA-256 of all other fields, in hexadecimal."""
        return checksum_of({name: value for name, value in self.fields() if name != "checksum"})

    def fields(self) -> Iterator[tuple[str, object]]:
        """Name and value of the fields that are present, in the order of the file."""
        values = ((name, getattr(self, name)) for name in FIELDS)
        return ((name, value) for name, value in values if value is not msgspec.UNSET)


FIELDS = (
    "format",
    "version",
    "classes",
    "names",
    "parent",
    "digest",
    "source",
    "inner",
    "level",
    "ranks",
    "checksum",
)


def checksum_of(fields: Mapping[str, object]) -> str:
    """SHA-256 of fields as JSON with sorted keys and no spaces, in hexadecimal."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_document(path: str | Path) -> TreeDocument:
    """Read a tree file whose fields have the right types; ``SemanticTree.load`` checks the rest.

    Raises:
        TreeFileError: not a tree file, damaged, or of another version.
        OSError: the file cannot be read.
    """
    path = Path(path)
    require_regular_file(path, TreeFileError)
    content = path.read_bytes()
    if not is_tree(content) and (kind := known_kind(content)):
        raise TreeFileError(f"{path}, which should be a tree, {kind}")
    header = _decode(content, TreeHeader, path)
    if (header.format, header.version) != (FORMAT, VERSION):
        raise TreeFileError(
            f"{path} is {header.format!r} version {header.version}, expected {FORMAT!r} version "
            f"{VERSION}. {REBUILD}"
        )
    return _decode(content, TreeDocument, path)


def require_checksum(document: TreeDocument, path: str | Path) -> None:
    """Refuse a file that was changed after it was written.

    Raises:
        TreeFileError: the content does not match the file's checksum, or the file has none.
    """
    if not document.checksum:
        raise TreeFileError(
            f"{path} has no checksum: an older labelkit wrote it, or another program. {CHANGE}"
        )
    expected = document.expected_checksum()
    if document.checksum != expected:
        raise TreeFileError(
            f"{path} was changed after it was written: it gives the checksum "
            f"{document.checksum[:64]}, but its content has {expected}. {CHANGE}"
        )


def write_document(document: TreeDocument, path: str | Path) -> None:
    """Write a tree file with its checksum, one line per field; the same tree gives the same bytes.

    Raises:
        TreeFileError: a name is not valid Unicode.
        OSError: the file cannot be written.
    """
    try:
        document = msgspec.structs.replace(document, checksum=document.expected_checksum())
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise TreeFileError(f"{path}: invalid Unicode near {near!r}. Rename that class") from error
    replace_file(Path(path), one_line_per_field(document.fields()))


def is_tree_file(path: str | Path) -> bool:
    """Whether a file begins like a tree file, even of another version or damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return is_tree(file.read(BEGINNING))


def _decode(content: bytes, kind: type[Document], path: Path) -> Document:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TreeFileError(f"{path} is not a labelkit tree: {error}. {REBUILD}") from error

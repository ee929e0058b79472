"""The members of a tar: names, and where in the file their content is. Nothing is unpacked."""

from __future__ import annotations

import shlex
import tarfile
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from labelkit.errors import DatasetError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""The file name endings of tars, in lower case; those of compressed ones are refused later."""

_BLOCK = 512
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


class TarMember(NamedTuple):
    """A regular file in a tar, or something else under a file's name.

    Attributes:
        name: its path in the tar, with ``/``, without ``.`` and doubled slashes.
        offset: where its content begins, counted in the outermost file.
        size: of the content in bytes; -1 if it is no regular file.
    """

    name: str
    offset: int
    size: int


def is_tar(path: str) -> bool:
    """Whether a file is a tar, compressed or not, by its name or its first bytes."""
    if path.lower().endswith(TAR_ENDINGS):
        return True
    with open(path, "rb") as file:  # noqa: PTH123 -- one of many short functions on plain strings
        return file.read(262)[257:] == b"ustar"


def require_plain(file: BinaryIO, start: int, where: str) -> None:
    """Raise if a tar is compressed.

    Raises:
        DatasetError: it is; the message says what to do.
    """
    file.seek(start)
    beginning = file.read(6)
    for magic, (name, tool) in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise DatasetError(
                f"{where} is compressed with {name}, and no member of a compressed tar can be read "
                f"without all before it: decompress it once ({tool}). Images hardly compress, so "
                "it will not be much larger"
            )


def tar_members(
    file: BinaryIO, where: str, start: int = 0, end: int | None = None
) -> Iterator[TarMember]:
    """The files in a tar, links and devices among them, in the order of storage.

    Args:
        file: the tar, or the tar that it is in.
        where: its name, for messages.
        start: where it begins.
        end: where it ends; None at the end of the file.

    Raises:
        DatasetError: it is compressed, damaged or cut short.
        OSError: the disk fails.
    """
    require_plain(file, start, where)
    file.seek(start)
    try:
        tar = tarfile.TarFile(fileobj=file, mode="r")
        before, kept = start - 1, cast("list[object]", vars(tar)["members"])
        while (member := tar.next()) is not None:
            kept.clear()  # it would keep all of millions
            if member.size < 0 or tar.offset <= before:
                raise tarfile.ReadError(f"member {member.name!r} has an impossible size")
            before = tar.offset
            size = member.size if member.isreg() and not member.issparse() else -1
            if end is not None and member.offset_data + max(size, 0) > end:
                raise DatasetError(f"{where} is cut short in {member.name!r}: copy it again")
            if not member.isdir():
                yield TarMember(_plain_path(member.name), member.offset_data, size)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise DatasetError(
            f"{where} is damaged, or no tar ({first_line(error)}): copy it again"
        ) from error
    _require_end(file, tar.offset, where, end)


def _require_end(file: BinaryIO, offset: int, where: str, end: int | None) -> None:
    """Raise unless a tar's last member is followed by its mark of the end.

    tarfile takes a damaged header for the end, and so would lose all members after it.
    """
    file.seek(offset)
    block = file.read(_BLOCK if end is None else min(_BLOCK, end - offset))
    if len(block) < _BLOCK:
        append = f"append them: head -c 1024 /dev/zero >> {shlex.quote(where)}"
        raise DatasetError(
            f"{where} ends without the two empty blocks that end a tar: it was probably cut short. "
            f"Copy it again{f'; or, if it is whole, {append}' if end is None else ''}"
        )
    if any(block):
        raise DatasetError(f"{where} is damaged at byte {offset:,}: copy it again")


def _plain_path(name: str) -> str:
    """A member's path without parts that mean nothing; ``/`` at its beginning stays."""
    if "//" not in name and "./" not in name:
        return name
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return ("/" if name.startswith("/") else "") + "/".join(parts)

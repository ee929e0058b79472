"""The members of a tar, which may come from anyone: names, places, sizes. Nothing is unpacked."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from labelkit.errors import PrepareError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 512
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""The first bytes of compressed files."""


class TarEntry(NamedTuple):
    """One member of a tar.

    Attributes:
        name: its path, with ``/``, without ``.`` and doubled slashes.
        offset: where its content begins, counted in the outermost file.
        size: of the content in bytes.
        fault: why it is not a plain file: a link, a device; empty for files.
    """

    name: str
    offset: int
    size: int
    fault: str


def tar_entries(
    file: BinaryIO, where: str, start: int = 0, end: int | None = None
) -> Iterator[TarEntry]:
    """The members of an uncompressed tar except its folders, in the order of storage.

    Args:
        file: the tar, or the tar that it is in.
        where: its name, for messages.
        start: where it begins.
        end: where it ends; None at the end of the file.

    Raises:
        PrepareError: it is damaged or cut short; the members before that were yielded.
        OSError: the disk fails.
    """
    file.seek(start)
    if (compression := compression_of(file.read(6))) is not None:
        raise PrepareError(f"{where} is compressed with {compression}: decompress it once")
    file.seek(start)
    try:
        tar = tarfile.TarFile(fileobj=file, mode="r")
        yield from _members(tar, where, end)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise PrepareError(f"{where} is damaged, or no tar ({first_line(error)})") from error
    _require_end(file, tar.offset, where, end)


def compression_of(beginning: bytes) -> str | None:
    """How a file is compressed, by its first six bytes; None if it is not."""
    return next((name for magic, name in COMPRESSED.items() if beginning.startswith(magic)), None)


def plain_path(name: str) -> str:
    """A member's path without parts that mean nothing; ``/`` at its beginning stays.

    >>> plain_path("./n01//1.jpg"), plain_path("/etc/1.jpg")
    ('n01/1.jpg', '/etc/1.jpg')
    """
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def entry_fault(member: tarfile.TarInfo) -> str:
    """Why a member is not a plain file; empty if it is."""
    if member.issym() or member.islnk():
        return "a link, not a file"
    if not member.isreg():
        return "a device or a pipe, not a file"
    return "a sparse file" if member.issparse() else ""


def forget_members(tar: tarfile.TarFile) -> None:
    """Free the members read so far, of maybe millions, which tarfile keeps."""
    cast("Any", tar).members.clear()


def _members(tar: tarfile.TarFile, where: str, end: int | None) -> Iterator[TarEntry]:
    before = tar.offset - 1
    while (member := tar.next()) is not None:
        forget_members(tar)
        if member.size < 0 or tar.offset <= before:
            raise tarfile.ReadError(f"member {member.name!r} has an impossible size")
        before = tar.offset
        if end is not None and member.offset_data + member.size * member.isreg() > end:
            raise PrepareError(f"{where} is cut short")
        if not member.isdir():
            fault = entry_fault(member)
            yield TarEntry(plain_path(member.name), member.offset_data, member.size, fault)


def _require_end(file: BinaryIO, offset: int, where: str, end: int | None) -> None:
    """Raise unless the last member is followed by an empty block: a tar's mark of the end.

    tarfile takes a damaged header for the end, and would lose all members after it.
    """
    file.seek(offset)
    block = file.read(_BLOCK if end is None else max(0, min(_BLOCK, end - offset)))
    if len(block) < _BLOCK:
        raise PrepareError(f"{where} has no end mark: it was probably cut short")
    if any(block):
        raise PrepareError(f"{where} is damaged at byte {offset:,}")

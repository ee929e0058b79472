"""Atomic writes, guarded reads, checksums, and even samples of a list: each exists once, here."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from labelkit.errors import first_line
from labelkit.file_kinds import is_hdf5, known_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from labelkit.errors import LabelkitError

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.tmp", re.DOTALL)
_LINKS_UNSUPPORTED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
_TOO_DEEP = "nested too deeply"
_DEEPEST = 32  # levels of tables or lists
_INTEGERS = 2**63

Content = TypeVar("Content")


def replace_file(
    path: Path,
    content: bytes | Callable[[Path], object],
    scratch: Path | None = None,
    *,
    sync: bool = True,
) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part of it.

    Symbolic links are followed, and an existing file keeps its permissions. After ``kill -9`` a
    hidden ``.<name>.<hexadecimal>.tmp`` may remain beside it.

    Args:
        path: the file to create or replace.
        content: its bytes, or a function that writes the whole file to the path it is given.
        scratch: a folder for the temporary file, used if it is on the same disk; the file's own
            folder if None.
        sync: flush the file to the disk. False is for many small files, followed by one
            ``os.sync()``: until then a power failure may leave empty files.

    Raises:
        OSError: the folder does not exist or is read-only, the disk is full, or ``path`` is a pipe,
            a device or a link in a circle; it is unchanged and the error names it.
    """
    path = _final_path(path)
    try:
        if scratch is None or scratch.stat().st_dev != path.parent.stat().st_dev:
            scratch = path.parent
        temporary = _temporary(scratch, path.name)
        try:
            _write(temporary, content, sync=sync)
            if path.exists():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            temporary.replace(path)
            if sync:
                _sync_folder(path.parent)
        finally:
            _remove(temporary)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def publish_file(
    path: Path, content: bytes | Callable[[Path], object], scratch: Path | None = None
) -> bool:
    """Write a file atomically under a name that is still free; an existing file is never touched.

    Args:
        path: the file to create.
        content: its bytes, or a function that writes the whole file to the path it is given.
        scratch: a folder on the same disk for the temporary file; the file's own folder if None.

    Returns:
        False if ``path`` exists: the first writer wins.

    Raises:
        OSError: the folder does not exist or is read-only, the disk is full, or its file system
            has no hard links; ``path`` is not created.
    """
    temporary = _temporary(scratch or path.parent, path.name)
    try:
        _write(temporary, content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _LINKS_UNSUPPORTED:
                raise
            raise OSError(
                error.errno,
                "the file system has no hard links, which labelkit needs to publish a file "
                "atomically: write to another disk, then copy",
                str(path),
            ) from error
        _sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def file_state(path: Path) -> tuple[int, int] | None:
    """What tells whether a file is still the same one; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed writers of this module left anywhere below a folder.

    Call it only while no other process writes there.
    """
    for path in folder.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def read_utf8(path: Path, error: type[LabelkitError], hint: str = "Save the file as UTF-8") -> str:
    """A text file without its byte order mark, with a line feed for every line ending.

    Args:
        path: the file; a pipe, such as a shell's ``<(cut -f1 table.tsv)``, will do.
        error: what to raise for a file that is not text.
        hint: what the user should do about it.

    Raises:
        LabelkitError: of type ``error``: a folder, or not valid UTF-8.
        OSError: the file cannot be read.
    """
    if path.is_dir():
        raise error(f"{path} is a folder, expected a file")
    text = decode_utf8(path.read_bytes(), path, error, hint)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_utf8(
    content: bytes,
    source: str | Path,
    error: type[LabelkitError],
    hint: str = "Save the file as UTF-8",
) -> str:
    """Text without its byte order mark; line endings are kept.

    Args:
        content: the bytes of a text file.
        source: where they come from, for messages.
        error: what to raise for bytes that are not text.
        hint: what the user should do about it.

    Raises:
        LabelkitError: of type ``error``: not valid UTF-8.
    """
    if is_hdf5(content):
        raise error(f"{source}, which should be text, {known_kind(content)}")
    if _looks_like_utf16(content):
        raise error(f"{source} looks like UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{source}, line {line}: not valid UTF-8 ({problem.reason}). {hint}"
        ) from problem


def decode_json(
    content: bytes,
    kind: type[Content],
    source: str | Path,
    error: type[LabelkitError],
    remedy: str,
) -> Content:
    """JSON from a file that may be torn or hostile: any fault is one line.

    Values nested more than 32 deep and integers of more than 64 bits are refused.

    Args:
        content: the bytes of the file.
        kind: what it must hold: a ``msgspec.Struct``, or a type such as ``dict[str, int]``.
        source: where the bytes come from, for messages.
        error: what to raise for anything else.
        remedy: what the user should do about it, such as "remove it".

    Raises:
        LabelkitError: of type ``error``.
    """
    try:
        value = msgspec.json.decode(content)
        _check_values(value)
        return msgspec.convert(value, kind)
    except (ValueError, RecursionError) as problem:
        raise error(f"{source} is damaged ({_parser_says(problem)}): {remedy}") from problem


def decode_toml(
    content: str,
    kind: type[Content],
    source: str | Path,
    error: type[LabelkitError],
    remedy: str,
) -> Content:
    """TOML that a person wrote, or an attacker: any fault is one line.

    Refused like JSON's, and so are numbers that are not finite (``nan``, ``inf``).

    Args:
        content: the text of the file, from ``read_utf8``.
        kind: what it must hold: a ``msgspec.Struct``, or a type such as ``dict[str, int]``.
        source: where the text comes from, for messages.
        error: what to raise for anything else.
        remedy: what the user should do about it, such as "see labelkit teachers".

    Raises:
        LabelkitError: of type ``error``.
    """
    try:
        tables = tomllib.loads(content)
        _check_values(tables)
        return msgspec.convert(tables, kind)
    except tomllib.TOMLDecodeError as problem:
        if kind_found := known_kind(content.encode(errors="replace")):
            raise error(f"{source}, which should be TOML, {kind_found}") from problem
        raise error(f"{source}: not valid TOML: {problem}. {remedy}") from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{source}: {_parser_says(problem)}. {remedy}") from problem


def one_line_per_field(fields: Iterable[tuple[str, object]]) -> bytes:
    """JSON in which each field has a line: the same fields give the same bytes."""
    lines = (
        msgspec.json.encode(name) + b": " + msgspec.json.encode(value) for name, value in fields
    )
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def require_regular_file(path: Path, error: type[LabelkitError]) -> None:
    """Refuse folders, pipes, devices and sockets, which could block forever when opened.

    Raises:
        LabelkitError: of type ``error``: the path is one of those, or a link to one.
        OSError: there is no such file.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise error(f"{path} is a folder, expected a file")
    if not stat.S_ISREG(mode):
        raise error(f"{path} is not a regular file: copy its content to one and pass that")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def evenly_spaced(count: int, sample: int) -> list[int]:
    """At most ``sample`` positions spread evenly over ``range(count)``, both ends included.

    >>> evenly_spaced(10, 4), evenly_spaced(3, 5), evenly_spaced(0, 5)
    ([0, 3, 6, 9], [0, 1, 2], [])
    """
    if sample >= count:
        return list(range(count))
    if sample <= 1:
        return [0] * max(sample, 0)
    return [place * (count - 1) // (sample - 1) for place in range(sample)]


def _parser_says(problem: Exception) -> str:
    return _TOO_DEEP if isinstance(problem, RecursionError) else first_line(problem)


def _check_values(document: object) -> None:
    """Refuse depths that exhaust Python's stack, and numbers that other readers do not know."""
    pending = [("", document, 0)]
    while pending:
        place, value, depth = pending.pop()
        if depth > _DEEPEST:
            raise ValueError(_TOO_DEEP)
        if isinstance(value, (dict, list)):
            pending.extend((inner, item, depth + 1) for inner, item in _items(place, value))
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{place} is {value}, expected a finite number")
        elif isinstance(value, int) and not -_INTEGERS <= value < _INTEGERS:
            raise ValueError(f"{place} is an integer of more than 64 bits")


def _items(place: str, value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, object]]:
    if isinstance(value, list):
        # Strings are what long lists consist of, and nothing can be wrong with them.
        yield from (
            (f"{place}[{at}]", item) for at, item in enumerate(value) if type(item) is not str
        )
    else:
        start = f"{place}." if place else ""
        yield from ((f"{start}{name[:40]}", item) for name, item in value.items())


def _final_path(path: Path) -> Path:
    """The file that a path leads to through symbolic links.

    Raises:
        OSError: the links run in a circle, or lead to something other than a regular file.
    """
    try:
        final = path.resolve()
    except RuntimeError as error:  # what Python 3.11 raises for links in a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    if final.exists() and not final.is_file():
        raise OSError(errno.EINVAL, "not a regular file: choose another output", str(path))
    return final


def _temporary(folder: Path, name: str) -> Path:
    # File names may be up to 255 bytes long; the random part keeps concurrent writers apart.
    start = os.fsencode(name)[:60].decode(errors="ignore")
    return folder / f".{start}.{os.urandom(8).hex()}.tmp"


def _remove(temporary: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        temporary.unlink()


def _write(path: Path, content: bytes | Callable[[Path], object], *, sync: bool = True) -> None:
    """Write a new file, and flush it if ``sync``."""
    if isinstance(content, bytes):
        with path.open("xb") as file:
            file.write(content)
    else:
        mode = _usual_mode(path)
        content(path)
        path.chmod(mode)
    if not sync:
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _usual_mode(path: Path) -> int:
    """The permissions of a new file here, from the umask: some libraries write 0600."""
    with path.open("xb") as file:
        mode = os.fstat(file.fileno()).st_mode
    path.unlink()
    return stat.S_IMODE(mode)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _looks_like_utf16(content: bytes) -> bool:
    """Whether bytes begin with UTF-16's mark, or have a NUL in every second place."""
    start = content[: len(content) // 2 * 2][:64]
    marked = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    return marked or (bool(start) and not (any(start[::2]) and any(start[1::2])))

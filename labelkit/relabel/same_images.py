"""Find images in an older file by their content, whatever their names.

Two images are the same if their files have the same bytes: compared are the first 16 bytes of the
SHA-256, which a label-map file keeps of every image that ``relabel`` has read.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelkit.errors import DatasetError, LabelMapError
from labelkit.files import publish_file
from labelkit.label_maps import Claims

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelkit.label_maps import LabelMapFile
    from labelkit.sources import ImageFile, ImageSource

    OnProgress = Callable[[int, int], None]

_BYTES, _BLOCK = 16, 1 << 20
_AT_ONCE = 1024
_POLL = 0.5
_NAME = "same-images"


class _Answer(msgspec.Struct, frozen=True):
    """What one process has found, for the others: for which file and images, and the pairs."""

    question: str
    same: dict[str, str]


def content_digest(file: ImageFile) -> bytes:
    """What identifies the content of an image's file: 16 bytes of its SHA-256.

    Raises:
        OSError: the disk fails.
    """
    digest = hashlib.sha256()
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as opened:
        opened.seek(0)
        while content := opened.read(_BLOCK):
            digest.update(content)
    return digest.digest()[:_BYTES]


def same_images(
    source: ImageSource,
    old: LabelMapFile,
    threads: int = 1,
    on_progress: OnProgress | None = None,
) -> dict[str, str]:
    """Which row of an older file each image has by its content: key -> key in the file.

    Images of the same content all get the first of the rows that have it.

    Args:
        source: of the images, each of which is read once, without decoding it.
        old: the older file.
        threads: how many images to read at once.
        on_progress: called with (images read, images in total).

    Raises:
        LabelMapError: the file has no digests.
        OSError: the disk fails.
    """
    rows: dict[bytes, str] = {}
    for key, digest in old.image_digests():
        rows.setdefault(digest, key)
    if not rows and len(old):
        raise LabelMapError(
            f"{old.path} has no digests of its images, since it was imported or made by an earlier "
            "version: give its rows the new keys with labelkit verify --renames and labelkit "
            "rename, or use --reuse-by key"
        )
    keys, same = source.keys, {}
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            for key, digest in zip(some, pool.map(partial(_digest, source), some), strict=True):
                if digest in rows:
                    same[key] = rows[digest]
            if on_progress:
                on_progress(start + len(some), len(keys))
    return same


def same_images_once(
    source: ImageSource,
    old: LabelMapFile,
    parts: Path,
    threads: int = 1,
    on_progress: OnProgress | None = None,
) -> dict[str, str]:
    """``same_images`` for processes that write one file: the first one reads, the others wait.

    Args:
        source: as in ``same_images``, and so on.
        old: likewise.
        parts: the folder of shards, which keeps the answer for later runs too.
        threads: likewise.
        on_progress: likewise.

    Raises:
        LabelMapError, OSError: as ``same_images``.
    """
    parts.mkdir(parents=True, exist_ok=True)
    question = _question(old, source.keys)
    path, claims = parts / f"{_NAME}-{question[:16]}.json", Claims(parts)
    try:
        while (found := _read(path, question)) is None:
            if claims.take(_NAME):
                found = same_images(source, old, threads, _renewing(claims, on_progress))
                publish_file(path, msgspec.json.encode(_Answer(question, found)))
            else:
                time.sleep(_POLL)
        return found
    finally:
        claims.release_all()


def _renewing(claims: Claims, on_progress: OnProgress | None) -> OnProgress:
    def advance(done: int, total: int) -> None:
        claims.renew()
        if on_progress:
            on_progress(done, total)

    return advance


def _question(old: LabelMapFile, keys: Sequence[str]) -> str:
    """What the answer depends on."""
    return hashlib.sha256("\0".join([old.digest, *keys]).encode()).hexdigest()


def _read(path: Path, question: str) -> dict[str, str] | None:
    with suppress(FileNotFoundError, msgspec.MsgspecError):
        found = msgspec.json.decode(path.read_bytes(), type=_Answer)
        return found.same if found.question == question else None
    return None


def _digest(source: ImageSource, key: str) -> bytes:
    """The digest of an image; nothing for one without content, which is recorded later."""
    try:
        file = source.file(key)
        if isinstance(file, Path) and not file.is_file():  # to open a named pipe would wait
            return b""
        return content_digest(file)
    except (DatasetError, FileNotFoundError):
        return b""

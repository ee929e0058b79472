"""The folder of a run: one trainer at a time, and no other program's files in it."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from labelkit.errors import LabelkitError, TrainingError
from labelkit.files import decode_json
from labelkit.locks import lock_file, take_lock
from labelkit.wording import printable

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

LAST, BEST, LOG = "last.pt", "best.safetensors", "log.jsonl"
CONFIG, IMAGES, LOCK = "config.json", "images.json", "run.lock"
TABLE, REPORT, CURVES = "log.csv", "report.html", "curves.png"

MARK = "labelkit train"  # in the title of the page, and in the PNG's metadata

_LARGEST_LOCK = 4096


class Holder(msgspec.Struct, frozen=True):
    """The process that trains in a folder, as ``run.lock`` records it.

    Attributes:
        pid: its number.
        host: its machine.
        since: when it started, in local time.
    """

    pid: int
    host: str
    since: str


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Keep other trainers out of a folder; the lock ends with this process, however it ends.

    On a file system without locks, nothing is locked: every file is still replaced whole.

    Args:
        folder: an existing folder.

    Raises:
        TrainingError: another process trains there; the message names it.
        OSError: the folder is not writable.
    """
    with lock_file(folder / LOCK) as descriptor:
        _lock(descriptor, folder)
        _remove_leftovers(folder)
        yield


def require_usable(folder: Path) -> None:
    """Refuse a folder in which no run can start now; this neither makes nor changes anything.

    Raises:
        TrainingError: another process trains there; the message names it.
        OSError: the folder cannot be made, or is not writable.
    """
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    problem = 0 if os.access(nearest, os.W_OK | os.X_OK) else errno.EACCES
    problem = problem if nearest.is_dir() else errno.ENOTDIR
    if problem:
        raise OSError(problem, os.strerror(problem), str(folder))
    if (folder / LOCK).exists():
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _require_lock(descriptor, folder, shared=True)
        finally:
            os.close(descriptor)


def require_own_folder(folder: Path) -> None:
    """Refuse a folder with files of another program that a run would replace.

    Raises:
        TrainingError: the message names the file and what it is.
    """
    for name, is_ours in _OURS.items():
        path = folder / name
        if path.exists() and not (path.is_file() and is_ours(path)):
            raise TrainingError(
                f"{folder} holds another kind of run: its {name} is not from labelkit train, which "
                "would replace it. Choose another folder (-o)"
            )
    if (folder / "plan.json").exists():
        raise TrainingError(
            f"{folder} holds the shards of an unfinished labelkit relabel (plan.json), not a "
            "training run. Choose another folder (-o)"
        )


def _lock(descriptor: int, folder: Path) -> None:
    _require_lock(descriptor, folder)
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    content = msgspec.json.encode(Holder(os.getpid(), socket.gethostname(), now))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content + b"\n", 0)


def _require_lock(descriptor: int, folder: Path, *, shared: bool = False) -> None:
    if not take_lock(descriptor, shared=shared):
        raise TrainingError(
            f"{_holder(descriptor)} is training in {folder}: wait for it or stop it, or choose "
            "another folder (-o)"
        )


def has_student(folder: Path) -> bool:
    """Whether a run's folder still has its student, from which another run may start."""
    return (folder / BEST).is_file()


def _holder(descriptor: int) -> str:
    """Who holds a lock, in words."""
    content = os.pread(descriptor, _LARGEST_LOCK, 0)
    try:
        holder = decode_json(content, Holder, LOCK, TrainingError, "remove it")
    except TrainingError:  # the other process is about to write it
        return "another process"
    return f"process {holder.pid} on {printable(holder.host)} (since {printable(holder.since)})"


def _remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of killed runs; only for the holder of the lock."""
    for name in (LAST, BEST, LOG, TABLE, CONFIG, IMAGES, REPORT, CURVES):
        for path in folder.glob(f".{name}.*.tmp"):
            path.unlink(missing_ok=True)


def _is_our_log(path: Path) -> bool:
    """Whether a log's first line is one of ours; the log of a run without an epoch is empty."""
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    return not line.strip() or _has(line, {"epoch", "train_loss", "lr", "metrics"})


def _is_our_table(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    return not line.strip() or line.startswith(b"epoch,train_loss,lr,")


def _is_our_picture(path: Path) -> bool:
    """Whether a page or a picture says that it is one of ours."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(1 << 20)


def _is_our_config(path: Path) -> bool:
    return path.stat().st_size < 1 << 28 and _has(path.read_bytes(), {"labelkit", "architecture"})


def _is_our_student(path: Path) -> bool:
    """Whether the metadata of a safetensors file is a student's."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(min(size, 1 << 28))
    try:
        found = decode_json(header, dict[str, dict[str, object]], path, TrainingError, "remove it")
        return {"labelkit", "classes_digest"} <= found["__metadata__"].keys()
    except (LabelkitError, KeyError):
        return False


def _has(content: bytes, names: set[str]) -> bool:
    """Whether content is a JSON object with these names."""
    try:
        found = decode_json(content, dict[str, object], "", TrainingError, "")
    except TrainingError:
        return False
    return names <= found.keys()


_OURS = {
    LOG: _is_our_log,
    TABLE: _is_our_table,
    CONFIG: _is_our_config,
    BEST: _is_our_student,
    REPORT: _is_our_picture,
    CURVES: _is_our_picture,
}

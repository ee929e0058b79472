"""``results.jsonl``: one line per finished run, appended by any number of processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

import msgspec

from labelkit.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished or failed run: one line of ``results.jsonl``.

    Attributes:
        run: the name of its folder.
        identity: of the run; a changed recipe has another one.
        stage: as ``StudyRun`` has it.
        axes: likewise.
        seed: likewise.
        error: why it failed; empty for a finished run.
        final: the metrics after the last epoch.
        best: the metrics of the best epoch.
        best_epoch: its number, from 1.
        epochs: how many were trained.
        seconds: of all epochs, without what interruptions lost.
        images_per_second: median over the epochs.
        fields: the recipe's fields, as ``StudyRun`` has them.
        versions: of labelkit, Python, torch and timm.
        finished: local time with its offset.
    """

    run: str
    identity: str
    stage: str
    axes: dict[str, str]
    seed: int
    error: str = ""
    final: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    best: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    fields: dict[str, object] = msgspec.field(default_factory=dict[str, object])
    versions: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    finished: str = ""


def append_result(path: Path, result: RunResult) -> None:
    """Append a line, whole and flushed, while no other process does.

    A line that a killed process left unfinished is ended first; readers skip it.

    Raises:
        OSError: the file cannot be written.
    """
    line = msgspec.json.encode(result) + b"\n"
    with path.open("ab+") as file, _locked(file.fileno()):
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_results(path: Path) -> dict[str, RunResult]:
    """The last line of each run, by its identity; a finished one stays if a later line failed.

    Raises:
        StudyError: a line is JSON, but not of a run.
        OSError: the file is there, but cannot be read.
    """
    found: dict[str, RunResult] = {}
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for result in _parsed(path, lines):
        before = found.get(result.identity)
        if before is None or before.error or not result.error:
            found[result.identity] = result
    return found


def torn_lines(path: Path) -> list[int]:
    """The numbers of the lines that ``read_results`` skips, from 1.

    Raises:
        OSError: the file is there, but cannot be read.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [number for number, line in enumerate(lines, start=1) if _is_torn(line)]


def _is_torn(line: bytes) -> bool:
    """Whether a line is no JSON: its writer was killed, or somebody has edited it."""
    try:
        msgspec.json.decode(line.strip() or b"0")
    except msgspec.DecodeError:
        return True
    return False


def _parsed(path: Path, lines: Iterable[bytes]) -> Generator[RunResult]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or _is_torn(line):
            continue
        try:
            yield msgspec.json.decode(line, type=RunResult)
        except msgspec.ValidationError as error:
            raise StudyError(f"{path}, line {number}: {error}. Remove the line") from error


@contextlib.contextmanager
def _locked(descriptor: int) -> Generator[None]:
    """Hold a lock on an open file; nothing is locked where the file system has none."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)

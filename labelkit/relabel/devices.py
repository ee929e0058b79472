"""One process for each of several devices of this machine, all of which write one file."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labelkit.errors import LabelkitError, first_line
from labelkit.files import file_state
from labelkit.label_maps import LabelMapFile
from labelkit.memory import keep_freed_memory
from labelkit.relabel.local import relabel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from labelkit.relabel.local import ReuseBy
    from labelkit.relabel.settings import Settings
    from labelkit.relabel.sharing import Share
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher

_PATIENCE = 10.0


@dataclass(frozen=True)
class DeviceJob:
    """What a process on another device does; it is sent there.

    Attributes:
        images: all images.
        output: the file.
        settings: of the maps.
        load: the teachers on a device, by the device's name.
        reuse: as ``relabel`` takes it, but a path.
        overwrite: likewise.
        retry_failed: likewise.
        reuse_by: likewise.
    """

    images: ImageSource
    output: Path
    settings: Settings
    load: Callable[[str], list[Teacher]]
    reuse: Path | None = None
    overwrite: bool = False
    retry_failed: bool = False
    reuse_by: ReuseBy = "key"


@dataclass
class Helpers:
    """The processes that have been started.

    Attributes:
        processed: how many images those processed that have ended.
        failed: why others have ended, a line each.
    """

    processed: int = 0
    failed: list[str] = field(default_factory=list[str])


@contextlib.contextmanager
def helpers(job: DeviceJob, devices: Sequence[str], shares: Sequence[Share]) -> Generator[Helpers]:
    """Start a process for each device, which makes shards until none is left for it.

    Enter it around ``relabel``: this process waits there for the shards of the others, takes over
    those of a process that dies, and joins all.

    Args:
        job: what to do.
        devices: torch's names; one device may be named several times.
        shares: where each process begins.
    """
    context = multiprocessing.get_context("spawn")  # CUDA cannot be used after a fork
    found = Helpers()
    before = file_state(job.output)
    started: list[tuple[str, Any, Connection]] = []
    for device, share in zip(devices, shares, strict=True):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_help, args=(job, device, share, before, there))
        process.start()
        there.close()
        started.append((device, process, here))
    try:
        yield found
    finally:
        # All is done, or this process was stopped: what another one still makes is saved.
        for device, process, connection in started:
            _collect(found, device, process, connection)


def _collect(found: Helpers, device: str, process: Any, connection: Connection) -> None:  # noqa: ANN401 -- of a context
    """End a process, and add what it has reported before."""
    late = process.is_alive()
    if late:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
        process.join(_PATIENCE)
        process.kill()
    process.join()
    try:
        processed, error = connection.recv() if connection.poll() else (0, "")
    except EOFError:
        processed, error = 0, ""
    found.processed += processed
    if error or (process.exitcode and not late):
        reason = error or f"the process ended with exit code {process.exitcode}"
        found.failed.append(f"{device}: {reason}. Its images were left to the other processes.")


def _help(
    job: DeviceJob,
    device: str,
    share: Share,
    before: tuple[int, int] | None,
    connection: Connection,
) -> None:
    keep_freed_memory()
    try:
        teachers = job.load(device)
        # The first process may have retried all that failed, and replaced the file.
        late = job.retry_failed and file_state(job.output) != before
        connection.send((0 if late else _make(job, teachers, share), ""))
    except KeyboardInterrupt:
        connection.send((0, ""))
    except (LabelkitError, OSError, RuntimeError, MemoryError) as error:
        connection.send((0, first_line(error)))


def _make(job: DeviceJob, teachers: list[Teacher], share: Share) -> int:
    def stop_with_parent(_done: int, _total: int) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        reuse: Any = job.reuse
        if job.reuse and not job.reuse.is_dir():
            reuse = stack.enter_context(LabelMapFile.open(job.reuse))
        return relabel(
            job.images,
            teachers,
            job.output,
            job.settings,
            on_progress=stop_with_parent,
            reuse=reuse,
            reuse_by=job.reuse_by,
            overwrite=job.overwrite,
            retry_failed=job.retry_failed,
            share=share,
            part="make",
        ).processed

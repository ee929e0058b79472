"""Processes that can be killed, and disks that fail."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from pathlib import Path

FORK = multiprocessing.get_context("fork")


def start(work: Callable[[], object]) -> tuple[BaseProcess, Any]:
    """Run work in a process; the other end of the pipe gets what it returns."""
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: there.send(work()))
    process.start()
    there.close()
    return process, here


def run_together(work: Sequence[Callable[[], object]]) -> list[Any]:
    """Run work in one process each, at the same time; what they return."""
    running = [start(each) for each in work]
    found = [pipe.recv() for _, pipe in running]
    for process, _ in running:
        process.join()
    return found


def die_at(images: int) -> Callable[[int, int], None]:
    """Progress that kills its process once so many images are done."""

    def die(done: int, _total: int) -> None:
        if done >= images:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def slowly(done: int, total: int) -> None:
    """Progress that takes a moment, so that processes meet."""
    del done, total
    time.sleep(0.02)


@contextmanager
def small_disk(folder: Path, options: str = "rw") -> Iterator[Path]:
    """A disk of 256 KiB, mounted with further options; skips where it cannot be had."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size=256k,{options}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)

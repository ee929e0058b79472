"""Run work in processes of its own, which can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.process import BaseProcess

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

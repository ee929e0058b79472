"""Processes that do the work, in no order, a bounded number of tasks ahead; torch is not loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import TYPE_CHECKING, TypeVar

from labelkit.errors import PrepareError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Key = TypeVar("Key")
Task = TypeVar("Task")
Outcome = TypeVar("Outcome")

_AHEAD = 4  # tasks per worker that are submitted or waiting


def outcomes(
    work: Callable[[Task], Outcome], tasks: Iterable[tuple[Key, Task]], workers: int
) -> Iterator[tuple[Key, Outcome]]:
    """Do tasks as workers become free; the outcome of each comes with its key.

    Args:
        work: a function of a module, which other processes can import.
        tasks: made one at a time, when there is room.
        workers: processes; 0 does the work here.

    Raises:
        PrepareError: a worker was killed.
        Exception: what ``work`` raises; the other tasks are abandoned.
    """
    if not workers:
        yield from ((key, work(task)) for key, task in tasks)
        return
    # Not forked from here, where threads draw progress bars, but from a process without any.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    pool = ProcessPoolExecutor(workers, context, _begin)
    try:
        yield from _in_pool(pool, work, iter(tasks), _AHEAD * workers)
    except BrokenProcessPool as error:
        raise PrepareError(
            "a worker process was killed, most likely because memory ran out: run the same "
            "command again to resume, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_pool(
    pool: ProcessPoolExecutor,
    work: Callable[[Task], Outcome],
    tasks: Iterator[tuple[Key, Task]],
    most: int,
) -> Iterator[tuple[Key, Outcome]]:
    pending: dict[Future[Outcome], Key] = {}
    more = True
    while more or pending:
        while more and len(pending) < most:
            found = next(tasks, None)
            if found is None:
                more = False
            else:
                pending[pool.submit(work, found[1])] = found[0]
        done, _ = wait(pending, return_when=FIRST_COMPLETED) if pending else ((), ())
        for future in done:
            yield pending.pop(future), future.result()


def _begin() -> None:
    """Leave Ctrl-C to the main process, and end with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)

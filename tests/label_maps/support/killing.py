"""Run work in a separate process that dies by ``kill -9`` after a chosen step."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from itertools import count
from typing import TYPE_CHECKING, Any

import h5py

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = (
    (os, "mkdir"),
    (os, "link"),
    (os, "replace"),
    (os, "fsync"),
    (os, "unlink"),
    (os, "rmdir"),
    (h5py.Group, "create_dataset"),
    (h5py.File, "close"),
)


def deaths(work: Callable[[], object]) -> Iterator[None]:
    """Run the work repeatedly, killed one step later each time, until it finishes.

    A step is a call that changes the disk. Yields after each death.
    """
    for step in count(1):
        pid = os.fork()
        if not pid:
            _work(work, step)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return
        assert code == -signal.SIGKILL, f"step {step}: the work failed with {code}"
        yield


def _work(work: Callable[[], object], step: int) -> None:
    left = step

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            reads = isinstance(arguments[0], h5py.File) and arguments[0].mode == "r"
            result = call(*arguments, **options)
            left -= not reads
            if not left:
                if isinstance(result, h5py.Dataset):
                    result.file.flush()  # so that the half-written file is on the disk
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return calling

    try:
        for owner, name in STEPS:
            setattr(owner, name, dying(getattr(owner, name)))
        work()
    except BaseException:  # noqa: BLE001 -- the child must end here in any case
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)

"""Locks on files: between processes of one machine, and released however a process ends."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_open: set[int] = set()


@contextmanager
def lock_file(path: Path) -> Generator[int]:
    """Open a file to lock it, and create it if there is none.

    Yields:
        The descriptor, open for reading and writing. Forked processes, such as data-loading
        workers, do not keep it: they may outlive a killed parent by seconds.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _open.add(descriptor)
    try:
        yield descriptor
    finally:
        _open.discard(descriptor)
        os.close(descriptor)


def take_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, without waiting.

    Args:
        descriptor: the open file.
        shared: let others take a shared lock too.

    Returns:
        False if another process holds the lock. True on a file system without locks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _close_in_child() -> None:
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)

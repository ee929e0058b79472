"""A claim on a run, so that two processes never train the same one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from labelkit.locks import lock_file, take_lock

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextmanager
def claimed(path: Path) -> Generator[bool]:
    """Hold the claim ``path``, a file; it ends with this process, however that ends.

    Yields:
        False if another process holds it. True on a file system without locks.

    Raises:
        OSError: the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(path) as descriptor:
        yield take_lock(descriptor)

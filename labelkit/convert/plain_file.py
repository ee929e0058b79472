"""Refuse what is no plain file before it is opened: to open a pipe may wait for ever."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.errors import LabelkitError


def require_plain_file(path: Path, error: type[LabelkitError]) -> None:
    """Raise where a path is that of a pipe, a device or a socket, or of a link to one.

    A folder passes: to open it is the system's error at once.

    Args:
        path: the file, which is not opened.
        error: what to raise.

    Raises:
        LabelkitError: it is one of them; of the type ``error``.
        OSError: there is no such file, or it may not be looked at.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise error(f"{path} is no plain file: copy what it gives into one, and name that")

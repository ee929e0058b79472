"""Keep freed memory in the process, so that every batch does not fault its pages in again.

glibc gives large buffers back to the system as soon as they are freed. On a CPU, torch frees and
allocates the same buffers for every batch, and a third of relabelling went into page faults. Loads
no torch.
"""

from __future__ import annotations

import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 1 << 25  # half of glibc's largest heap; it refuses more
_KEPT = 1 << 30
_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let glibc reuse freed buffers of up to 32 MiB and keep up to 1 GiB of free memory.

    Call it once, before the first tensor. Child processes that are forked inherit it. Peak memory
    hardly changes; memory returns to the system later.

    Returns:
        Whether it took effect: False where the C library is not glibc (macOS, Windows, Alpine), or
        where the environment configures malloc already.
    """
    if any(name in os.environ for name in _SETTINGS) or "malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    ):
        return False
    import ctypes  # late: it takes a while to import

    try:
        libc = ctypes.CDLL("libc.so.6")
        _ = libc.gnu_get_libc_version
    except (OSError, AttributeError):
        return False
    options = {_MMAP_THRESHOLD: _LARGEST_MMAP_THRESHOLD, _TRIM_THRESHOLD: _KEPT}
    accepted = [libc.mallopt(option, value) for option, value in options.items()]
    return accepted == [1, 1]

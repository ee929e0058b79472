"""Relabel a folder in shards of one image, in a process that a test can kill."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from pathlib import Path

from labelkit.relabel import Settings, relabel
from labelkit.teachers import load_teacher


def main(photos: str, output: str, how: str = "") -> None:
    """Relabel; ``slowly`` waits in the second shard.

    ``without worker`` kills the decoding worker, ``small files`` limits its files to below 4 KiB.
    ``without worker in head`` kills it while the teacher computes. ``little memory`` leaves less
    memory than a large image takes.
    """
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    workers = 1 if how in {"without worker", "without worker in head", "small files"} else 0
    settings = Settings(sizes=(96,), batch_size=1, shard_rows=1, workers=workers)

    if how == "without worker in head":
        teacher.model.classifier.register_forward_hook(lambda *_: _kill_workers())
    if how == "little memory":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), used + (200 << 20)))

    def disturb(done: int, _: int) -> None:
        if how == "slowly" and done > 1:
            time.sleep(99)
        for child in multiprocessing.active_children() if workers else ():
            if how == "small files":
                resource.prlimit(int(child.pid or 0), resource.RLIMIT_FSIZE, (4095, 4095))
            elif how == "without worker":
                os.kill(int(child.pid or 0), signal.SIGKILL)

    relabel(photos, teacher, output, settings, on_progress=disturb)


def _kill_workers() -> None:
    """Kill the decoding workers, and wait until the system has told this process."""
    for child in multiprocessing.active_children():
        os.kill(int(child.pid or 0), signal.SIGKILL)
        os.waitid(os.P_PID, int(child.pid or 0), os.WEXITED | os.WNOWAIT)


if __name__ == "__main__":
    main(*sys.argv[1:])

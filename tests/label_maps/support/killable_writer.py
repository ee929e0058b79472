"""A writer of label maps that dies by ``kill -9`` at a step or at a moment that a test chooses.

``python -m tests.label_maps.support.killable_writer`` reads requests from standard input, one JSON
object per line: ``path``, the file to write; ``step``, after how many steps to die, 0 for never;
``moment``, after how many seconds to be killed, null for never; ``writers``, how many write that
file concurrently. Each writer is a separate process, forked after all imports. The reply is one
line: ``status``, the exit statuses, negative for a signal; ``step``, the names of the steps after
which the writers died; ``seconds`` that they ran.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from labelkit import files
from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, LabelMapWriter, MapForm
from tests.label_maps.support.killing import STEPS
from tests.label_maps.support.random_maps import random_maps

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = (
    MapForm(top_k=2, grid=(3, 4), background=3),
    MapForm(selection="image", top_k=2, grid=(2, 2), background=3, patterns=1),
)
CLASSES = ClassList.of([f"class {n}" for n in range(20)], "twenty")
UNREADABLE = {"d/05.jpg": "torn", "d/11.jpg": "not an image"}


def open_writer(path: Path, *, overwrite: bool = False) -> LabelMapWriter:
    """The writer that every process of a crash test opens."""
    return LabelMapWriter(
        path,
        classes=CLASSES,
        keys=[f"d/{n:02d}.jpg" for n in range(14)],
        forms=FORMS,
        source={"teacher": "none"},
        made_with={"numpy": "any"},
        shard_rows=7,
        overwrite=overwrite,
    )


def write_maps(path: Path) -> None:
    """Write what is missing; the maps of a shard are always the same."""
    if path.exists():
        LabelMapFile.open(path).close()
        return
    write_shards(open_writer(path))


def write_shards(made: LabelMapWriter) -> None:
    """Write the missing shards, and finish the file."""
    for shard in made.pending():
        keys = made.keys[shard.start : shard.stop]
        unreadable = {key: UNREADABLE[key] for key in keys if key in UNREADABLE}
        rng = np.random.default_rng(shard.number)
        count = len(keys) - len(unreadable)
        maps = [random_maps(rng, count, form, len(CLASSES)) for form in FORMS]
        made.commit(shard, maps, unreadable)
    made.finalize().close()


def write_among_others(path: Path) -> None:
    """Write as one of several writers, whose files may come and go at any time."""
    for _ in range(20):
        try:
            write_maps(path)
        except (OSError, LabelMapError):  # another writer finished, and removed the shards
            continue
        return
    write_maps(path)


def die_after(step: int, report: int) -> None:
    """Count what reaches the disk from now on, and die after the given step.

    Args:
        step: 1 for the first one.
        report: where to write the name of the step before dying.
    """
    done = 0

    def count(name: str, result: object = None) -> None:
        nonlocal done
        done += 1
        if done == step:
            if isinstance(result, h5py.Dataset):
                result.file.flush()  # so that the half-written file is on the disk
            os.write(report, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            reads = isinstance(arguments[0], h5py.File) and arguments[0].mode == "r"
            result = call(*arguments, **options)
            if not reads:
                count(call.__qualname__, result)
            return result

        return counting

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    write = files._write

    def write_in_halves(
        path: Path, content: bytes | Callable[[Path], object], *, sync: bool = True
    ) -> None:
        def halves(path: Path) -> None:
            path.write_bytes(content[: len(content) // 2])
            count("half of a file")
            path.write_bytes(content)
            count("a file")

        write(path, halves if isinstance(content, bytes) else content, sync=sync)

    files._write = write_in_halves


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Write in separate processes, kill those still running at the moment, and report."""
    started = time.perf_counter()
    end, report = os.pipe()
    children = []
    for _ in range(request["writers"]):
        children.append(os.fork())
        if not children[-1]:
            _be_child(request, report)
    os.close(report)
    finished, _, _ = select.select([end], [], [], request["moment"])
    if not finished:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    names = os.read(end, 1000).decode()
    os.close(end)
    return {"status": codes, "step": names, "seconds": time.perf_counter() - started}


def _be_child(request: dict[str, Any], report: int) -> None:
    try:
        die_after(request["step"], report)
        work = write_maps if request["writers"] == 1 else write_among_others
        work(Path(request["path"]))
    except BaseException:  # noqa: BLE001 -- the child must end here in any case
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201 -- the reply

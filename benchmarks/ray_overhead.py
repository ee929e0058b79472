"""``relabel`` by one actor of a Ray cluster on this machine, against the local engine.

The time from the first shard that is handed out to the last one that is finished, without what each
engine takes to start. Decoding in the same process, one thread each.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from labelkit.relabel import RayEngine, Settings, Stages, relabel
from labelkit.sources import open_source
from labelkit.teachers import load_teacher

if TYPE_CHECKING:
    from labelkit.teachers import Teacher

ROUNDS = 3


def seconds(photos: str, teacher: Teacher, engine: RayEngine | None) -> float:
    """How long the shards of one run take."""
    settings, stages = Settings(workers=0, shard_rows=16, calibration=None), Stages()
    with tempfile.TemporaryDirectory() as output:
        path = Path(output) / "maps.h5"
        relabel(photos, teacher, path, settings, engine=engine, stages=stages)
    return stages.elapsed


def main(folder: str) -> str:
    """One line: milliseconds per image of both, medians of interleaved rounds."""
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    count = len(open_source(folder).keys)
    found: dict[bool, list[float]] = {False: [], True: []}
    with RayEngine("local", 1, 1, "cpu") as engine:
        for _ in range(ROUNDS):
            for on_ray, times in found.items():
                times.append(seconds(folder, teacher, engine if on_ray else None) / count)
    local, on_ray = (statistics.median(times) for times in found.values())
    return (
        f"relabel {count} photos: {local * 1e3:.1f} ms/image local, {on_ray * 1e3:.1f} ms/image in "
        f"one actor of Ray ({on_ray / local - 1:+.1%})"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(sys.argv[1])}  (python benchmarks/ray_overhead.py FOLDER)")

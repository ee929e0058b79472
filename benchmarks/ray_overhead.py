"""``relabel`` by one actor of a Ray cluster on this machine, against the local engine.

Both make the maps of all images of a folder and of a quarter of them. The difference is the time of
the other three quarters, without what each engine takes to start. Decoding in the same process,
one thread each.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from labelkit.relabel import RayEngine, Settings, relabel
from labelkit.sources import open_source
from labelkit.teachers import load_teacher

if TYPE_CHECKING:
    from labelkit.teachers import Teacher

ROUNDS = 3


def seconds(photos: Path, teacher: Teacher, engine: RayEngine | None) -> float:
    """How long one run takes."""
    settings = Settings(workers=0, shard_rows=16, calibration=None)
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        relabel(photos, teacher, Path(output) / "maps.h5", settings, engine=engine)
        return time.perf_counter() - start


def main(folder: str) -> str:
    """One line: seconds per image of both, medians of interleaved rounds."""
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    keys = open_source(folder).keys
    with tempfile.TemporaryDirectory() as few, RayEngine("local", 1, 1, "cpu") as engine:
        for number, key in enumerate(keys[::4]):
            (Path(few) / f"{number}{Path(key).suffix}").symlink_to(Path(folder, key).resolve())
        images = len(keys) - len(keys[::4])
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for on_ray, times in found.items():
                whole, part = (
                    seconds(each, teacher, engine if on_ray else None)
                    for each in (Path(folder), Path(few))
                )
                times.append((whole - part) / images)
    local, on_ray = (statistics.median(times) for times in found.values())
    return (
        f"relabel {len(keys)} photos: {local * 1e3:.1f} ms/image local, {on_ray * 1e3:.1f} "
        f"ms/image in one actor of Ray ({on_ray / local - 1:+.1%})"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(sys.argv[1])}  (python benchmarks/ray_overhead.py FOLDER)")

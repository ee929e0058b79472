"""``relabel`` against the teacher's bare forward pass over the same images.

For the bare passes, one as the model has it and one with its head at every position, images are
decoded and resized beforehand, so the difference is all that relabel adds: reading, decoding,
resizing, the selection, encoding, writing and checking the file; and once a run, loading workers
and checking that the map's mean is the model's own prediction.
The calibration is left out of both: it takes the same time however many images there are.

The second figure says how many images per second one process could hand to a fast device: the CPU
time of the main process, all threads, less that of the teacher and the selection, per image. It
unpacks decoded batches, hands them over, encodes, compresses, writes, reads back and joins. Here
each photo is there 16 times, at 96 px and in batches of 64.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.relabel import MapMaker, Settings, Stages, relabel
from labelkit.teachers import load_teacher

if TYPE_CHECKING:
    from labelkit.teachers import Teacher

BATCH, ROUNDS, COPIES = 8, 3, 16
SETTINGS = Settings(batch_size=BATCH, calibration=None)
SMALL = Settings(batch_size=64, sizes=(96,), calibration=None)
_begin = MapMaker.begin


class Cost:
    """CPU time from the first batch on, and the teacher's part of it."""

    def __init__(self) -> None:
        self.start, self.teacher, self.images = 0.0, 0.0, 0

    def begin(self, maker: MapMaker, batch):  # noqa: ANN001, ANN201 -- as MapMaker.begin
        """Run the teacher, and count its time."""
        self.start = self.start or time.process_time()
        before = time.thread_time()
        computed = _begin(maker, batch)
        self.teacher += time.thread_time() - before
        self.images += len(batch)
        return computed

    def microseconds(self) -> float:
        """Per image, without the teacher."""
        return (time.process_time() - self.start - self.teacher) / self.images * 1e6


def whole_run(folder: str, teacher: Teacher) -> tuple[float, Stages, float]:
    """Seconds, stages, and bytes per image."""
    stages = Stages()
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        result = relabel(folder, teacher, Path(output) / "maps.h5", SETTINGS, stages=stages)
        seconds = time.perf_counter() - start
        return seconds, stages, result.path.stat().st_size / result.images


def cost_per_image(folder: str, teacher: Teacher) -> float:
    """Microseconds of CPU time beside decoding, teacher and selection."""
    cost = Cost()
    MapMaker.begin = lambda maker, batch: cost.begin(maker, batch)  # noqa: PLW0108 -- binds maker
    with tempfile.TemporaryDirectory() as copies, tempfile.TemporaryDirectory() as output:
        for key in list_images(folder):
            for copy in range(COPIES):
                path = Path(copies, f"{copy}-{key.replace('/', '-')}")
                path.symlink_to(Path(folder, key).resolve())
        relabel(copies, teacher, Path(output) / "maps.h5", SMALL)
        microseconds = cost.microseconds()
    MapMaker.begin = _begin
    return microseconds


def main(folder: str) -> str:
    """One line: images per second of both, medians of interleaved rounds."""
    teacher = load_teacher("efficientnet-lite0")
    keys = list_images(folder)
    size = [teacher.card.size] * 2
    squares = torch.stack(
        [VF.resize(read_image(Path(folder) / key), size, InterpolationMode.BICUBIC) for key in keys]
    )
    bare, dense, runs, costs = [], [], [], []
    for _ in range(ROUNDS):
        for times, forward in ((bare, teacher.logits), (dense, teacher.logits_map)):
            start = time.perf_counter()
            for batch in squares.split(BATCH):
                forward(teacher.normalize(batch))
            times.append(time.perf_counter() - start)
        runs.append(whole_run(folder, teacher))
        costs.append(cost_per_image(folder, teacher))
    once, everywhere = statistics.median(bare), statistics.median(dense)
    total, stages = statistics.median(run[0] for run in runs), runs[-1][1]
    return (
        f"relabel {len(keys)} photos with efficientnet-lite0 at 320 px: bare forward "
        f"{len(keys) / once:.1f} images/s, with the head at every position "
        f"{len(keys) / everywhere:.1f}, relabel {len(keys) / total:.1f} ({once / total:.1%} and "
        f"{everywhere / total:.1%} of them; waiting for images {stages.waiting_share:.1%}, "
        f"selecting {stages.selecting / stages.elapsed:.1%}); "
        f"{runs[-1][2]:.0f} bytes/image; {statistics.median(costs):.0f} us/image of CPU time "
        f"beside decoding, teacher and selection"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(sys.argv[1])}  (python benchmarks/relabel.py FOLDER)")

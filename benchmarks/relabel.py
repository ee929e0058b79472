"""``relabel`` against the teacher's bare forward pass over the same images.

For the bare pass images are decoded and resized beforehand, so the difference is all that relabel
adds: reading, decoding, resizing, the grid, the selection, encoding, writing and checking the file.
The calibration is left out of both: it takes the same time however many images there are.

The second figure is the CPU time of the main process, all threads, less that of the teacher and the
selection, per image: unpacking decoded batches, handing them over, encoding, compressing, writing.
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

BATCH, ROUNDS = 8, 3
SETTINGS = Settings(batch_size=BATCH, calibration=None)
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


def whole_run(folder: str, teacher: Teacher) -> tuple[float, float, Stages, float]:
    """Seconds, microseconds per image beside the teacher, stages, and bytes per image."""
    cost, stages = Cost(), Stages()
    MapMaker.begin = lambda maker, batch: cost.begin(maker, batch)  # noqa: PLW0108 -- binds maker
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        result = relabel(folder, teacher, Path(output) / "maps.h5", SETTINGS, stages=stages)
        seconds = time.perf_counter() - start
        return seconds, cost.microseconds(), stages, result.path.stat().st_size / result.images


def main(folder: str) -> str:
    """One line: images per second of both, medians of interleaved rounds."""
    teacher = load_teacher("efficientnet-lite0")
    keys = list_images(folder)
    size = [teacher.card.size] * 2
    squares = torch.stack(
        [VF.resize(read_image(Path(folder) / key), size, InterpolationMode.BICUBIC) for key in keys]
    )
    bare, runs = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for batch in squares.split(BATCH):
            teacher.logits(teacher.normalize(batch))
        bare.append(time.perf_counter() - start)
        runs.append(whole_run(folder, teacher))
    forward, total = statistics.median(bare), statistics.median(run[0] for run in runs)
    stages = runs[-1][2]
    return (
        f"relabel {len(keys)} photos with efficientnet-lite0 at 320 px: bare forward "
        f"{len(keys) / forward:.1f} images/s, relabel {len(keys) / total:.1f} images/s "
        f"({forward / total:.1%} of it; waiting for images {stages.waiting_share:.1%}, selecting "
        f"{stages.selecting / stages.elapsed:.1%}); "
        f"{statistics.median(run[1] for run in runs):.0f} us/image beside decoding, teacher and "
        f"selection; {runs[-1][3]:.0f} bytes/image"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(sys.argv[1])}  (python benchmarks/relabel.py FOLDER)")

"""A tiny teacher and photos for the tests of the cluster, and what goes wrong in its actors."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from labelkit.relabel import RayEngine, Settings, relabel
from tests.teachers.support import random_teacher

if TYPE_CHECKING:
    from torch import nn

    from labelkit.teachers import Teacher

SETTINGS = Settings(sizes=(32,), batch_size=2, shard_rows=4, workers=0, calibration=None)
IMAGES = 40


def draw_photos(folder: Path, count: int = IMAGES) -> Path:
    """Noise, each image of its own, and one that is damaged."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    (folder / "017.png").write_bytes(b"no image")
    return folder


class Accidents:
    """Called with every batch of a teacher; does what the files of a folder say, once each.

    ``kill``, ``exit``, ``_exit``, ``hang`` or ``nan``; ``kill always`` and ``slow SECONDS`` stay,
    ``kill after 3`` happens after the third shard. Only in a process that has claimed a shard, so
    not while the teacher is loaded.

    Args:
        folder: with these files.
        parts: the folder of shards.
    """

    def __init__(self, folder: Path, parts: Path) -> None:
        self.folder, self.parts = folder, parts

    def __call__(self, _layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        """A forward hook."""
        if not self._at_a_shard():
            return
        finished = len([*self.parts.glob("[0-9]*.json")])
        for file in sorted(self.folder.iterdir(), reverse=True):  # slow first
            how, *more = file.name.split()
            if more[:1] == ["after"] and finished < int(more[1]):
                continue
            if not more or more[0] == "after":
                try:
                    file.unlink()
                except FileNotFoundError:
                    continue  # it happens to another actor
            self._happen(how, more, output)

    def _at_a_shard(self) -> bool:
        mine = f'"process":{os.getpid()},'
        for claim in self.parts.glob("*.claim"):
            with suppress(FileNotFoundError):
                if mine in claim.read_text():
                    return True
        return False

    @staticmethod
    def _happen(how: str, more: list[str], output: torch.Tensor) -> None:
        match how:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                sys.exit(3)
            case "_exit":
                os._exit(4)
            case "hang":
                time.sleep(999)
            case "slow":
                time.sleep(float(more[0]))
            case "nan":
                output.fill_(float("nan"))


def prone_teacher(folder: Path, output: Path) -> Teacher:
    """A teacher to whom the accidents in a folder happen."""
    folder.mkdir(exist_ok=True)
    teacher = random_teacher("test_resnet", size=32)
    accidents = Accidents(folder, output.with_name(f"{output.name}.parts"))
    teacher.model.get_submodule("conv1").register_forward_hook(accidents)
    return teacher


def main(address: str, photos: str, accidents: str, output: str, engine: str) -> None:
    """Relabel in a process that a test can kill, on its cluster or alone."""
    torch.set_num_threads(1)
    teacher = prone_teacher(Path(accidents), Path(output))
    if engine == "local":
        relabel(photos, teacher, output, SETTINGS)
        return
    with RayEngine(address, cpus_per_actor=1) as cluster:
        relabel(photos, teacher, output, SETTINGS, engine=cluster)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""``prepare`` of many small files against plain loops over the same files.

The loops run in as many processes, in chunks of as many images, and keep no record of anything:
"resize" reads, decodes and resizes; "resize and save" also encodes, writes files and flushes them
to the disk. The difference to the second is all that prepare adds: listing, checksums, the split,
the manifest, and folders that appear whole.

Nothing is removed between rounds: ext4 reuses no file number for a minute after its file was
removed, and looks past all such numbers for each new file, which then takes ten times as long.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image
from skimage import data

from labelkit.prepare import PrepareSettings, prepare

CHUNK = 32


def make_dump(folder: Path, files: int, side: int) -> None:
    """Photos of ``side`` pixels and about its 4/3, in classes of 500."""
    photos = [Image.fromarray(each()) for each in (data.chelsea, data.coffee, data.astronaut)]
    for number in range(files):
        left, top = 3 * number % 150, 2 * number % 100
        crop = photos[number % 3].crop((left, top, left + 280, top + 210))
        path = folder / f"n{number // 500:08d}" / f"n{number // 500:08d}_{number % 500}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.resize((side * 4 // 3, side)).save(path, quality=90)


def plain_loop(paths: list[Path], *, side: int, out: Path | None) -> None:
    """Read, decode and resize some images; save them if there is a folder for it."""
    for path in paths:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            resized = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        if out is not None:
            file = io.BytesIO()
            resized.save(file, "JPEG", quality=95)
            (out / path.parent.name / path.name).write_bytes(file.getvalue())


def run_loop(paths: list[Path], side: int, out: Path | None, workers: int) -> None:
    """The loop in several processes."""
    for folder in {path.parent.name for path in paths} if out else ():
        (out / folder).mkdir(parents=True)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(plain_loop, side=side, out=out), chunks))
    if out is not None:
        os.sync()  # as prepare does, and so that no way waits for the files of another


def main(files: int, side: int, resize: int, workers: int, rounds: int) -> str:
    """One line: images per second of the three, medians of interleaved rounds."""
    times: dict[str, list[float]] = {"resize": [], "resize and save": [], "prepare": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "dump")
        make_dump(source, files, side)
        paths = sorted(source.rglob("*.JPEG"))
        settings = PrepareSettings(min_images=100, val=50, resize=resize)
        for number in range(rounds):
            out = Path(folder, f"saved-{number}")
            prepared = Path(folder, f"prepared-{number}")
            ways = {
                "resize": partial(run_loop, paths, resize, None, workers),
                "resize and save": partial(run_loop, paths, resize, out, workers),
                "prepare": partial(prepare, source, prepared, settings, workers=workers),
            }
            for name, run in ways.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    resizing, saving, preparing = (statistics.median(each) for each in times.values())
    return (
        f"prepare {files:,} photos of {side} px to {resize} px, {workers} workers: "
        f"{files / preparing:,.0f} images/s; resizing alone {files / resizing:,.0f} "
        f"(prepare takes {preparing / resizing - 1:+.1%}), resizing and saving "
        f"{files / saving:,.0f} ({preparing / saving - 1:+.1%})"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option, default in (("files", 5000), ("side", 96), ("resize", 64)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = vars(parser.parse_args())
    options = " ".join(f"--{name} {value}" for name, value in chosen.items())
    print(f"{main(**chosen)}  (python benchmarks/prepare.py {options})")

"""The memory of ``labelkit relabel`` over many small generated JPEGs, while it runs.

The proportional set size of the command and its workers, from /proc once a second: the most of it
around a tenth, half and nine tenths of the time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prepare import make_dump


def family(root: int) -> list[int]:
    """A process and all below it."""
    found = [root]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def megabytes(root: int) -> float:
    """The memory of a process and all below it; pages in use by several are counted once."""
    total = 0
    for each in family(root):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        total += sum(map(int, re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)))
    return total / 1024


def main(files: int, size: int, workers: int) -> str:
    """One line: megabytes at a tenth, half and the end."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "images"), Path(folder, "maps.h5")
        make_dump(source, files, 72)
        labelkit = Path(sys.executable).with_name("labelkit")
        command = f"{labelkit} relabel {source} --size {size} --workers {workers} -o {output}"
        samples: list[float] = []
        start = time.monotonic()
        with subprocess.Popen(command.split(), stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                samples.append(megabytes(process.pid))
                time.sleep(1)
        seconds = time.monotonic() - start
        assert process.returncode == 0, process.returncode
        assert output.exists()
    early, middle, late = (
        max(samples[int((at - 0.05) * len(samples)) : int((at + 0.05) * len(samples)) + 1])
        for at in (0.1, 0.5, 0.9)
    )
    return (
        f"relabel {files:,} generated JPEGs at {size} px in {seconds:.0f} s: {early:.0f} MB around "
        f"a tenth of the time, {middle:.0f} MB around half, {late:.0f} MB around nine tenths; "
        f"{max(samples):.0f} MB at any time"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    line = main(**vars(options))
    given = " ".join(f"--{name} {value}" for name, value in vars(options).items())
    print(f"{line}  (python benchmarks/relabel_memory.py {given})")

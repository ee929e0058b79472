"""Writing and opening take the same few MB of memory for any number of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, resource, sys
from pathlib import Path
from labelkit.label_maps import LabelMapFile
from tests.label_maps.test_rows import write_keys

class Keys:
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __iter__(self): return (f"{n // 1000:05d}/{n:09d}.jpg" for n in range(self.count))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def use(name, count):
    path = write_keys(Path(sys.argv[1]) / name, Keys(count))
    written = peak()
    with LabelMapFile.open(path) as file:
        assert len(file) == count
        assert file.position(f"{(count - 1) // 1000:05d}/{count - 1:09d}.jpg") == count - 1
        file.at(count // 2)
        assert sum(1 for _ in file) == count
    return written, peak()

use("small.h5", 20_000)
before = peak()
written, opened = use("large.h5", 300_000)
size = (Path(sys.argv[1]) / "large.h5").stat().st_size
print(json.dumps([size / 1024, written - before, opened - before]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts memory in other units")
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    """A file of 18 MiB with fifteen times as many rows only adds a sample of its keys."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True, check=True
    )
    size, written, opened = json.loads(run.stdout)
    assert size > 16_000
    assert written < 2_000
    assert opened < 5_000

"""Freed buffers stay with the process: a fact that page faults count exactly, without a clock."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from labelkit.memory import keep_freed_memory

print(keep_freed_memory() if sys.argv[1] == "keep" else None)

def batches():
    for _ in range(20):
        held = [bytes(1 << 24) for _ in range(2)]
        del held

batches()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
batches()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(mode: str, **environment: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    took_effect, faults = done.stdout.split()
    return took_effect, int(faults)


@pytest.mark.skipif(
    "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"), reason="the C library is not glibc"
)
def test_a_freed_buffer_is_not_faulted_in_again():
    took_effect, kept = run("keep")
    _, returned = run("leave")
    assert took_effect == "True"
    assert kept < returned / 20


def test_settings_of_the_environment_win():
    assert run("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"

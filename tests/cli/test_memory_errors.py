"""A command that runs out of memory says so in one line, and blames nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The limit is set once everything is imported: torch alone maps gigabytes.
SCRIPT = """
import re, resource, sys, timm, torch
from pathlib import Path
from labelkit.cli import run
from labelkit.cli import {module}
import labelkit.hierarchy.class_sources, labelkit.teachers.loading
torch.ones(8, 8) @ torch.ones(8, 8)
now = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (now + {more} * 2**20, resource.RLIM_INFINITY))
sys.exit(run(sys.argv[1:]))
"""
CARD = """
model = "{model}"
classes = "imagenet-1k"
size = 224
native_size = 224
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bilinear"
[weights]
file = "w.pth"
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs limits on memory")


def limited(folder, module, more, *arguments):
    """The output of a command that may take ``more`` MB on top of its imports."""
    script = SCRIPT.format(module=module, more=more)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_class_list_that_does_not_fit(tmp_path):
    (tmp_path / "classes.txt").write_text("".join(f"class {at}\n" for at in range(600_000)))
    printed = limited(tmp_path, "build_tree", 20, "build-tree", "classes.txt", "-o", "tree.json")
    assert printed.startswith("Error: not enough memory")


def test_a_model_that_does_not_fit_is_no_matter_of_weights_or_networks(tmp_path):
    (tmp_path / "card.toml").write_text(CARD.format(model="vit_large_patch16_224"))
    printed = limited(
        tmp_path, "teachers", 200, "teachers", "check", "card.toml", "--device", "cpu"
    )
    assert printed.startswith("Error: not enough memory to load card: ")

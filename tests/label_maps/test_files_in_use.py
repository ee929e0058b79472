"""A label-map file that is open for writing is not reported as damaged."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import pytest

from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile
from tests.label_maps.support.small_files import make

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
import h5py
with h5py.File(sys.argv[1], "w", libver="latest") as file:
    file["x"] = 1
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_file_open_for_writing_in_another_program_is_reported(tmp_path: Path) -> None:
    """It must not be deleted: it may be intact."""
    path = tmp_path / "maps.h5"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        message = r"maps\.h5 is open for writing in another program: wait for it, or close it"
        with pytest.raises(LabelMapError, match=message):
            LabelMapFile.open(path)
        writer.communicate()
    with pytest.raises(LabelMapError, match="not a label-map file"):
        LabelMapFile.open(path)


def test_a_file_open_for_writing_in_this_program_is_reported(tmp_path: Path) -> None:
    path = make(tmp_path / "maps.h5", ["a.jpg"]).path
    with h5py.File(path, "r+"), pytest.raises(LabelMapError, match="already open in this program"):
        LabelMapFile.open(path)
    assert len(LabelMapFile.open(path)) == 1

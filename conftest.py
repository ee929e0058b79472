"""Runs the code blocks of README.md and docs/ as tests.

Each document has a folder of its own, with four photos in ``photos``. Python blocks run as they
are; lines of ``sh`` blocks that begin with ``labelkit`` run as commands and must succeed.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

# Several test processes at work: one thread each is faster than all of them each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

if TYPE_CHECKING:
    from sybil import Example


def run_commands(example: Example) -> None:
    """Run the lines of one block that begin with ``labelkit``; each must succeed."""
    from labelkit.cli import run

    for line in example.parsed.splitlines():
        if line.startswith("labelkit "):
            arguments = shlex.split(line, comments=True)[1:]
            output = io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                code = run(arguments)
            assert code == 0, f"{line}\n{output.getvalue()}"


def enter_folder(namespace: dict[str, object]) -> None:
    """Go to a new folder with photos in it."""
    from tests.photos import write_photos

    folder = tempfile.TemporaryDirectory()
    namespace["_folder"], namespace["_back"] = folder, Path.cwd()
    os.chdir(folder.name)
    write_photos(Path("photos"))


def leave_folder(namespace: dict[str, object]) -> None:
    """Go back, and remove the folder."""
    os.chdir(str(namespace["_back"]))
    folder = namespace["_folder"]
    assert isinstance(folder, tempfile.TemporaryDirectory)
    folder.cleanup()


pytest_collect_file = Sybil(
    parsers=[
        SkipParser(),
        PythonCodeBlockParser(),
        CodeBlockParser(language="sh", evaluator=run_commands),
    ],
    patterns=["README.md", "docs/*.md"],
    setup=enter_folder,
    teardown=leave_folder,
).pytest()

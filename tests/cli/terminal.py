"""The command line at a real (pseudo) terminal, with a user who answers its prompts."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROMPT = "]: "
KEYS = frozenset({"\x03", "\x04"})  # Ctrl-C and Ctrl-D
PATIENCE = 60  # times a second without a byte, after which the command is taken to hang


def at_terminal(
    arguments: Sequence[str], answers: Sequence[str], folder: Path, stdout: str | None = None
) -> tuple[int, str]:
    r"""Run ``labelkit ARGUMENTS``, typing one answer at each prompt; its exit code and its screen.

    Args:
        arguments: the command line.
        answers: ``"\x03"`` presses Ctrl-C and ``"\x04"`` Ctrl-D; after others comes Enter.
        folder: the current directory.
        stdout: a file in it to which stdout goes, instead of the screen.
    """
    here, there = pty.openpty()
    output = os.open(folder / stdout, os.O_WRONLY | os.O_CREAT) if stdout else os.dup(there)
    with subprocess.Popen(
        [sys.executable, "-m", "labelkit", *arguments],
        stdin=there,
        stdout=output,
        stderr=there,
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb"},
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 -- no threads here
    ) as process:
        os.close(there)
        os.close(output)
        try:
            screen = _talk(here, list(answers))
        finally:
            os.close(here)  # hangs up, which ends a command that still waits
    return process.returncode, CONTROL.sub("", screen).replace("\r\n", "\n")


def _talk(terminal: int, answers: list[str]) -> str:
    """All that the command prints, with one answer at each prompt."""
    screen, seen, answer = "", 0, ""
    while piece := _read(terminal, answer):
        screen += piece
        while answers and (at := screen.find(PROMPT, seen)) >= 0:
            seen = at + len(PROMPT)
            answer = answers.pop(0)
            os.write(terminal, answer.encode() if answer in KEYS else f"{answer}\n".encode())
    return screen


def _take_terminal() -> None:
    """Make the terminal the controlling one, so that Ctrl-C reaches the command.

    A shell that runs the tests in the background lets its children ignore Ctrl-C.
    """
    import fcntl
    import signal
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read(terminal: int, answer: str) -> str:
    """What the command printed next; empty once it has ended.

    A key is pressed again if nothing happens: readline misses a Ctrl-C in the moment between
    printing its prompt and waiting for input.
    """
    for _ in range(PATIENCE):
        if select.select([terminal], [], [], 1)[0]:
            break
        if answer in KEYS:
            os.write(terminal, answer.encode())
    else:
        raise AssertionError("the command neither prints nor ends")
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux says that the other end is closed
        return ""

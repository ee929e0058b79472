"""The command line, called in this process with a user's arguments."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from labelkit.cli import run


@dataclass(frozen=True)
class Run:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything printed, on one line."""
        return " ".join((self.out + self.err).split())


def labelkit(*arguments: object) -> Run:
    """Run ``labelkit ARGUMENTS``; a traceback would be this call's own exception."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Run(code, out.getvalue(), err.getvalue())

"""Which process is at work on what, so that those that write one file share the work.

A claim is a small file in the folder of shards: whose it is, and by its time when its owner last
made progress. It is advice: two owners of one claim cost time and nothing else, since the first
one to publish a shard wins.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelkit.files import publish_file

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 300.0
_SUFFIX = ".claim"


class Owner(msgspec.Struct, frozen=True):
    """A process.

    Attributes:
        machine: where it runs: the machine since its last start, and the container.
        process: its number there.
        started: when it started, in the machine's own unit; numbers are given again.
    """

    machine: str
    process: int
    started: int


class Claims:
    """The claims in one folder, and those that this process holds.

    Args:
        folder: where they are; it exists.
        patience: for how many seconds the owner of a claim may make no progress before another
            process takes over.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        self._folder, self._patience = folder, patience
        self._held: set[str] = set()

    @property
    def owner(self) -> Owner:
        """This process, as its claims name it."""
        return _this_process()

    def take(self, name: str) -> bool:
        """Claim something; False if another process that is alive has.

        Raises:
            OSError: the disk is full or refuses.
        """
        path = self._path(name)
        if self._is_abandoned(path):
            path.unlink(missing_ok=True)
        # Whole or not at all: nobody could tell whose an empty claim is.
        if not publish_file(path, msgspec.json.encode(_this_process())):
            return False
        self._held.add(name)
        return True

    def renew(self) -> None:
        """Record that this process has made progress on all that it holds."""
        for name in tuple(self._held):  # another thread may claim meanwhile
            with suppress(FileNotFoundError):
                os.utime(self._path(name))

    def release(self, name: str) -> None:
        """Let go of a claim of this process; nothing happens without one."""
        if name in self._held:
            self._held.discard(name)
            self._path(name).unlink(missing_ok=True)

    def release_all(self) -> None:
        """Let go of all that this process holds."""
        for name in [*self._held]:
            self.release(name)

    def drop(self, owner: Owner) -> list[str]:
        """Remove the claims of a process that is known to have died, on whatever machine.

        Returns:
            What it had claimed.
        """
        dropped: list[str] = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with suppress(OSError, ValueError, msgspec.MsgspecError):
                if msgspec.json.decode(path.read_bytes(), type=Owner) == owner:
                    path.unlink()
                    dropped.append(path.name.removesuffix(_SUFFIX))
        return dropped

    def live(self) -> Iterator[str]:
        """The names of claims whose owners are alive, this process included."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path.exists() and not self._is_abandoned(path):
                yield path.name.removesuffix(_SUFFIX)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _is_abandoned(self, path: Path) -> bool:
        """Whether there is a claim whose owner has died, or has made no progress for long."""
        try:
            content, changed = path.read_bytes(), path.stat().st_mtime
        except FileNotFoundError:
            return False
        owner = None
        with suppress(ValueError, msgspec.MsgspecError):
            owner = msgspec.json.decode(content, type=Owner)
        here = _this_process()
        if owner and owner.machine == here.machine and owner.started != _started(owner.process):
            return True
        # A time in the future is from before the clock was set back: nobody has renewed it since.
        return abs(self._now() - changed) > self._patience

    def _now(self) -> float:
        """The time by the clock of the disk, which is not always that of this machine."""
        probe = self._folder / f".{os.urandom(8).hex()}.tmp"
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


def _this_process() -> Owner:
    return Owner(_machine(), os.getpid(), _started(os.getpid()))


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(process: int) -> int:
    """When a process of this machine started; -1 if there is none, 0 where that is not known."""
    if Path("/proc/self/stat").exists():
        try:
            words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return -1
        return -1 if words[0] in "ZX" else int(words[19])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return -1
    except OSError:
        return 0
    return 0

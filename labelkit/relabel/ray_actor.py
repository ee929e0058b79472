"""Make shards in an actor of a Ray cluster.

The actor gets a job once, then the numbers of shards; what it makes goes to the shared disk, and
only receipts come back. It needs nothing of Ray itself: it is an ordinary object in a process of
its own.
"""

from __future__ import annotations

import copy
import os
import platform
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from labelkit import __version__
from labelkit.errors import LabelkitError
from labelkit.memory import keep_freed_memory
from labelkit.relabel.maps import MapMaker
from labelkit.relabel.shards import ShardMaker, stopped
from labelkit.relabel.stages import Stages
from labelkit.teachers import move_teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.label_maps import LabelMapWriter, MapForm, Owner, Shard
    from labelkit.relabel.committing import Receipt
    from labelkit.relabel.settings import Settings
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher


@dataclass(frozen=True)
class Job:
    """What an actor needs to make shards of one file.

    Attributes:
        source: of the images.
        writer: of the driver, so that all follow one plan.
        teachers: on the CPU.
        compiled: which of them to compile.
        settings: how the maps are made.
        forms: of the maps.
        device: torch's name of the device to use.
        folder: the driver's working folder, which relative paths start from.
        token: a file of the driver among the shards, as proof that the disk is shared.
    """

    source: ImageSource
    writer: LabelMapWriter
    teachers: tuple[Teacher, ...]
    compiled: tuple[bool, ...]
    settings: Settings
    forms: tuple[MapForm, ...]
    device: str
    folder: str
    token: Path

    @classmethod
    def of(cls, shards: ShardMaker, device: str, token: Path) -> Job:
        """The job of the shards that a driver would make itself."""
        maker = shards.maker
        teachers = maker.predictions.teachers
        return cls(
            shards.source,
            shards.writer,
            tuple(map(_portable, teachers)),
            tuple(teacher.compiled is not None for teacher in teachers),
            maker.settings,
            maker.forms,
            device,
            str(Path.cwd()),
            token,
        )


def _portable(teacher: Teacher) -> Teacher:
    """A teacher that another machine can load."""
    model = teacher.model
    if teacher.device.type != "cpu":
        model = copy.deepcopy(model).to("cpu")
    return replace(teacher, model=model, compiled=None)


@dataclass(frozen=True)
class ActorPlace:
    """Where an actor runs.

    Attributes:
        node: the machine's name.
        process: its number there.
        versions: of the software that both sides must share.
        owner: the process, as the claims of shards name it.
    """

    node: str
    process: int
    versions: dict[str, str]
    owner: Owner | None = None

    @classmethod
    def here(cls) -> ActorPlace:
        """Of this process."""
        versions = {
            "labelkit": __version__,
            "torch": str(torch.__version__).partition("+")[0],
            "python": ".".join(platform.python_version_tuple()[:2]),
        }
        return cls(socket.gethostname(), os.getpid(), versions)

    def require_versions(self, expected: dict[str, str]) -> None:
        """Raise unless an actor has the driver's software.

        Raises:
            LabelkitError: it has another version; the message names the node.
        """
        for name, version in expected.items():
            if self.versions.get(name) != version:
                raise LabelkitError(
                    f"node {self.node} has {name} {self.versions.get(name)}, this machine has "
                    f"{version}: install the same version on every node, and run the same command "
                    "again"
                )


@dataclass(frozen=True)
class Made:
    """What came of some shards.

    Attributes:
        receipts: of those that were committed, if nothing ended it early.
        stages: how many images were processed, and where the time went.
        error: what ended it early; None if nothing did.
    """

    receipts: list[Receipt]
    stages: Stages
    error: LabelkitError | OSError | None


class ShardActor:
    """Makes shards in a process of a cluster; ``done`` and ``stop`` are called meanwhile."""

    def __init__(self) -> None:
        self._done = 0
        self._stopping = False
        self._shards: ShardMaker

    def place(self) -> ActorPlace:
        """Where this runs."""
        return ActorPlace.here()

    def prepare(self, job: Job) -> ActorPlace | LabelkitError | OSError:
        """Load the teacher and open the file; where this runs, with its claims, or an error."""
        keep_freed_memory()
        with suppress(OSError):  # a folder of the driver alone; paths may be absolute
            os.chdir(job.folder)
        if not job.token.is_file():
            return LabelkitError(_not_shared(job.writer.parts))
        try:
            teachers = [
                move_teacher(teacher, job.device, compiled=compiled)
                for teacher, compiled in zip(job.teachers, job.compiled, strict=True)
            ]
            maker = MapMaker(teachers, job.settings, job.forms)
            self._shards = ShardMaker(job.source, job.writer, maker, Stages(), self._count)
        except (LabelkitError, OSError) as error:
            return error
        except RuntimeError as error:  # such as a full GPU
            return stopped(error)
        return replace(ActorPlace.here(), owner=job.writer.claims.owner)

    def make(self, shards: Sequence[Shard]) -> Made:
        """Make those of some shards that nobody else makes.

        Errors that the user can fix are returned, not raised: every engine shows them alike.
        """
        self._done, stages = 0, Stages()
        stages.start()
        receipts: list[Receipt] = []
        error = None
        try:
            receipts = replace(self._shards, stages=stages).make(shards)
        except _StopAskedError:
            pass
        except (LabelkitError, OSError) as caught:
            error = caught
        stages.end()
        return Made(receipts, stages, error)

    def done(self) -> int:
        """How many images of the shards at hand are done."""
        return self._done

    def stop(self) -> None:
        """End after this batch; what is done of a shard is saved."""
        self._stopping = True

    def _count(self, images: int) -> None:
        self._done += images
        if self._stopping:
            raise _StopAskedError


class _StopAskedError(Exception):
    """The driver has asked an actor to stop."""


def _not_shared(parts: Path) -> str:
    node = socket.gethostname()
    return (
        f"node {node} does not see {parts}, which this run has created: every node of the cluster "
        f"needs the output folder, and the images, under the same path, on a common disk. Mount it "
        f"on {node}, or choose another -o"
    )

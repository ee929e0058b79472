"""Remove the shards that a run has joined, now or if it was killed before it could."""

from __future__ import annotations

import glob
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from labelkit.errors import LabelMapError
from labelkit.label_maps.file.claims import Claims
from labelkit.label_maps.file.layout import first_difference, identity
from labelkit.label_maps.file.plan import last_plan

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.label_maps.file.reader import LabelMapFile

_REMOVED = ".removed"


def remove_leftover(file: LabelMapFile) -> None:
    """Remove the folder of shards beside a finished file, unless a run is to replace the file.

    Such a run makes maps of other settings, retries images that the file could not read, or is at
    work now: what it has finished stays.
    """
    parts = file.path.absolute().with_name(f"{file.path.name}.parts")
    with suppress(OSError, LabelMapError):
        plan = last_plan(parts)
        if plan is not None:
            other = first_difference(plan.header, identity(file.header)) is not None
            if other or plan.reuse == file.digest or any(Claims(parts).live()):
                return
        remove_shards(parts)


def remove_shards(parts: Path) -> None:
    """Remove a folder of shards, while other processes may still write into it.

    It gets another name first, so that nothing can be added to it. What a killed process has left
    under such a name is removed too.
    """
    with suppress(OSError):
        parts.rename(parts.with_name(f".{parts.name}.{os.urandom(8).hex()}{_REMOVED}"))
    for folder in parts.parent.glob(f".{glob.escape(parts.name)}.*{_REMOVED}"):
        shutil.rmtree(folder, ignore_errors=True)

"""Remove the shards that a run has joined if it was killed before it could."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from labelkit.errors import LabelMapError
from labelkit.label_maps.file.claims import Claims
from labelkit.label_maps.file.layout import first_difference, identity
from labelkit.label_maps.file.plan import last_plan

if TYPE_CHECKING:
    from labelkit.label_maps.file.reader import LabelMapFile


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
        shutil.rmtree(parts)

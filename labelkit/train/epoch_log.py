"""The log of a run's epochs, ``log.jsonl``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from labelkit.files import replace_file
from labelkit.train.run_folder import LOG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.train.checkpoint import EpochRecord


def write_log(folder: Path, records: Sequence[EpochRecord]) -> None:
    """Write one JSON object per line and epoch, on disk before this returns.

    All lines are written again, a few hundred short ones: so the file is complete at any moment,
    and an epoch that was logged before its checkpoint failed is not logged twice.

    Raises:
        OSError: the file cannot be written.
    """
    replace_file(folder / LOG, b"".join(msgspec.json.encode(each) + b"\n" for each in records))

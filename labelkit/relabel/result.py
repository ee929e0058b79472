"""What a run that makes label maps returns. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class RelabelResult:
    """What a run did.

    Attributes:
        path: the finished file.
        images: images with a label map.
        unreadable: images without one, key -> reason.
        processed: images that this run processed; the others were finished before.
        existed: an earlier run had finished the file.
        reused: rows copied from the reused file, or from the shards of a reused unfinished run.
        kept: rows of shards that an earlier run finished before images were added or removed.
        damaged: rows that are damaged in the reused file, key -> reason; their maps were recreated.
    """

    path: Path
    images: int
    unreadable: dict[str, str]
    processed: int
    existed: bool = False
    reused: int = 0
    kept: int = 0
    damaged: dict[str, str] = field(default_factory=dict[str, str])

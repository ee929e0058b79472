"""What every form of taxonomy file comes down to, and what its ids must look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class FileGraph:
    """Id -> its parents, the preferred one first, none for a root; and the names that differ."""

    parents: Mapping[str, Sequence[str]]
    names: Mapping[str, str]


def is_one_line(text: str) -> bool:
    """Whether a text can be an id: not empty, no line breaks, and all of it Unicode."""
    if text.splitlines() != [text]:
        return False
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)

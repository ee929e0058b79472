"""What every form of taxonomy file comes down to, and what its ids must look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Parents: TypeAlias = Mapping[str, str | Sequence[str] | None]


@dataclass(frozen=True)
class FileGraph:
    """Id -> its parent, or its parents in their order, none for a root; and names that differ.

    ``read_as`` says for people how the file was read: its form, and which columns are what.
    """

    parents: Parents
    names: Mapping[str, str]
    read_as: str


def is_one_line(text: str) -> bool:
    """Whether a text can be an id: not empty, no line breaks, and all of it Unicode."""
    if text.splitlines() != [text]:
        return False
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)

"""Paths as messages show them."""

from __future__ import annotations

from pathlib import Path


def without_detours(path: str) -> str:
    """The same place, named without ``..``: links on the way there are followed."""
    return str(Path(path).resolve()) if ".." in Path(path).parts else path

"""Which teachers made the maps of a file, or why nobody can make them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from labelkit.label_maps import LabelMapFile


def named_teachers(file: LabelMapFile) -> list[dict[str, Any]]:
    """The teachers that a file names: one, or several whose answers ``relabel`` averaged.

    Raises:
        LabelMapError: it names none, such as an import. The message says why its maps cannot be
            recomputed, and what can be checked instead.
    """
    named = _teachers(file.attrs)
    if named:
        return named
    raise LabelMapError(f"{file.path} {_why_not(file.attrs)}. Without --sample, {_REST}")


_REST = "verify checks every row, and with --images that the rows are of those images"


def _why_not(source: dict[str, Any]) -> str:
    match source:
        case {"imported from": str(what)}:
            return (
                f"was imported from a {what!r:.80}, which does not say what made its maps: they "
                "cannot be made again. Look at some of them over their images: labelkit inspect "
                "--images draws them"
            )
        case _:
            return (
                "does not say which teacher made its maps: they cannot be made again. Look at some "
                "of them over their images: labelkit inspect --images draws them"
            )


def _teachers(source: dict[Any, Any]) -> list[dict[str, Any]]:
    """Those that a source names; none at all where one of them is not named."""
    one, several = source.get("teacher"), source.get("teachers")
    told = several if isinstance(several, list) else [one]
    named = [each for each in told if isinstance(each, dict)]
    return named if len(named) == len(told) else []

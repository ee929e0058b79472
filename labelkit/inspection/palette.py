"""Colours that people with any colour vision can tell apart.

Source: Okabe and Ito 2008, "Color Universal Design"; their black is left out (photos have it), and
the most different ones come first.
"""

from __future__ import annotations

from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (204, 121, 167),  # reddish purple
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermillion
)


def hexadecimal(colour: Colour) -> str:
    """The colour as web pages and terminals write it: ``#e69f00``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)

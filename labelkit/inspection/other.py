"""How *other*, the probability of no class of the list, is shown: in stripes, by a plain name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from labelkit.targets import OTHER
from labelkit.wording import readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Colour: TypeAlias = tuple[int, int, int]

OTHER_COLOUR: Colour = (128, 128, 128)
"""The colour of *other*, for letters; in pictures it stands for stripes."""
_STRIPES: tuple[Colour, ...] = ((255, 255, 255), (70, 70, 70))  # seen on any photo
_STRIPE, _PERIOD = 2, 9  # pixels


def shown_name(name: str) -> str:
    """A class name for display, as ``readable`` gives it, and plain words for *other*.

    >>> shown_name("tabby_cat"), shown_name("*other*")
    ('tabby cat', 'other (no class)')
    """
    return "other (no class)" if name == OTHER else readable(name)


def other_index(names: Sequence[str]) -> int | None:
    """The index of *other* among the names of a file's outputs; it is the last, if it is stored."""
    return len(names) - 1 if names and names[-1] == OTHER else None


def layers(colour: Colour, size: tuple[int, int]) -> Iterator[tuple[Colour, NDArray[np.float32]]]:
    """What to paint for a colour: it everywhere, or two stripes if it is that of *other*.

    Args:
        colour: of a class, or ``OTHER_COLOUR``.
        size: width and height in pixels.

    Yields:
        A colour, and 1 where it is painted, else 0: (h, w).
    """
    if colour != OTHER_COLOUR:
        yield colour, np.ones(size[::-1], np.float32)
        return
    rows, columns = np.indices(size[::-1])
    stripe = (rows + columns) % _PERIOD // _STRIPE
    for number, each in enumerate(_STRIPES):
        yield each, (stripe == number).astype(np.float32)

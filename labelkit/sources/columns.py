"""Which columns of a table hold the keys and the images."""

from __future__ import annotations

from typing import NamedTuple


class Columns(NamedTuple):
    """Which columns of a table to read; None finds them.

    Attributes:
        key: with the images' keys.
        image: with the images, or their paths.
    """

    key: str | None = None
    image: str | None = None

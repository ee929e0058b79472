"""A random order of names that depends on the seed and on each name alone."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def seeded_order(names: Iterable[str], seed: int) -> list[str]:
    """Names in a random order; that of two of them stays the same, whichever others there are.

    So the first 10 images of a class are among the first 20, the order does not depend on how files
    are listed, and it is the same on every machine.

    >>> seeded_order("abcd", 0), seeded_order("acd", 0)
    (['a', 'b', 'd', 'c'], ['a', 'd', 'c'])
    """
    salt = str(seed).encode()

    def draw(name: str) -> tuple[bytes, str]:
        content = name.encode(errors="surrogateescape")
        return blake2b(content, digest_size=16, key=salt[:64]).digest(), name

    return sorted(names, key=draw)

"""Which images were probably renamed or moved: rows without an image, images without a row."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_DEEPEST = 16


def likely_renames(extra: Sequence[str], missing: Sequence[str]) -> dict[str, str]:
    """Pair keys that most likely name one image: old key -> new key.

    In this order, and only where one key of each side fits: the same path but for the case of
    letters or another Unicode form, as other systems write it; the same path with another ending;
    the same last parts, the most parts first, such as another folder above or another one around
    the same file name.

    Args:
        extra: keys of rows without an image.
        missing: keys of images without a row.
    """
    depths = [len(PurePosixPath(key).parts) for key in (*extra, *missing)]
    looks: list[Callable[[str], str]] = [_folded, _without_ending]
    looks += [_Tail(parts) for parts in range(min(max(depths, default=0), _DEEPEST), 0, -1)]
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for look in looks:
        old = _unique(look, (key for key in extra if key not in renamed))
        new = _unique(look, (key for key in missing if key not in taken))
        pairs = {old[name]: new[name] for name in old.keys() & new.keys()}
        renamed |= pairs
        taken.update(pairs.values())
    return dict(sorted(renamed.items()))


def _folded(key: str) -> str:
    return unicodedata.normalize("NFC", key).casefold()


def _without_ending(key: str) -> str:
    return str(PurePosixPath(_folded(key)).with_suffix(""))


class _Tail:
    """The last parts of a key."""

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def __call__(self, key: str) -> str:
        return "/".join(_folded(key).split("/")[-self.parts :])


def _unique(look: Callable[[str], str], keys: Iterable[str]) -> dict[str, str]:
    """What the look makes of each key -> the key, where only one key gives it."""
    seen = [(look(key), key) for key in keys]
    count = Counter(name for name, _ in seen)
    return {name: key for name, key in seen if count[name] == 1}

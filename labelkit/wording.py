"""Names, percentages and sizes as text for people: in pictures, pages and the terminal."""

from __future__ import annotations

import json
import re
import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHA_256 = re.compile(r"\b[0-9a-f]{64}\b")
_MIN_SHOWN, _MIN_WHOLE_PERCENT = 0.0005, 0.0995
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text with control characters replaced, so that no file can control a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _UNPRINTABLE for char in text)


def readable(name: str) -> str:
    """A class name for display: printable, with spaces for underscores."""
    return printable(name).replace("_", " ")


def clipped(text: str, length: int = 40) -> str:
    """A text in quotes for a message, cut off after ``length`` characters.

    >>> clipped("cat"), len(clipped("cat" * 1000))
    ("'cat'", 45)
    """
    return repr(text) if len(text) <= length else f"{text[:length]!r}..."


def abridged(name: str, length: int = 160) -> str:
    """A name in at most so many characters: the middle of a long one is left out.

    A path keeps its end, which tells it from its neighbours.

    >>> abridged("photos/2011/spring/0001.jpg", 16)
    'phot.../0001.jpg'
    """
    if len(name) <= length:
        return name
    start = (length - 3) // 3
    return f"{name[:start]}...{name[start + 3 - length :]}"


def shown(value: object) -> str:
    """A value of a file for a message, as Python writes it, cut where it is long.

    >>> shown(0.5), len(shown("x" * 1000))
    ('0.5', 80)
    """
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = 80
    brief.maxdict = brief.maxlist = brief.maxtuple = 12
    return brief.repr(value)


def summary(names: Sequence[str], shown: int = 3) -> str:
    """The first names of a list, and how many there are.

    >>> summary(["a", "b"]), summary(["a", "b", "c", "d"])
    ('a, b', 'a, b, c and 1 more')
    """
    first = ", ".join(printable(abridged(name)) for name in names[:shown])
    return f"{first} and {len(names) - shown:,} more" if len(names) > shown else first


def short_digests(text: str) -> str:
    """The text with each SHA-256 cut to twelve digits, enough to distinguish them.

    >>> short_digests(f"sha256:{'0123456789abcdef' * 4}")
    'sha256:0123456789ab'
    """
    return _SHA_256.sub(lambda found: found[0][:12], text)


def percent(share: float) -> str:
    """A share from 0 to 1 as text: ``31 %``, with one decimal below ten percent.

    A small share is never rounded to zero.

    >>> percent(0.314), percent(0.006), percent(0.0001), percent(0)
    ('31 %', '0.6 %', '<0.1 %', '0 %')
    """
    if 0 < share < _MIN_SHOWN:
        return "<0.1 %"
    return f"{share * 100:.1f} %" if 0 < share < _MIN_WHOLE_PERCENT else f"{share * 100:.0f} %"


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun in the singular or plural.

    >>> counted(1, "image", "images"), counted(1200, "image", "images")
    ('1 image', '1,200 images')
    """
    return f"{count:,} {one if count == 1 else many}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(8), duration(300), duration(45_000), duration(400_000)
    ('8 s', '5 min', '12 h 30 min', '4 d 15 h')
    """
    minutes, hours, days = seconds / 60, int(seconds // 3600), int(seconds // 86_400)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if not hours:
        return f"{minutes:.0f} min"
    if not days:
        return f"{hours} h {int(minutes) % 60} min"
    return f"{days} d {hours % 24} h"


def file_size(count: float) -> str:
    """A number of bytes as text.

    >>> file_size(2148), file_size(999_990), file_size(3.5e9)
    ('2.1 kB', '1.0 MB', '3.5 GB')
    """
    for unit in ("bytes", "kB", "MB"):
        if round(count) < 1000:  # never shows 1000.0 of a unit
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def flatten(
    values: Mapping[str, object], prefix: str = "", depth: int = 3
) -> list[tuple[str, str]]:
    """Nested JSON values as (dotted name, text) in order; as JSON text below ``depth``.

    >>> flatten({"teacher": {"name": "lite0", "mean": [0.5]}, "size": 320})
    [('teacher.name', 'lite0'), ('teacher.mean', '[0.5]'), ('size', '320')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict) and depth:
            rows += flatten(value, f"{prefix}{name}.", depth - 1)
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append((f"{prefix}{name}", text))
    return rows

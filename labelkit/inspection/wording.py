"""Names, shares and sizes as people read them, the same in pictures, pages and the terminal."""

from __future__ import annotations

_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text with every control mark replaced, so that no file can steer a terminal."""
    return "".join(mark if mark.isprintable() else _UNPRINTABLE for mark in text)


def readable(name: str) -> str:
    """A class name for people: printable, with spaces for underscores."""
    return printable(name).replace("_", " ")


def percent(share: float) -> str:
    """A share of 0 to 1 in words: ``31 %``, and below ten percent ``0.6 %``.

    >>> percent(0.314), percent(0.006)
    ('31 %', '0.6 %')
    """
    return f"{share * 100:.0f} %" if share >= 0.0995 else f"{share * 100:.1f} %"


def file_size(count: float) -> str:
    """A number of bytes in words.

    >>> file_size(2148), file_size(3.5e9)
    ('2.1 KB', '3.5 GB')
    """
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

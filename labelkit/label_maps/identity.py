"""What rows must have in common to stand in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from labelkit.label_maps.layout import Header

_NO_IDENTITY = frozenset({"classes_name", "made_with", "content"})


class Difference(NamedTuple):
    """The first thing that two JSON objects do not share.

    Attributes:
        name: where it stands, such as ``source.teacher.name``.
        first: its value in the first; None if it is not there.
        second: its value in the second; None likewise.
    """

    name: str
    first: object
    second: object


def identity(header: Header) -> dict[str, Any]:
    """The part of a header that says what the rows are: format, forms, classes, source."""
    every: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(header))
    return {name: value for name, value in every.items() if name not in _NO_IDENTITY}


def difference(first: dict[str, Any], second: dict[str, Any]) -> Difference | None:
    """The first member, by name, that differs between two JSON objects; None if they are equal.

    >>> difference({"maps": [{"top_k": 5}]}, {"maps": [{"top_k": 12}]})
    Difference(name='maps.0.top_k', first=5, second=12)
    """
    for name in sorted(first.keys() | second.keys()):
        old, new = first.get(name), second.get(name)
        inside = None
        if isinstance(old, dict) and isinstance(new, dict):
            inside = difference(old, new)
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            inside = difference(_numbered(old), _numbered(new))
        elif old != new:
            return Difference(name, old, new)
        if inside:
            return inside._replace(name=f"{name}.{inside.name}")
    return None


def _numbered(values: list[Any]) -> dict[str, Any]:
    return {str(number): value for number, value in enumerate(values)}

"""Nested JSON: Open Images' hierarchy, nodes with children, or plain labels within labels."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from labelkit.errors import TaxonomyError
from labelkit.file_kinds import kind_of_format
from labelkit.hierarchy.taxonomy_files.forms import FileGraph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Item: TypeAlias = object  # any JSON value
Trail: TypeAlias = "tuple[Trail, str] | None"  # the path to an item, last step first

PLAIN = 'Labels within labels look like {"animal": {"cat": {}, "dog": ["spitz"]}}'
LABEL_KEYS = ("LabelName", "id", "name")
CHILDREN_KEYS = ("Subcategory", "children")
LEFT_OUT = "Part"  # parts of an object in Open Images' hierarchy, which are not its children


class RepeatedKeyError(ValueError):
    """A JSON object has a duplicate key, of which a decoder would silently keep one."""


class Place(NamedTuple):
    """One occurrence of a label: its name if it has one, and the items below it.

    ``at`` is the path to the label itself, ``trail`` the path to the items below.
    """

    label: Item
    name: str | None
    below: Item
    at: Trail
    trail: Trail


@dataclass(frozen=True)
class Nested:
    """The labels of one file while they are collected into a graph."""

    path: Path
    has_nodes: bool
    parents: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    names: dict[str, str] = field(default_factory=dict[str, str])

    def error(self, trail: Trail, what: str) -> TaxonomyError:
        """An error with the place in the file."""
        steps: list[str] = []
        while trail is not None:
            trail, step = trail
            steps.append(step)
        shown = steps if len(steps) <= 12 else [*steps[:6], "...", *steps[-6:]]
        return TaxonomyError(f"{self.path}, at ${''.join(reversed(shown))}: {what}")

    def add(self, place: Place, above: str | None) -> str:
        """Check a label, and add it with its parent and its name."""
        label, name = place.label, place.name
        if not isinstance(label, str) or not _is_one_line(label := label.strip()):
            raise self.error(
                place.at,
                f"{_shown(label)} is not a label: labels are one non-empty line of text"
                f"{_quote_hint(label)}",
            )
        row = self.parents.setdefault(label, [])
        if above is not None:
            row.append(above)
        if name is not None and self.names.setdefault(label, name) != name:
            raise self.error(
                place.at, f"{label!r} is named {name!r} here and {self.names[label]!r} before"
            )
        return label

    def places(self, item: Item, trail: Trail) -> Iterator[Place]:
        """The labels directly below one, or at the top."""
        if item is None:
            return
        if isinstance(item, list):
            for number, entry in enumerate(cast("list[Item]", item)):
                step = (trail, f"[{number}]")
                if isinstance(entry, str):
                    yield Place(entry, None, None, step, step)
                elif isinstance(entry, dict):
                    yield from self._object(cast("dict[str, Item]", entry), step)
                else:
                    what = f"{_shown(entry)} is neither a label nor an object"
                    raise self.error(step, f"{what}{_quote_hint(entry)}")
        elif isinstance(item, dict) and (trail is None or not self.has_nodes):
            yield from self._object(cast("dict[str, Item]", item), trail)
        else:
            remedy = "Children must be a list" if self.has_nodes else PLAIN
            raise self.error(trail, f"{_shown(item)} contains no labels. {remedy}")

    def _object(self, item: dict[str, Item], trail: Trail) -> Iterator[Place]:
        if self.has_nodes:
            yield self._node(item, trail)
            return
        for label, below in item.items():
            step = (trail, f"[{_shown(label)}]")
            yield Place(label, None, below, step, step)

    def _node(self, item: dict[str, Item], trail: Trail) -> Place:
        key = next((key for key in LABEL_KEYS if key in item), None)
        if key is None:
            raise self.error(
                trail, f"an object without {', '.join(LABEL_KEYS)}: {_shown(item)}. Add an id"
            )
        for other, value in item.items():
            if other not in (*CHILDREN_KEYS, LEFT_OUT) and isinstance(value, (dict, list)):
                raise self.error(
                    trail,
                    f"unknown key {other!r}: call it 'children' if it holds children, or remove it",
                )
        held = [key for key in CHILDREN_KEYS if key in item]
        if len(held) > 1:
            raise self.error(trail, "both Subcategory and children: keep one of them")
        below = item[held[0]] if held else None
        name = item.get("name") if key != "name" else None
        if name is not None and not isinstance(name, str):
            what = f"the name {_shown(name)} is not text"
            raise self.error((trail, ".name"), f"{what}{_quote_hint(name)}")
        if name is not None and not _is_unicode(name):
            raise self.error((trail, ".name"), f"the name {_shown(name)} is not valid Unicode")
        down = (trail, f".{held[0]}") if held else trail
        return Place(item[key], name, below, (trail, f".{key}"), down)


def nested_graph(path: Path, text: str) -> FileGraph:
    """Every label's parents, in the order of the label's places.

    Raises:
        TaxonomyError: invalid JSON, nested too deep for its decoder, a duplicate key in an object,
            or a value that is not a label.
    """
    top = _decode(path, text)
    nested = Nested(path, has_nodes=_has_nodes(top))
    if isinstance(top, dict) and (kind := kind_of_format(str(top.get("format")))):
        raise TaxonomyError(f"{path}, which should be a taxonomy, {kind}")
    # Depth first with an explicit stack, since a chain may be longer than Python's.
    stack: list[tuple[str | None, Iterator[Place]]] = [(None, nested.places(top, None))]
    while stack:
        above, places = stack[-1]
        place = next(places, None)
        if place is None:
            stack.pop()
        else:
            label = nested.add(place, above)
            stack.append((label, nested.places(place.below, place.trail)))
    return FileGraph(nested.parents, nested.names, f"nested: {_shape(top, nested)}")


def _shape(top: Item, nested: Nested) -> str:
    if not nested.has_nodes:
        return "labels within labels"
    return "Open Images" if "LabelName" in _first_object(top) else "nodes with children"


def _decode(path: Path, text: str) -> Item:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise TaxonomyError(f"{path}, line {error.lineno}: invalid JSON: {error.msg}") from error
    except RepeatedKeyError as error:
        raise TaxonomyError(
            f"{path}: an object has the duplicate key {error}, and one of the two would be lost. "
            "Merge them, or use a list of objects"
        ) from error
    except ValueError as error:  # an integer of thousands of digits
        raise TaxonomyError(f"{path}: unreadable JSON: {error}") from error
    except RecursionError as error:
        raise TaxonomyError(
            f"{path} is nested too deep for JSON. Write it as an edge list, one child,parent per "
            "line"
        ) from error


def _distinct(pairs: list[tuple[str, Item]]) -> dict[str, Item]:
    item = dict(pairs)
    if len(item) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKeyError(_shown(key))
            seen.add(key)
    return item


def _has_nodes(top: Item) -> bool:
    """Whether objects are nodes that contain a label, rather than labels that lead to others."""
    item = _first_object(top)
    return (
        "LabelName" in item
        or "children" in item
        or any(isinstance(item.get(key), (str, int, float)) for key in ("id", "name"))
    )


def _quote_hint(item: Item) -> str:
    """A hint for error messages if the item is a number; else empty."""
    is_number = isinstance(item, (int, float)) and not isinstance(item, bool)
    return ". Put the number in quotes" if is_number else ""


def _is_one_line(text: str) -> bool:
    """Whether a text can be an id: not empty, no line breaks, and valid Unicode."""
    return text.splitlines() == [text] and _is_unicode(text)


def _is_unicode(text: str) -> bool:
    """Whether a text has no surrogates, which JSON can express but UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _first_object(top: Item) -> dict[str, Item]:
    """The top itself, or the first item of a list that is not a plain label; else empty."""
    if isinstance(top, list):
        entries = cast("list[Item]", top)
        top = next((entry for entry in entries if not isinstance(entry, str)), None)
    return cast("dict[str, Item]", top) if isinstance(top, dict) else {}


def _shown(item: Item) -> str:
    brief = reprlib.Repr()
    brief.maxstring = 60
    return brief.repr(item)

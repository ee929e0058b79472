"""Nested JSON: Open Images' hierarchy, nodes with children, or plain labels within labels."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.taxonomy_files.graph import FileGraph, is_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Item: TypeAlias = object  # whatever JSON can hold
Trail: TypeAlias = "tuple[Trail, str] | None"  # the way down to an item, its last step first

PLAIN = 'Labels within labels look like {"animal": {"cat": {}, "dog": ["spitz"]}}'
LABEL_KEYS = ("LabelName", "id", "name")
CHILDREN_KEYS = ("Subcategory", "children")
IN_QUOTES = ". Put the number in quotes"
LEFT_OUT = "Part"  # parts of a thing, in Open Images' hierarchy, and no kinds of it


class RepeatedKeyError(ValueError):
    """One JSON object has a key twice, of which a decoder would keep one without a word."""


class Place(NamedTuple):
    """One label where it stands: its name if it has one, and what is below it.

    ``at`` leads to the label itself, and ``trail`` to what is below.
    """

    label: Item
    name: str | None
    below: Item
    at: Trail
    trail: Trail


@dataclass(frozen=True)
class Nested:
    """One file's labels on their way into a graph."""

    path: Path
    has_nodes: bool
    parents: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    names: dict[str, str] = field(default_factory=dict[str, str])

    def error(self, trail: Trail, what: str) -> TaxonomyError:
        """A refusal that says where in the file."""
        steps: list[str] = []
        while trail is not None:
            trail, step = trail
            steps.append(step)
        shown = steps if len(steps) <= 12 else [*steps[:6], "...", *steps[-6:]]
        return TaxonomyError(f"{self.path}, at ${''.join(reversed(shown))}: {what}")

    def add(self, place: Place, above: str | None) -> str:
        """Note a label, its parent and its name, after a look at the label's text."""
        label, name = place.label, place.name
        if not isinstance(label, str) or not is_one_line(label := label.strip()):
            what = f"{_shown(label)} is no label: each is one non-empty line of text"
            raise self.error(place.at, what + IN_QUOTES * _is_number(label))
        row = self.parents.setdefault(label, [])
        if above is not None:
            row.append(above)
        if name is not None and self.names.setdefault(label, name) != name:
            raise self.error(
                place.at, f"{label!r} is named {name!r} here and {self.names[label]!r} before"
            )
        return label

    def places(self, item: Item, trail: Trail) -> Iterator[Place]:
        """The labels that stand right below one, or on top."""
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
                    raise self.error(step, what + IN_QUOTES * _is_number(entry))
        elif isinstance(item, dict) and (trail is None or not self.has_nodes):
            yield from self._object(cast("dict[str, Item]", item), trail)
        else:
            way_out = "Children stand in a list" if self.has_nodes else PLAIN
            raise self.error(trail, f"{_shown(item)} holds no labels. {way_out}")

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
                trail, f"an object without {', '.join(LABEL_KEYS)}: {_shown(item)}. Give it an id"
            )
        for other, value in item.items():
            if other not in (*CHILDREN_KEYS, LEFT_OUT) and isinstance(value, (dict, list)):
                raise self.error(
                    trail,
                    f"{other!r} is unknown: call it 'children' if it holds kinds, or remove it",
                )
        held = [key for key in CHILDREN_KEYS if key in item]
        if len(held) > 1:
            raise self.error(trail, "both Subcategory and children: keep one of them")
        below = item[held[0]] if held else None
        name = item.get("name") if key != "name" else None
        if name is not None and not isinstance(name, str):
            what = f"the name {_shown(name)} is no text"
            raise self.error((trail, ".name"), what + IN_QUOTES * _is_number(name))
        down = (trail, f".{held[0]}") if held else trail
        return Place(item[key], name, below, (trail, f".{key}"), down)


def nested_graph(path: Path, text: str) -> FileGraph:
    """Every label's parents, in the order of the places where it stands.

    Raises:
        TaxonomyError: no JSON, nested too deep for its decoder, a key twice in one object, or
            something that is no label.
    """
    top = _decode(path, text)
    nested = Nested(path, has_nodes=_is_node(top))
    if isinstance(top, dict) and top.get("format") == "labelkit-tree":
        raise TaxonomyError(
            f"{path} is a labelkit tree and no taxonomy: load it with SemanticTree.load"
        )
    # Depth first with a stack of our own, since a chain may be longer than Python's.
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
    first = _first_object(top)
    return "Open Images" if "LabelName" in first else "nodes with children"


def _decode(path: Path, text: str) -> Item:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise TaxonomyError(f"{path}, line {error.lineno} is no JSON: {error.msg}") from error
    except RepeatedKeyError as error:
        raise TaxonomyError(
            f"{path}: one object has the key {error} twice, and one of both would be lost. Join "
            "them, or make a list of objects"
        ) from error
    except ValueError as error:  # an integer of thousands of digits
        raise TaxonomyError(f"{path} is no JSON that can be read: {error}") from error
    except RecursionError as error:
        raise TaxonomyError(
            f"{path} is nested too deep for JSON. Write it as an edge list, one child,parent a line"
        ) from error


def _distinct(pairs: list[tuple[str, Item]]) -> dict[str, Item]:
    item = dict(pairs)
    if len(item) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise RepeatedKeyError(_shown(key))
    return item


def _is_node(top: Item) -> bool:
    """Whether objects are nodes with a label inside, and not labels that lead to what is below."""
    item = _first_object(top)
    return (
        "LabelName" in item
        or "children" in item
        or any(isinstance(item.get(key), (str, int, float)) for key in ("id", "name"))
    )


def _is_number(item: Item) -> bool:
    return isinstance(item, (int, float)) and not isinstance(item, bool)


def _first_object(top: Item) -> dict[str, Item]:
    """The top itself, or the first in a list that is no plain label; empty if it is no object."""
    if isinstance(top, list):
        entries = cast("list[Item]", top)
        top = next((entry for entry in entries if not isinstance(entry, str)), None)
    return cast("dict[str, Item]", top) if isinstance(top, dict) else {}


def _shown(item: Item) -> str:
    brief = reprlib.Repr()
    brief.maxstring = 60
    return brief.repr(item)

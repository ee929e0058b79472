"""A recipe as TOML, with the values of all its fields. Loads no tensors."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.train.recipe import Recipe


def recipe_toml(recipe: Recipe) -> str:
    """A recipe as TOML that ``read_recipe`` reads: all fields, defaults included.

    TOML has no value for a field that is off; a comment names it.
    """
    tables: dict[str, dict[str, object]] = msgspec.to_builtins(recipe)
    return "\n".join(
        "\n".join([f"[{table}]", *(_field(name, value) for name, value in fields.items()), ""])
        for table, fields in tables.items()
    )


def _field(name: str, value: object) -> str:
    return f"# {name} is off" if value is None else f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dict():
            items = cast("dict[str, object]", value).items()
            inside = ", ".join(f"{_key(key)} = {_toml(each)}" for key, each in items)
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, cast('Sequence[object]', value)))}]"
        case _:
            return str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _toml(name)

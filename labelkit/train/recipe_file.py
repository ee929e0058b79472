"""Read a recipe from TOML, with changes from the command line; say what is wrong with it."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin

import msgspec

from labelkit.errors import RecipeError
from labelkit.train.recipe import Labels, Recipe

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

Tables = dict[str, Any]


def read_recipe(path: str | os.PathLike[str], changes: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe.

    Paths inside it stay as they are: relative ones start at the current directory, as everywhere
    else on a command line.

    Args:
        path: the TOML file.
        changes: ``table.field=value`` each, applied in order; a value is TOML, or else plain text.

    Raises:
        RecipeError: not TOML, or a field is missing, unknown or wrong; the message names it.
        ValueError: a change does not have the form ``table.field=value``.
        FileNotFoundError: no such file.

    >>> read_recipe("missing.toml", ["run.seed:1"])
    Traceback (most recent call last):
    ValueError: 'run.seed:1' is not of the form table.field=value, such as run.seed=1
    """
    parsed = [_parse_change(change) for change in changes]
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no such recipe: {source}")
    try:
        tables: Tables = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{source} is not TOML: {error}") from error
    for names, value in parsed:
        _set(tables, names, value)
    try:
        recipe = msgspec.convert(tables, Recipe)
    except msgspec.ValidationError as error:
        _explain(source, tables, str(error))
    if recipe.run.output:
        return recipe
    run = msgspec.structs.replace(recipe.run, output=f"runs/{source.stem}")
    return msgspec.structs.replace(recipe, run=run)


def _parse_change(change: str) -> tuple[list[str], object]:
    name, equals, text = change.partition("=")
    names = name.strip().split(".")
    if not equals or not all(names):
        raise ValueError(f"{change!r} is not of the form table.field=value, such as run.seed=1")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return names, text
    return names, parsed["value"] if len(parsed) == 1 else text


def _set(tables: Tables, names: list[str], value: object) -> None:
    for name in names[:-1]:
        inner = tables.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{'.'.join(names)} cannot be set: {name} is no table")
        tables = inner
    tables[names[-1]] = value


def _explain(source: Path, tables: Tables, message: str) -> NoReturn:
    """Say a msgspec error in the recipe's own terms: which field, what was found, what to do."""
    problem, _, where = message.partition(" - at `$")
    place = where.rstrip("`").lstrip(".")
    field = re.search(r"field `(\w+)`", problem)
    if "unknown field" in problem and field:
        known = _known_fields(tables, place)
        near = difflib.get_close_matches(field[1], known, n=1)
        meant = f"did you mean {near[0]}? It" if near else "it"
        text = f"{_inside(place)} has no field {field[1]}; {meant} has {', '.join(known)}"
    elif "missing" in problem and field:
        text = f"{_inside(place)} lacks {field[1]}"
        if field[1] == "kind":
            text += f": one of {', '.join(_kinds())}"
    elif place == "labels.kind":
        text = f"labels.kind is {_at(tables, place)!r}, expected one of {', '.join(_kinds())}"
    elif problem.startswith("Invalid enum value"):
        text = f"{place} is {_at(tables, place)!r}, expected {_choices(tables, place)}"
    elif problem.startswith("Expected"):
        expected = re.sub(r", got .*", "", problem).replace("`", "").lower()
        text = f"{place} is {_at(tables, place)!r}, {expected}"
    else:
        text = f"{place}: {problem}"
    raise RecipeError(f"{source}: {text}") from None


def _inside(place: str) -> str:
    return f"[{place}]" if place else "the recipe"


def _kinds() -> list[str]:
    return [str(kind.__struct_config__.tag) for kind in get_args(Labels)]


def _known_fields(tables: Tables, place: str) -> list[str]:
    return [field.name for field in msgspec.structs.fields(_section(tables, place))]


def _section(tables: Tables, place: str) -> type[msgspec.Struct]:
    """What describes a table of the recipe, or the recipe itself."""
    kinds = dict(zip(_kinds(), get_args(Labels), strict=True))
    match place:
        case "":
            return Recipe
        case "labels":
            return kinds[tables["labels"]["kind"]]
        case _:
            return next(f.type for f in msgspec.structs.fields(Recipe) if f.name == place)


def _choices(tables: Tables, place: str) -> str:
    """The words that a field takes."""
    table, _, name = place.partition(".")
    fields = msgspec.structs.fields(_section(tables, table))
    kind = next(field.type for field in fields if field.name == name)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = next(part for part in get_args(kind) if get_origin(part) is Literal)
    return f"{', '.join(get_args(words))} or a list of numbers"


def _at(tables: Tables, place: str) -> object:
    found: Any = tables
    for name in re.findall(r"\w+", place):
        found = found[int(name) if isinstance(found, list) else name]
    return found

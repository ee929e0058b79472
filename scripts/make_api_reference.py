"""Write docs/api.md from the names that each package exports and the first line of their docs."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

if TYPE_CHECKING:
    from types import ModuleType

TARGET = Path(__file__).parents[1] / "docs" / "api.md"
PACKAGES = (
    "hierarchy",
    "label_maps",
    "sources",
    "data",
    "losses",
    "metrics",
    "teachers",
    "prepare",
    "relabel",
    "train",
    "subsets",
    "clusters",
    "studies",
    "inspection",
    "convert",
)
MODULES = ("geometry", "manifests", "targets", "memory", "errors")
OPENING = """# Public API

Every exported name with the first line of its documentation; `help(name)` has the rest: shapes,
units, errors and sources. Import names from their package, as in
`from labelkit.data import LabelMapDataset`; everything else is internal. Made by
`scripts/make_api_reference.py`.
"""


def reference() -> str:
    """The page's text."""
    parts = [OPENING]
    for name in (*PACKAGES, *MODULES):
        module = importlib.import_module(f"labelkit.{name}")
        rows = [f"| `{each}` | {summary(module, each)} |" for each in public_names(module)]
        parts.append(
            f"## labelkit.{name}\n\n{first_line(module)}\n\n| name | what |\n|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return "\n".join(parts)


def public_names(module: ModuleType) -> list[str]:
    """What a package exports, or what a module defines."""
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return sorted(exported)
    defined = (
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    )
    return sorted(defined)


def summary(module: ModuleType, name: str) -> str:
    """The first line of a name's documentation."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return first_line(value)
    for other in [*sys.modules.values()]:
        if other.__name__.startswith(module.__name__) and vars(other).get(name) is value:
            found = documented_constants(other).get(name)
            if found:
                return as_cell(found)
    if get_origin(value) is Literal:
        return "one of " + ", ".join(f"`{choice!r}`" for choice in get_args(value))
    raise LookupError(f"{module.__name__}.{name} has no documentation")


def documented_constants(module: ModuleType) -> dict[str, str]:
    """The first lines of the strings that follow assignments."""
    body = ast.parse(inspect.getsource(module)).body
    found: dict[str, str] = {}
    for assignment, text in pairwise(body):
        match assignment, text:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                found[name] = words.strip().splitlines()[0]
            case _:
                pass
    return found


def first_line(value: object) -> str:
    """The first line of a docstring."""
    return as_cell((inspect.getdoc(value) or "").splitlines()[0])


def as_cell(text: str) -> str:
    """A line as a cell of a Markdown table."""
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference())

"""A package's names, each imported from its module when it is first asked for (PEP 562).

torch takes seconds to import; a package that holds both light and heavy parts stays light so.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """A package's ``__getattr__``.

    Args:
        package: the package's ``__name__``.
        modules: public name -> the package's module that holds it.
    """

    def get_attribute(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get_attribute

"""Where a card's weight file is. Loads no torch."""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import TeacherError
from labelkit.wording import printable

if TYPE_CHECKING:
    from labelkit.teachers.card import TeacherCard, Weights


def weight_file(card: TeacherCard, weights: Weights) -> Path:
    """The path of a card's weight file; nothing is imported to find it.

    Raises:
        TeacherError: the package or the file is missing, or the package is not the top-level
            package of an installed distribution; the message says what to do.
    """
    folder = Path(card.folder)
    if weights.package:
        found = _package_folder(weights.package)
        if found is None:
            install = weights.install or f"pip install {weights.package}"
            raise TeacherError(
                f"teacher {card.name} needs the package {printable(weights.package)}, which no "
                f"installed distribution has at its top level. Install it: {printable(install)}"
            )
        folder = found
    path = folder / weights.file
    if not path.is_file():
        raise TeacherError(
            f"teacher {card.name} has no weights at {path}. Put them there, or correct the card"
        )
    return path


def _package_folder(package: str) -> Path | None:
    """The folder of a distribution's top-level package; None if there is none of this name.

    A module of the standard library, a file next to the program and a package within a package are
    none: to find those could run code.
    """
    if not package.isidentifier() or package not in packages_distributions():
        return None
    spec = PathFinder.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None

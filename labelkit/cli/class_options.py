"""The options that say of which classes something is, and which noun each of them is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from labelkit.hierarchy import ClassList

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

names_option = click.option(
    "--names",
    type=FILE,
    help="Which noun each class is, for plain names: the file from labelkit match-names.",
)


def read_classes(source: str | None, names: Path | None) -> tuple[ClassList | None, dict[str, str]]:
    """The class list of ``--classes``, None without one, and the noun of each class that has one.

    Raises:
        click.UsageError: no such list, an empty word, or names without a list.
        LabelkitError: the list or the name file cannot be used; the message says why.
    """
    if source is None:
        if names is not None:
            raise click.UsageError(
                "--names tells the nouns of the classes in --classes: give that too, as --classes "
                "DATA where the folders of DATA are the classes"
            )
        return None, {}
    if not source.strip():
        raise click.UsageError("--classes is empty: give a text file, a folder or a named list")
    from labelkit.hierarchy import read_class_list, read_name_file

    try:
        classes = read_class_list(source)
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error
    return classes, {} if names is None else read_name_file(names).nouns_of(classes)

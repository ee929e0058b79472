"""The options that say where a tree's taxonomy comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import click

from labelkit.cli.options import FILE, names_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from labelkit.hierarchy import Rule, Taxonomy

    Command = Callable[..., object]


class Origin(TypedDict):
    """What the options say, by the names of a command's parameters."""

    names: Path | None
    taxonomy: Path | None
    form: Literal["edges", "columns", "nested"] | None
    columns: str | None
    wordnet: str | None
    rule: Rule | None
    parents: Path | None


OPTIONS: tuple[Callable[[Command], Command], ...] = (
    names_option,
    click.option(
        "--taxonomy",
        type=FILE,
        help="A taxonomy of your own instead of WordNet: an edge list (child, parent), a table of "
        "columns from coarse to fine, or nested JSON. Without CLASSES its leaves are the classes.",
    ),
    click.option(
        "--form",
        type=click.Choice(["edges", "columns", "nested"]),
        help="What --taxonomy is, where suffix and heading leave a doubt.",
    ),
    click.option(
        "--columns", metavar="A,B,...", help="Columns of --taxonomy to use, coarse to fine."
    ),
    click.option(
        "--wordnet",
        metavar="PATH|nltk",
        help="Another copy of WordNet: its dict folder, or 'nltk' for NLTK's (fetched if missing).",
    ),
    click.option(
        "--rule",
        type=click.Choice(["imagenet", "first", "shortest", "longest"]),
        help="Which of several parents to follow: ImageNet's own choice, the first one, or the one "
        "with the shortest or longest way to a root. [default: imagenet; first with --taxonomy]",
    ),
    click.option(
        "--parents",
        type=FILE,
        help="A table (child, parent) of nodes that follow another of their parents than the rule "
        "says.",
    ),
)


def taxonomy_options(command: Command) -> Command:
    """Give a command all of them; it takes them as ``**origin: Unpack[Origin]``."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check_origin(origin: Origin) -> None:
    """Raise unless the options go together.

    Raises:
        click.UsageError: they do not; the message says which.
    """
    if origin["taxonomy"] is None and (origin["form"] or origin["columns"]):
        raise click.UsageError("--form and --columns tell how to read --taxonomy FILE: give it")
    if origin["taxonomy"] and origin["wordnet"]:
        raise click.UsageError("give --taxonomy or --wordnet: a tree has one taxonomy")
    if origin["names"] and (origin["taxonomy"] or origin["wordnet"]):
        raise click.UsageError("--names is for the WordNet that comes with labelkit")
    if origin["taxonomy"] and origin["rule"] == "imagenet":
        raise click.UsageError("--rule imagenet is for WordNet: --taxonomy takes the others")


def open_taxonomy(origin: Origin) -> Taxonomy:
    """The taxonomy that the options ask for.

    Raises:
        LabelkitError: a file or a copy of WordNet cannot be read, or does not fit.
    """
    taxonomy = _graph(origin)
    if origin["parents"]:
        taxonomy = taxonomy.with_parents(_chosen_parents(origin["parents"]))
    if origin["names"]:
        from labelkit.hierarchy import read_name_file

        taxonomy = read_name_file(origin["names"]).place(taxonomy)
    return taxonomy


def _chosen_parents(path: Path) -> dict[str, str]:
    """The rows of a table of child and parent; an edge list in which each child stands once."""
    from labelkit.errors import TaxonomyError
    from labelkit.hierarchy import read_taxonomy

    table = read_taxonomy(path, form="edges")
    rows = {node: table.parents_of(node) for node in table.ids}
    twice = next((node for node, above in rows.items() if len(above) > 1), None)
    if twice is not None:
        raise TaxonomyError(f"{path}: {twice!r} has several parents here: choose one of them")
    return {node: above[0] for node, above in rows.items() if above}


def _graph(origin: Origin) -> Taxonomy:
    """WordNet or the user's own, with the rule's choice of parents."""
    if origin["taxonomy"] is None:
        from labelkit.hierarchy import Taxonomy

        word = origin["wordnet"]
        copy = Path(word) if word and word != "nltk" else word
        return Taxonomy.wordnet(copy, rule=origin["rule"] or "imagenet")
    from labelkit.hierarchy import read_taxonomy

    names = origin["columns"]
    columns = [name.strip() for name in names.split(",")] if names else None
    try:
        taxonomy = read_taxonomy(origin["taxonomy"], form=origin["form"], columns=columns)
    except ValueError as error:
        raise click.UsageError(f"{error} (--form, --columns)") from error
    return taxonomy.with_rule(origin["rule"]) if origin["rule"] else taxonomy

"""The options that choose a tree's taxonomy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import click

from labelkit.cli.options import FILE, names_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from labelkit.hierarchy import Rule, Taxonomy

    Command = Callable[..., object]


class TaxonomyChoice(TypedDict):
    """The values of the options, by the names of a command's parameters."""

    names: Path | None
    taxonomy: Path | None
    form: Literal["edges", "columns", "nested"] | None
    columns: str | None
    edges: Literal["child-parent", "parent-child"] | None
    wordnet: str | None
    rule: Rule | None
    parents: Path | None


OPTIONS: tuple[Callable[[Command], Command], ...] = (
    names_option,
    click.option(
        "--taxonomy",
        type=FILE,
        help="Your own taxonomy instead of WordNet: an edge list (child and parent), a table of "
        "columns from coarse to fine, or nested JSON. Without CLASSES, its leaves are the classes.",
    ),
    click.option(
        "--form",
        type=click.Choice(["edges", "columns", "nested"]),
        help="The form of --taxonomy, if suffix and header are ambiguous.",
    ),
    click.option(
        "--columns", metavar="A,B,...", help="Columns of --taxonomy to use, from coarse to fine."
    ),
    click.option(
        "--edges",
        type=click.Choice(["child-parent", "parent-child"]),
        help="The order of the columns of an edge list without a header, if it is ambiguous.",
    ),
    click.option(
        "--wordnet",
        metavar="PATH|nltk",
        help="Another copy of WordNet: its dict folder, or 'nltk' for NLTK's (downloaded if it is "
        "missing).",
    ),
    click.option(
        "--rule",
        type=click.Choice(["imagenet", "first", "shortest", "longest"]),
        help="Which of several parents to follow: ImageNet's own choice, the first one, or the one "
        "with the shortest or longest path to a root. [default: imagenet; first with --taxonomy]",
    ),
    click.option(
        "--parents",
        type=FILE,
        help="A table (child, parent) of nodes that follow another of their parents than --rule "
        "chooses.",
    ),
)


def taxonomy_options(command: Command) -> Command:
    """Add all of them to a command, which takes them as ``**choice: Unpack[TaxonomyChoice]``."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check_choice(choice: TaxonomyChoice) -> None:
    """Raise unless the options are compatible.

    Raises:
        click.UsageError: they are not; the message names them.
    """
    if choice["taxonomy"] is None and (choice["form"] or choice["columns"] or choice["edges"]):
        raise click.UsageError(
            "--form, --columns and --edges need --taxonomy FILE, the file to read"
        )
    if choice["taxonomy"] and choice["wordnet"]:
        raise click.UsageError("use just one of --taxonomy and --wordnet: a tree has one taxonomy")
    if choice["names"] and (choice["taxonomy"] or choice["wordnet"]):
        raise click.UsageError("--names works only with the WordNet that is included in labelkit")
    if choice["taxonomy"] and choice["rule"] == "imagenet":
        raise click.UsageError("--rule imagenet is for WordNet: use another rule with --taxonomy")


def open_taxonomy(choice: TaxonomyChoice) -> Taxonomy:
    """The taxonomy that the options choose.

    Raises:
        LabelkitError: a file or a copy of WordNet cannot be read, or does not match.
    """
    taxonomy = _graph(choice)
    if choice["parents"]:
        taxonomy = taxonomy.with_parents(_chosen_parents(choice["parents"]))
    if choice["names"]:
        from labelkit.hierarchy import read_name_file

        taxonomy = read_name_file(choice["names"]).place(taxonomy)
    return taxonomy


def _chosen_parents(path: Path) -> dict[str, str]:
    """The rows of a table of child and parent, in which each child has one row."""
    from labelkit.errors import TaxonomyError
    from labelkit.hierarchy import read_taxonomy

    table = read_taxonomy(path, form="edges")
    rows = {node: table.parents_of(node) for node in table.ids}
    ambiguous = next((node for node, above in rows.items() if len(above) > 1), None)
    if ambiguous is not None:
        raise TaxonomyError(f"{path}: {ambiguous!r} has several parents here: choose one of them")
    return {node: above[0] for node, above in rows.items() if above}


def _graph(choice: TaxonomyChoice) -> Taxonomy:
    """WordNet or the user's own taxonomy, with the parents that the rule chooses."""
    if choice["taxonomy"] is None:
        from labelkit.hierarchy import Taxonomy

        word = choice["wordnet"]
        copy = Path(word) if word and word != "nltk" else word
        return Taxonomy.wordnet(copy, rule=choice["rule"] or "imagenet")
    from labelkit.hierarchy import read_taxonomy

    names = choice["columns"]
    columns = [name.strip() for name in names.split(",")] if names else None
    try:
        taxonomy = read_taxonomy(
            choice["taxonomy"], form=choice["form"], columns=columns, edges=choice["edges"]
        )
    except ValueError as error:
        raise click.UsageError(f"{error} (--form, --columns, --edges)") from error
    return taxonomy.with_rule(choice["rule"]) if choice["rule"] else taxonomy

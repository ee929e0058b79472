"""``labelkit build-tree``: turn a class list into a tree file."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal, Unpack

import click

from labelkit.cli.options import (
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    read_class_argument,
    require_writable,
)
from labelkit.cli.taxonomy_options import (
    TaxonomyChoice,
    check_choice,
    open_taxonomy,
    taxonomy_options,
)
from labelkit.hierarchy import NAMED_LISTS, identify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy

NAMES = "\n".join(
    f"  {name:<24} {known.length:>6,}  {known.about}" for name, known in NAMED_LISTS.items()
)
EPILOG = f"""\b
Named lists:
{NAMES}

\b
Examples:
  labelkit build-tree imagenet-21k-p -o tree.json
  labelkit build-tree photos/train -o tree.json
  labelkit build-tree imagenet-1k --inner -o tree.json
  labelkit build-tree --taxonomy species.csv -o tree.json
  labelkit build-tree --taxonomy species.csv --ranks order,family -o tree.json
  labelkit build-tree cifar100.txt --names names.tsv -o tree.json
"""
DEFAULT_INNER_LEVELS = 4
MOST_SHOWN = 40


def _inner_levels(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> int | Literal["all"] | None:
    del ctx, param
    if value is None or value == "all":
        return value
    if value.isdecimal() and len(value) < 6 and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a number from 1 nor 'all'")


def _ranks(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> list[str] | Literal["all"]:
    del ctx, param
    if value == "all":
        return value
    names = [name.strip() for name in value.split(",")] if value is not None else []
    if not all(names):
        raise click.BadParameter(f"{value!r} is neither 'all' nor names separated by commas")
    return names


@click.command(epilog=EPILOG)
@click.argument("source", metavar="[CLASSES]", required=False)
@output_option("Tree file to write (.json).")
@overwrite_option
@click.option(
    "--inner",
    is_flag=True,
    help="Add levels of inner nodes above the classes, for lists in which no class is an ancestor "
    f"of another; the same as --inner-levels {DEFAULT_INNER_LEVELS}.",
)
@click.option(
    "--inner-levels",
    metavar="N|all",
    callback=_inner_levels,
    help="The maximum number of levels of inner nodes to add; 'all' adds every node that separates "
    "classes.",
)
@click.option(
    "--ranks",
    metavar="A,B,...|all",
    is_flag=False,
    flag_value="all",
    callback=_ranks,
    help="Keep these columns of a --taxonomy table, such as order and family, as named levels; "
    "'all' keeps every column.",
)
@click.option(
    "--order",
    type=click.Choice(["given", "level"]),
    default="given",
    show_default=True,
    help="'level' reorders the class list itself, level 0 first: the semantic losses are fastest "
    "that way, but the model and its data must then use the order in the tree file.",
)
@taxonomy_options
@click.option(
    "--skip-unknown",
    is_flag=True,
    help="Leave out classes that the taxonomy does not contain, and list them.",
)
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- the options
    source: str | None,
    output: Path,
    *,
    overwrite: bool,
    inner: bool,
    inner_levels: int | Literal["all"] | None,
    ranks: list[str] | Literal["all"],
    order: str,
    skip_unknown: bool,
    as_json: bool,
    **choice: Unpack[TaxonomyChoice],
) -> None:
    """Turn a class list into a semantic tree.

    CLASSES is a text file with one WordNet id (such as n01440764) per line, a folder with one
    folder per class, or one of the named lists below. Each class is placed below its nearest
    ancestor that is also a class, as in ImageNet's own tree. WordNet is included in labelkit; other
    class names need --names or a --taxonomy.
    """
    check_choice(choice)
    if source is None and choice["taxonomy"] is None:
        raise click.UsageError("pass CLASSES, or a --taxonomy whose leaves are the classes")
    if ranks and (inner or inner_levels):
        raise click.UsageError("use just one of --ranks and --inner: both add levels")
    require_writable(output, overwrite=overwrite, suffixes=(".json",))
    classes = None if source is None else read_class_argument(source)

    taxonomy = open_taxonomy(choice)
    classes = classes or taxonomy.leaves()
    skipped = taxonomy.unknown(classes) if skip_unknown else ()
    classes = _without(classes, skipped)
    levels = inner_levels or (DEFAULT_INNER_LEVELS if inner else 0)
    tree = _build(classes, taxonomy, levels, ranks)
    if order == "level":
        tree = tree.ordered_by_level()
    tree.save(output)
    if as_json:
        _print_json(tree, skipped, output)
    else:
        remarks = _remarks(tree, classes, taxonomy, wanted_inner=bool(levels))
        _print_summary(tree, classes, skipped, output, remarks)


def _build(
    classes: ClassList,
    taxonomy: Taxonomy,
    levels: int | Literal["all"],
    ranks: list[str] | Literal["all"],
) -> SemanticTree:
    """The tree.

    Raises:
        click.UsageError: the taxonomy has no such ranks.
    """
    from labelkit.hierarchy import SemanticTree

    try:
        return SemanticTree.build(classes, taxonomy, inner_levels=levels, ranks=ranks)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--ranks") from error


def _without(classes: ClassList, skipped: Sequence[str]) -> ClassList:
    """The list without some classes; if these are all, the whole list, which is then refused."""
    if not skipped or len(skipped) == len(classes):
        return classes
    from labelkit.hierarchy import ClassList

    name = f"{classes.name or 'class list'} without {len(skipped):,} unknown"
    unknown = set(skipped)
    return ClassList.of((each for each in classes if each not in unknown), name)


def _print_json(tree: SemanticTree, skipped: Sequence[str], output: Path) -> None:
    from labelkit.cli.output import print_json

    print_json(
        {
            "file": str(output),
            "class_list": {"name": tree.classes.name, "digest": tree.classes.digest},
            "classes": len(tree.data_classes),
            "inner_nodes": len(tree.inner),
            "levels": list(tree.counts),
            "ranks": list(tree.ranks),
            "roots": int((tree.parent < 0).sum()),
            "skipped": list(skipped),
            "source": dict(tree.source),
        }
    )


def _print_summary(
    tree: SemanticTree,
    given: ClassList,
    skipped: Sequence[str],
    output: Path,
    remarks: Sequence[str],
) -> None:
    from labelkit.cli.output import console, facts, print_lines, print_table
    from labelkit.wording import file_size, printable

    name = identify(given)
    also = f", the same as {name}" if name and name != given.name else ""
    deepest = tree.chain(int(tree.depth.argmax()))
    rows = [
        ("classes", f"{tree.classes}{also}"),
        ("parents from", f"{tree.source['taxonomy']}, by the rule {tree.source['rule']}"),
        ("levels", ": ".join(filter(None, (str(len(tree.counts)), ", ".join(tree.ranks))))),
        *_level_rows(tree),
        *([("skipped", f"{len(skipped):,}: {', '.join(skipped)}")] if skipped else []),
        *([("taxonomy read as", tree.source["read_as"])] if "read_as" in tree.source else []),
        ("roots", f"{(tree.parent < 0).sum():,} without a parent"),
        ("deepest chain", _shortened([tree.names[at] for at in deepest], " > ")),
        ("file", f"{output} ({file_size(output.stat().st_size)})"),
    ]
    screen = console()
    print_table(screen, facts(rows))
    for remark in remarks:
        screen.print(printable(remark))
    if skipped:
        screen.print(
            "The skipped classes are not in the tree, so the class list is shorter: class k may no "
            "longer be the k-th of CLASSES. Models and data must use the list in the tree file, "
            "without images of the skipped classes.",
            style="bold yellow",
        )
    if not _order_kept(tree, given):
        screen.print(
            "The class list is reordered: class k is no longer the k-th of CLASSES. Models and "
            "data must use the order in the tree file (SemanticTree.load(...).classes).",
            style="bold yellow",
        )
    print_lines(screen, [f"Next: labelkit inspect {shlex.quote(str(output))}"])


def _or_ranks(taxonomy: Taxonomy) -> str:
    if len(taxonomy.ranks) < 2:
        return ""
    return f"; --ranks all makes the table's ranks levels ({', '.join(taxonomy.ranks)})"


def _order_kept(tree: SemanticTree, given: ClassList) -> bool:
    return tree.classes.ids[: len(given)] == given.ids


def _level_rows(tree: SemanticTree) -> list[tuple[str, str]]:
    if not len(tree.inner):
        return [("classes by level", _shortened(tree.counts))]
    import numpy as np

    inner = np.bincount(tree.level[tree.inner], minlength=len(tree.counts))
    classes = np.array(tree.counts) - inner
    covered = (np.delete(tree.chain_table, tree.inner, axis=0) >= 0).sum(axis=0)
    return [
        ("classes by level", _shortened(classes.tolist())),
        ("inner nodes by level", _shortened(inner.tolist())),
        ("classes with a target", _shortened(covered.tolist())),
    ]


def _shortened(items: Sequence[object], between: str = "  ") -> str:
    """The items on one line; only the first and last of a large number."""
    shown = list(map(str, items))
    if len(shown) > MOST_SHOWN:
        half = MOST_SHOWN // 2
        shown = [*shown[:half], f"... {len(shown) - 2 * half:,} more ...", *shown[-half:]]
    return between.join(shown)


def _remarks(
    tree: SemanticTree, given: ClassList, taxonomy: Taxonomy, *, wanted_inner: bool
) -> list[str]:
    """What a user may not expect of such a tree, and what to do about it."""
    remarks: list[str] = []
    inner = set(tree.inner.tolist())
    nested = [
        (child, above)
        for child, above in enumerate(tree.parent.tolist())
        if above >= 0 and not inner & {child, above}
    ]
    if len(tree.counts) == 1:
        remarks.append(
            "No class is an ancestor of another, and no inner node is kept between them, so there "
            "is one level. --inner-levels all keeps every inner node; in your own taxonomy, check "
            "that the child comes first and that columns go from coarse to fine."
            if wanted_inner
            else "No class is an ancestor of another, so there is one level. --inner adds levels "
            f"above the classes{_or_ranks(taxonomy)}."
        )
    elif wanted_inner and nested:
        shown = ", ".join(f"{tree.names[low]} < {tree.names[high]}" for low, high in nested[:4])
        more = ", ..." if len(nested) > 4 else ""
        remarks.append(
            f"{len(nested):,} classes are below another class ({shown}{more}), so levels are "
            "depths, classes of different levels share no softmax, and training reports no top-1. "
            "If your classes exclude each other, place the upper one next to the others: write "
            "'under WNID' in the name file of labelkit match-names."
        )
    if inner:
        then = ", then" if _order_kept(tree, given) else " and"
        remarks.append(
            f"A model needs {len(tree.classes):,} outputs: {len(given):,} for the classes"
            f"{then} {len(inner):,} for the inner nodes."
        )
    return remarks

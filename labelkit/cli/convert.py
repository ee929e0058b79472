"""``labelkit convert``: trees and label maps out of one file format and into another."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.convert_maps import convert_maps, is_label_maps
from labelkit.cli.convert_options import MapOptions, map_options
from labelkit.convert.formats import READABLE, WRITABLE
from labelkit.wording import file_size, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy import SemanticTree

FORMATS = "\n".join(
    f"  {suffix:<9} {about}{'' if suffix in READABLE else ' (written only)'}"
    for suffix, about in WRITABLE.items()
)
EPILOG = f"""\b
Formats of trees:
{FORMATS}

\b
Formats of label maps:
  .h5       a label-map file
  folder    one .pt file an image, float [2, k, rows, columns], as ReLabel's

\b
Examples:
  labelkit convert tree.json -o tree.graphml
  labelkit convert fall11.pth -o tree.json
  labelkit convert relabel_imagenet -o maps.h5 --classes imagenet-1k \\
      --axes columns-first --images imagenet/train
  labelkit convert maps.h5 -o loose --format relabel --axes columns-first
"""


@click.command("convert", epilog=EPILOG)
@click.argument("source", metavar="SOURCE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, whose suffix says in which format; a folder with --format relabel.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it is there: a tree.")
@map_options
def command(source: Path, output: Path, *, overwrite: bool, **given: Any) -> None:  # noqa: ANN401
    """Turn a tree, or label maps, into another project's format, or back.

    What SOURCE is, its suffix tells. Of a tree, class order, names, levels and added inner nodes
    are kept, but for .pth: it holds trees only where levels are depths, and inner nodes become
    classes in it.

    A folder of loose label maps becomes one file of a quarter of its size. Interrupted, the same
    command goes on where it was. Nothing in the .pt files is executed; those that are empty, torn
    or no label maps are listed, and recorded in the file.
    """
    options = MapOptions(**given)
    if is_label_maps(source):
        convert_maps(source, output, options, overwrite=overwrite)
        return
    _check_suffix(source, READABLE, "SOURCE")
    if output.suffix.lower() == ".h5":
        raise click.UsageError(
            f"{source} is a tree: {output} could be made of a folder of label maps (.pt), or "
            "of photos with labelkit relabel"
        )
    options.require_only(set(), f"the tree {source}")
    _convert_tree(source, output, overwrite=overwrite)


def _convert_tree(source: Path, output: Path, *, overwrite: bool) -> None:
    _check_suffix(output, WRITABLE, "--output")
    if output.is_dir():
        raise click.BadParameter(f"{str(output)!r} is a folder", param_hint="--output")
    if not output.parent.is_dir():
        raise click.BadParameter(f"no folder {str(output.parent)!r}", param_hint="--output")
    if output.exists() and not overwrite:
        raise click.ClickException(f"{output} is there: give another name, or --overwrite")

    from labelkit.convert import export_tree, import_tree

    tree = import_tree(source)
    export_tree(tree, output)
    _summarise(tree, output)


def _check_suffix(path: Path, known: Mapping[str, str], hint: str) -> None:
    if path.suffix.lower() not in known:
        only = " (.dot is only written)" if path.suffix.lower() == ".dot" else ""
        raise click.BadParameter(
            f"{path} must end in one of {', '.join(known)}{only}", param_hint=hint
        )


def _summarise(tree: SemanticTree, output: Path) -> None:
    suffix = output.suffix.lower()
    if len(tree.inner) and suffix in {".pth", ".pt"}:
        nodes = "inner node is a class" if len(tree.inner) == 1 else "inner nodes are classes"
        click.echo(f"{len(tree.inner):,} {nodes} like any other in this format.")
    size = file_size(output.stat().st_size)
    click.echo(
        f"{printable(str(output))} written: {tree.classes}, {len(tree.counts)} "
        f"{'level' if len(tree.counts) == 1 else 'levels'}, {WRITABLE[suffix]}, {size}"
    )
    click.echo(f"Next: {shlex.join(map(printable, _following(output)))}")


def _following(output: Path) -> list[str]:
    """The command that goes on from a file, over none that is there."""
    match output.suffix.lower():
        case ".json":
            return ["labelkit", "inspect", str(output)]
        case ".dot":
            return ["dot", "-Tsvg", str(output), "-o", str(_free(output.with_suffix(".svg")))]
        case _:
            back = _free(output.with_suffix(".json"))
            return ["labelkit", "convert", str(output), "-o", str(back)]


def _free(path: Path) -> Path:
    """The path, or where it is taken the first of ``tree-2.json``, ``tree-3.json``, ..."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(free for free in itertools.chain([path], numbered) if not free.exists())

"""``labelkit convert``: trees and label maps from one file format to another."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.convert_maps import ConversionOptions, convert_maps, holds_label_maps, map_options
from labelkit.cli.options import (
    LABEL_MAP_SUFFIXES,
    overwrite_option,
    quiet_option,
    require_writable,
)
from labelkit.convert import TREE_FORMATS
from labelkit.wording import counted, file_size, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.hierarchy import SemanticTree

FORMATS = "\n".join(f"  {suffix:<9} {about}" for suffix, about in TREE_FORMATS.items())
EPILOG = f"""\b
Formats of trees:
{FORMATS}

\b
Formats of label maps:
  .h5       a label-map file
  folder    ReLabel's: one .pt file for each image, float [2, k, rows, columns]

\b
Examples:
  labelkit convert fall11.pth -o tree.json
  labelkit convert tree.json -o tree.csv
  labelkit convert relabel_imagenet -o maps.h5 --classes imagenet-1k \\
      --axes columns-first --images imagenet/train
  labelkit convert maps.h5 -o relabel_folder --axes columns-first
"""


@click.command("convert", epilog=EPILOG)
@click.argument("source", metavar="SOURCE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, in the format of its suffix; from a label-map file, a new folder.",
)
@overwrite_option
@quiet_option
@map_options
def command(source: Path, output: Path, *, overwrite: bool, **given: Any) -> None:  # noqa: ANN401
    """Convert a tree or label maps to another project's format, or back.

    The suffix of SOURCE decides how it is read. A tree keeps its class order, names, levels and
    inner nodes, except in .pth: that format can only hold trees whose levels are their depths, and
    inner nodes become classes in it.

    A ReLabel folder becomes one label-map file of a quarter of its size. After an interruption, the
    same command resumes. Nothing in the .pt files is executed; those that are empty, damaged or not
    label maps are listed, and recorded in the file.
    """
    options = ConversionOptions(**given)
    if holds_label_maps(source):
        convert_maps(source, output, options, overwrite=overwrite)
        return
    _check_suffix(source, "SOURCE")
    if output.suffix.lower() in LABEL_MAP_SUFFIXES:
        raise click.UsageError(
            f"{source} is a tree: a label-map file such as {output} is made from a ReLabel folder, "
            "or from photos with labelkit relabel"
        )
    options.require_only(set(), f"the tree {source}")
    _check_suffix(output, "--output")
    require_writable(output, overwrite=overwrite)
    _convert_tree(source, output)


def _check_suffix(path: Path, parameter: str) -> None:
    if path.suffix.lower() not in TREE_FORMATS:
        from labelkit.hierarchy import is_tree_file

        if path.is_file() and is_tree_file(path):
            raise click.BadParameter(
                f"{path} is a labelkit tree: rename it to end in .json", param_hint=parameter
            )
        raise click.BadParameter(
            f"{path} must end in one of {', '.join(TREE_FORMATS)}", param_hint=parameter
        )


def _convert_tree(source: Path, output: Path) -> None:
    from labelkit.cli.output import console, print_lines
    from labelkit.convert import export_tree, import_tree

    tree = import_tree(source)
    export_tree(tree, output)
    print_lines(console(), _summary(tree, output))


def _summary(tree: SemanticTree, output: Path) -> Iterator[str]:
    """What was written, and what to do next."""
    suffix = output.suffix.lower()
    if len(tree.inner) and suffix in {".pth", ".pt"}:
        nodes = counted(len(tree.inner), "inner node becomes a class", "inner nodes become classes")
        yield f"{nodes} like any other in this format."
    yield (
        f"Wrote {printable(str(output))}: {printable(str(tree.classes))}, "
        f"{counted(len(tree.counts), 'level', 'levels')}, {TREE_FORMATS[suffix]}, "
        f"{file_size(output.stat().st_size)}"
    )
    yield f"Next: {shlex.join(map(printable, _next_command(output)))}"


def _next_command(output: Path) -> list[str]:
    """A command that continues from a file without replacing another one."""
    match output.suffix.lower():
        case ".json":
            return ["labelkit", "inspect", str(output)]
        case _:
            back = _unused(output.with_suffix(".json"))
            return ["labelkit", "convert", str(output), "-o", str(back)]


def _unused(path: Path) -> Path:
    """The path, or if it exists the first of ``tree-2.json``, ``tree-3.json``, … that does not."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(free for free in itertools.chain([path], numbered) if not free.exists())

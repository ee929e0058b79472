"""``labelkit inspect``: what a tree or a label-map file holds; drawings and pages of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from labelkit.wording import file_size

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree
    from labelkit.label_maps import LabelMapFile

EPILOG = """\b
Examples:
  labelkit inspect tree.json
  labelkit inspect tree.json --path 'great white shark'
  labelkit inspect tree.json --find shark
  labelkit inspect tree.json --subtree n01482330 --depth 2
  labelkit inspect tree.json -o tree.html
  labelkit inspect maps.h5
  labelkit inspect maps.h5 --images photos/train -o report.html
  labelkit inspect maps.h5 --images photos/train --key n01440764/1.jpg -o tench.png
  labelkit inspect maps.h5 --key n01440764/1.jpg
"""
DEPTH, LIMIT = 3, 30


@dataclass(frozen=True)
class TreeOptions:
    """The options that belong to trees; None was not given."""

    path: str | None
    find: str | None
    subtree: str | None
    depth: int | None
    limit: int | None

    @property
    def given(self) -> list[str]:
        """The options that were given."""
        return [f"--{name}" for name, value in vars(self).items() if value is not None]


@click.command("inspect", epilog=EPILOG)
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--path", "to", metavar="CLASS", help="Tree: draw the path from the root to a class.")
@click.option("--find", metavar="TEXT", help="Tree: classes with TEXT in id, name or definition.")
@click.option("--subtree", metavar="CLASS", help="Tree: draw the classes below a class.")
@click.option(
    "--depth",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"With --subtree: N levels of it at most. [default: {DEPTH}]",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"With --find: N classes at most. [default: {LIMIT}]",
)
@click.option("--key", help="Label maps: one image, by its path below the folder.")
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Label maps: the folder that they were made from.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Tree: a page to search and unfold it in (.html). With --images: a picture of --key "
    "(.png), or a page of several images (.html). "
    "[default with --key: the key's name with .labels.png]",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it is there.")
def command(  # noqa: PLR0913, PLR0917 -- one a command-line option
    path: Path,
    to: str | None,
    find: str | None,
    subtree: str | None,
    depth: int | None,
    limit: int | None,
    key: str | None,
    images: Path | None,
    output: Path | None,
    overwrite: bool,  # noqa: FBT001 -- a flag of the command line
) -> None:
    """Summarise the tree or label-map file PATH, or show one entry of it.

    Which of the two PATH is, its content tells. A CLASS is an id, or a name; classes that share
    the name are all shown. Without -o everything is shown in the terminal.
    """
    from labelkit.hierarchy import SemanticTree
    from labelkit.inspection import open_artifact

    options = TreeOptions(to, find, subtree, depth, limit)
    opened = open_artifact(path)
    if isinstance(opened, SemanticTree):
        _check_tree_options(path, options, key, images, output)
        if output:
            return _write_tree_page(opened, _check_output(output, None, overwrite=overwrite))
        return _inspect_tree(path, opened, options)
    with opened:
        if options.given:
            raise click.UsageError(
                f"{path} holds label maps: {options.given[0]} is for trees, --key shows an image"
            )
        if output and not images:
            raise click.UsageError("-o needs --images, the folder that the maps were made from")
        if images and (key or output):
            target = _check_output(output, key, overwrite=overwrite)
            return _write(opened, images, key, target)
        return _inspect_label_maps(opened, key, images)


def _check_tree_options(
    path: Path, options: TreeOptions, key: str | None, images: Path | None, output: Path | None
) -> None:
    """Refuse what is not for trees, and two wishes at once."""
    if key is not None:
        raise click.UsageError(f"{path} is a tree: --key is for label maps, --path shows a class")
    if images:
        raise click.UsageError(f"{path} is a tree: --images is for label maps")
    wishes = [name for name in options.given if name not in {"--depth", "--limit"}]
    wishes += ["-o"] if output else []
    if len(wishes) > 1:
        raise click.UsageError(f"{' and '.join(wishes)} exclude each other: one at a time")
    for name, needed in (("--depth", "--subtree"), ("--limit", "--find")):
        if name in options.given and needed not in wishes:
            raise click.UsageError(f"{name} is for {needed}")


def _check_output(output: Path | None, key: str | None, *, overwrite: bool) -> Path:
    """The file to write, refused before any work if it is not to be written."""
    wanted = ".png" if key else ".html"
    if output is None:
        # A key may begin with a dash or hold what a shell or another system dislikes.
        stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(key or "").stem).lstrip("-.") or "image"
        output = Path(f"{stem}.labels.png")
    if output.suffix.lower() != wanted:
        what = "a picture of --key" if key else "it is a page"
        raise click.BadParameter(f"{output} must end in {wanted}: {what}", param_hint="--output")
    if not output.parent.is_dir():
        raise click.BadParameter(f"no folder {str(output.parent)!r}", param_hint="--output")
    if output.exists() and not overwrite:
        raise click.ClickException(f"{output} is there: give another name, or --overwrite")
    return output


def _write(file: LabelMapFile, images: Path, key: str | None, output: Path) -> None:
    """Write the picture of one key, or the page of several."""
    import io

    from labelkit.files import replace_file
    from labelkit.hierarchy import class_names
    from labelkit.inspection import (
        draw_label_map,
        find_label_map,
        label_map_report,
        open_photo,
        write_page,
    )

    if key is None:
        write_page(output, label_map_report(file, images))
    else:
        label_map = find_label_map(file, key)
        picture = draw_label_map(open_photo(images, key), label_map, class_names(file.classes))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        replace_file(output, buffer.getvalue())
    click.echo(f"{output} written ({file_size(output.stat().st_size)})")


def _write_tree_page(tree: SemanticTree, output: Path) -> None:
    """Write the page of a whole tree."""
    from labelkit.hierarchy import definitions
    from labelkit.inspection import write_tree_page

    write_tree_page(output, tree, definitions(tree.classes))
    click.echo(f"{output} written ({file_size(output.stat().st_size)})")
    click.echo(f"Open it in a browser; {output.name}#ID opens it at a class.")


def _inspect_tree(path: Path, tree: SemanticTree, options: TreeOptions) -> None:
    from labelkit.cli.inspect_trees import print_found, print_paths, print_subtree, print_tree
    from labelkit.hierarchy import definitions
    from labelkit.inspection import find_classes, search_classes, summarize_tree

    if options.path is not None:
        classes = find_classes(tree, options.path)
        print_paths(tree, classes, definitions(tree.classes))
    elif options.find is not None:
        meanings = definitions(tree.classes)
        found = search_classes(tree, options.find, meanings)
        print_found(tree, found, meanings, options.limit or LIMIT)
    elif options.subtree is not None:
        for at in find_classes(tree, options.subtree):
            print_subtree(tree, at, options.depth or DEPTH)
    else:
        print_tree(summarize_tree(path, tree))


def _inspect_label_maps(file: LabelMapFile, key: str | None, images: Path | None) -> None:
    from labelkit.cli.inspect_tables import print_label_map, print_label_maps
    from labelkit.inspection import find_label_map, summarize_label_maps

    if key is None:
        return print_label_maps(summarize_label_maps(file), images)
    return print_label_map(find_label_map(file, key), file.classes, key)

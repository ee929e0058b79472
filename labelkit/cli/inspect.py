"""``labelkit inspect``: what a tree or a label-map file holds; one image as a picture."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree
    from labelkit.label_maps import LabelMapFile

EPILOG = """\b
Examples:
  labelkit inspect maps.h5
  labelkit inspect maps.h5 --images photos/train -o report.html
  labelkit inspect maps.h5 --images photos/train --key n01440764/1.jpg -o tench.png
  labelkit inspect maps.h5 --key n01440764/1.jpg
  labelkit inspect tree.json --key 'great white shark'
"""


@click.command("inspect", epilog=EPILOG)
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that the label maps were made from.",
)
@click.option("--key", help="One image of a label-map file; or a class of a tree, by id or name.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --images: a picture of --key (.png), or a page of several images (.html). "
    "[default with --key: the key's name with .labels.png]",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it is there.")
def command(
    path: Path,
    images: Path | None,
    key: str | None,
    output: Path | None,
    overwrite: bool,  # noqa: FBT001 -- a flag of the command line
) -> None:
    """Summarise the tree or label-map file PATH, or show one entry of it.

    Which of the two PATH is, its content tells. --key shows one class's path from the root of a
    tree, or the classes of one image: with --images as a picture, else in the terminal.
    """
    from labelkit.hierarchy import SemanticTree
    from labelkit.inspection import open_artifact

    opened = open_artifact(path)
    if isinstance(opened, SemanticTree):
        if images or output:
            raise click.UsageError(f"{path} is a tree: --images and -o are for label maps")
        return _inspect_tree(path, opened, key)
    with opened:
        if output and not images:
            raise click.UsageError("-o needs --images, the folder that the maps were made from")
        if images and (key or output):
            target = _check_output(output, key, overwrite=overwrite)
            return _write(opened, images, key, target)
        return _inspect_label_maps(opened, key, images)


def _check_output(output: Path | None, key: str | None, *, overwrite: bool) -> Path:
    """The file to write, refused before any work if it is not to be written."""
    wanted = ".png" if key else ".html"
    if output is None:
        # A key may begin with a dash or hold what a shell or another system dislikes.
        stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(key or "").stem).lstrip("-.") or "image"
        output = Path(f"{stem}.labels.png")
    if output.suffix.lower() != wanted:
        what = "a picture of --key" if key else "without --key it is a page"
        raise click.BadParameter(f"{output} must end in {wanted}: {what}", param_hint="--output")
    if not output.parent.is_dir():
        raise click.BadParameter(f"no folder {str(output.parent)!r}", param_hint="--output")
    if output.exists() and not overwrite:
        raise click.ClickException(f"{output} is there: give another name, or --overwrite")
    return output


def _write(file: LabelMapFile, images: Path, key: str | None, output: Path) -> None:
    """Write the picture of one key, or the page of several."""
    import io

    from labelkit.hierarchy import class_names
    from labelkit.hierarchy.tree_file import replace_file
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
    click.echo(f"{output} written ({output.stat().st_size / 1000:,.0f} KB)")


def _inspect_tree(path: Path, tree: SemanticTree, key: str | None) -> None:
    from labelkit.cli.inspect_tables import print_tree, print_tree_path
    from labelkit.inspection import find_classes
    from labelkit.inspection.summary import summarize_tree

    if key is None:
        return print_tree(summarize_tree(path, tree))
    for class_index in find_classes(tree, key):
        print_tree_path(tree, class_index)
    return None


def _inspect_label_maps(file: LabelMapFile, key: str | None, images: Path | None) -> None:
    from labelkit.cli.inspect_tables import print_label_map, print_label_maps
    from labelkit.inspection import find_label_map
    from labelkit.inspection.summary import summarize_label_maps

    if key is None:
        return print_label_maps(summarize_label_maps(file), images)
    return print_label_map(find_label_map(file, key), file.classes, key)

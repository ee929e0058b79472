"""``labelkit inspect``: what labelkit's files hold, as text, JSON, pictures or pages."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import (
    FILE,
    images_option,
    json_option,
    key_option,
    open_images,
    output_option,
    overwrite_option,
    quiet_option,
    require_writable,
    source_options,
)
from labelkit.wording import file_size, printable

if TYPE_CHECKING:
    from labelkit.hierarchy import Coarsening, SemanticTree
    from labelkit.label_maps import LabelMapFile

EPILOG = """\b
Examples:
  labelkit inspect tree.json
  labelkit inspect tree.json --path 'great white shark'
  labelkit inspect tree.json --find shark
  labelkit inspect tree.json --subtree n01482330 --depth 2
  labelkit inspect tree.json -o tree.html
  labelkit inspect maps.h5
  labelkit inspect maps.h5 --json
  labelkit inspect maps.h5 --key n01440764/1.jpg
  labelkit inspect maps.h5 --images photos/train -o report.html
  labelkit inspect maps.h5 --images photos/train --key n01440764/1.jpg -o tench.png
"""
DEFAULT_DEPTH, DEFAULT_LIMIT = 3, 30


@dataclass(frozen=True)
class TreeOptions:
    """The options for trees; None if not given."""

    path: str | None
    find: str | None
    subtree: str | None
    depth: int | None
    limit: int | None

    @property
    def given(self) -> list[str]:
        """The options that were given."""
        return [f"--{name}" for name, value in vars(self).items() if value is not None]


@dataclass(frozen=True)
class ImageOptions:
    """The options for label maps; None if not given."""

    key: str | None
    images: Path | None


@click.command("inspect", epilog=EPILOG)
@click.argument("path", type=FILE)
@click.option("--path", "to", metavar="CLASS", help="Tree: draw the path from the root to a class.")
@click.option("--find", metavar="TEXT", help="Tree: classes with TEXT in id, name or definition.")
@click.option("--subtree", metavar="CLASS", help="Tree: draw the classes below a class.")
@click.option(
    "--depth",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"With --subtree: at most N levels. [default: {DEFAULT_DEPTH}]",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"With --find: at most N classes. [default: {DEFAULT_LIMIT}]",
)
@key_option
@images_option("Label maps: the images that they were made from: a folder, a tar, …")
@source_options
@output_option(
    "Tree: a page to search and unfold it (.html). Label maps with --images: a picture of --key "
    "(.png), or a page of several images (.html). [default with --images and --key: the image's "
    "name with .labels.png, in the current folder]",
    required=False,
)
@overwrite_option
@json_option
@quiet_option
def command(  # noqa: PLR0913, PLR0917 -- one per command-line option
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
    as_json: bool,  # noqa: FBT001 -- likewise
) -> None:
    """Summarize the tree, coarsening or label-map file PATH, or show one of its entries.

    The content of PATH decides which of these it is. A CLASS is an id or a name; if several
    classes share a name, all of them are shown. Without -o, everything is printed.
    """
    from labelkit.hierarchy import Coarsening, SemanticTree
    from labelkit.inspection import open_artifact

    tree_options, map_options = (
        TreeOptions(to, find, subtree, depth, limit),
        ImageOptions(key, images),
    )
    if as_json and (tree_options.given or key is not None or output):
        raise click.UsageError("--json prints the summary of a whole file: use it alone")
    opened = open_artifact(path)
    if isinstance(opened, Coarsening):
        _check_coarsening_options(path, tree_options, map_options, output)
        _print_coarsening(path, opened, as_json=as_json)
        return
    if isinstance(opened, SemanticTree):
        _check_tree_options(path, tree_options, map_options, output)
        if output:
            require_writable(output, overwrite=overwrite, suffixes=(".html",))
            _write_tree_page(opened, output)
        else:
            _print_tree(path, opened, tree_options, as_json=as_json)
        return
    with opened:
        _check_map_options(path, tree_options, map_options, output)
        if images and (key is not None or output):
            target = output or _default_picture(key or "", images)
            suffix = ".html" if key is None else ".png"
            require_writable(target, overwrite=overwrite, suffixes=(suffix,))
            _draw_label_maps(opened, images, key, target)
        else:
            _print_label_maps(path, opened, map_options, as_json=as_json)


def _check_coarsening_options(
    path: Path, tree_options: TreeOptions, options: ImageOptions, output: Path | None
) -> None:
    """Refuse all options but --json, which are for other files."""
    given = tree_options.given
    given += ["--key"] if options.key is not None else []
    given += ["--images"] if options.images else []
    given += ["-o"] if output else []
    if given:
        raise click.UsageError(
            f"{path} is a coarsening: {given[0]} is for trees or label maps. inspect shows its "
            "classes, and the tree that it was made from has the rest"
        )


def _print_coarsening(path: Path, coarsening: Coarsening, *, as_json: bool) -> None:
    from labelkit.cli.coarsen import print_coarsening, print_coarsening_json

    if as_json:
        print_coarsening_json(path, coarsening)
    else:
        print_coarsening(path, coarsening)


def _check_tree_options(
    path: Path, options: TreeOptions, map_options: ImageOptions, output: Path | None
) -> None:
    """Refuse options that are not for trees, and several views at once."""
    if map_options.key is not None:
        raise click.UsageError(f"{path} is a tree: --key is for label maps, --path shows a class")
    if map_options.images:
        raise click.UsageError(f"{path} is a tree: --images is for label maps")
    views = [name for name in options.given if name not in {"--depth", "--limit"}]
    views += ["-o"] if output else []
    if len(views) > 1:
        raise click.UsageError(f"use just one of {', '.join(views)}")
    for name, needed in (("--depth", "--subtree"), ("--limit", "--find")):
        if name in options.given and needed not in views:
            raise click.UsageError(f"{name} needs {needed}")


def _check_map_options(
    path: Path, tree_options: TreeOptions, options: ImageOptions, output: Path | None
) -> None:
    """Refuse options that are not for label maps, and pictures without images."""
    if tree_options.given:
        raise click.UsageError(
            f"{path} holds label maps: {tree_options.given[0]} is for trees, --key shows an image"
        )
    if output and not options.images:
        raise click.UsageError("-o needs --images, what the label maps were made from")


def _default_picture(key: str, images: Path) -> Path:
    """The picture of a key in the current folder, which must not be that of the images."""
    if Path.cwd().is_relative_to(images.resolve()):
        raise click.UsageError(
            f"the current folder is inside --images {images}, and a picture there would become "
            "one of its images: pass -o with a path outside of it"
        )
    # A key may begin with a dash, or contain characters that a shell or another system rejects.
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(key).stem).lstrip("-.") or "image"
    return Path(f"{stem}.labels.png")


def _draw_label_maps(file: LabelMapFile, images: Path, key: str | None, output: Path) -> None:
    """Write the picture of one key, or the page of several images."""
    import io

    from labelkit.files import replace_file
    from labelkit.inspection import (
        draw_label_map,
        find_label_map,
        label_map_report,
        open_photo,
        output_names,
        write_page,
    )

    if key is None:
        write_page(output, label_map_report(file, open_images(images)))
    else:
        label_map = find_label_map(file, key)
        picture = draw_label_map(
            open_photo(open_images(images), key), label_map, output_names(file)
        )
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        replace_file(output, buffer.getvalue())
    _print_written(output)


def _write_tree_page(tree: SemanticTree, output: Path) -> None:
    from labelkit.hierarchy import definitions
    from labelkit.inspection import write_tree_page

    write_tree_page(output, tree, definitions(tree.classes))
    _print_written(output, f"Open it in a browser; {output.name}#ID opens it at a class.")


def _print_written(output: Path, *more: str) -> None:
    from labelkit.cli.output import console, print_lines

    wrote = f"Wrote {output} ({file_size(output.stat().st_size)})"
    print_lines(console(), map(printable, (wrote, *more)))


def _print_tree(path: Path, tree: SemanticTree, options: TreeOptions, *, as_json: bool) -> None:
    from labelkit.cli.inspect_printing import (
        print_found,
        print_paths,
        print_subtree,
        print_summary_json,
        print_tree,
    )
    from labelkit.hierarchy import definitions
    from labelkit.inspection import find_classes, search_classes, summarize_tree

    if options.path is not None:
        classes = find_classes(tree, options.path)
        print_paths(tree, classes, definitions(tree.classes))
    elif options.find is not None:
        meanings = definitions(tree.classes)
        found = search_classes(tree, options.find, meanings)
        print_found(tree, found, meanings, options.limit or DEFAULT_LIMIT)
    elif options.subtree is not None:
        for index in find_classes(tree, options.subtree):
            print_subtree(tree, index, options.depth or DEFAULT_DEPTH)
    elif as_json:
        print_summary_json(summarize_tree(path, tree))
    else:
        print_tree(summarize_tree(path, tree))


def _print_label_maps(
    path: Path, file: LabelMapFile, options: ImageOptions, *, as_json: bool
) -> None:
    from labelkit.cli.inspect_printing import (
        print_label_map,
        print_label_maps,
        print_summary_json,
    )
    from labelkit.hierarchy import ClassList
    from labelkit.inspection import find_label_map, summarize_label_maps

    if options.key is not None:
        print_label_map(find_label_map(file, options.key), ClassList(file.outputs), options.key)
    elif as_json:
        print_summary_json(summarize_label_maps(file))
    else:
        print_label_maps(replace(summarize_label_maps(file), path=path), options.images)

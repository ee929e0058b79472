"""The part of ``labelkit convert`` for label maps: its options, and both directions."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from labelkit.cli.options import LABEL_MAP_SUFFIXES, images_option, open_images, require_writable
from labelkit.wording import counted, file_size, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from labelkit.convert import ExportResult, FolderRecord, Pairing
    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMapFile

    Command: TypeAlias = Callable[..., object]

FILE_SUFFIXES = (*LABEL_MAP_SUFFIXES, ".pt", ".pth", ".npz")
SHOWN = 5
MISSING_AXES = (
    "pass --axes: the .pt files do not record which axis runs down the image, and the wrong one "
    "gives every crop the labels of another part. columns-first is how the loader published with "
    "ReLabel reads them; rows-first is what most other code writes. If unsure, convert a few with "
    "each and check that classes lie on their objects: "
    "labelkit inspect maps.h5 --images FOLDER -o report.html"
)

OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--axes",
        type=click.Choice(["rows-first", "columns-first"]),
        help="ReLabel folders: which of a tensor's last two axes runs down the image, the first "
        "(rows-first) or the second (columns-first). The files do not record it. The loader "
        "published with ReLabel reads them columns-first.",
    ),
    click.option(
        "--classes",
        metavar="LIST",
        help="From a ReLabel folder: the class list of its indices. A text file, a folder of class "
        "folders, or a named list.",
    ),
    images_option(
        "From a ReLabel folder: the images, a folder, a tar, … Each map belongs to the image with "
        "the same path except for the extension."
    ),
    click.option(
        "--suffix",
        metavar=".JPEG",
        help="From a ReLabel folder, instead of --images: the file extension of all images.",
    ),
    click.option(
        "--scores",
        type=click.Choice(["uint8", "float16", "float32"]),
        help="From a ReLabel folder: how to store scores; uint8 has 255 steps over the image's own "
        "range. [default: uint8]",
    ),
    click.option(
        "--topk",
        "top_k",
        type=click.IntRange(1),
        help="To a ReLabel folder: classes per cell. [default: those that a cell stores, or 5 with "
        "a background]",
    ),
)


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """The options for label maps, by the names of the command's parameters; None if not given."""

    axes: Literal["rows-first", "columns-first"] | None
    classes: str | None
    images: Path | None
    suffix: str | None
    scores: Literal["uint8", "float16", "float32"] | None
    top_k: int | None

    def require_only(self, allowed: set[str], source: str) -> None:
        """Refuse options that do not apply to this source.

        Raises:
            click.UsageError: there are some; the message names them.
        """
        given = [name.replace("_", "") for name, value in vars(self).items() if value is not None]
        wrong = [f"--{name}" for name in given if name not in allowed]
        if wrong:
            raise click.UsageError(f"{', '.join(wrong)} cannot be used with {source}")


def map_options(command: Command) -> Command:
    """Add all of these options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def holds_label_maps(source: Path) -> bool:
    """Whether a path is a folder, or a file with a label-map file's suffix that is not a tree."""
    if source.is_dir() or source.suffix.lower() not in LABEL_MAP_SUFFIXES:
        return source.is_dir()
    from labelkit.hierarchy import is_tree_file

    return not source.is_file() or not is_tree_file(source)


def convert_maps(
    source: Path, output: Path, options: ConversionOptions, *, overwrite: bool
) -> None:
    """Convert a ReLabel folder to a label-map file, or a label-map file to a ReLabel folder.

    Raises:
        click.UsageError: options are missing, or contradict each other.
        LabelkitError: a file is damaged, or not of the expected kind.
        OSError: a disk error.
    """
    if source.is_dir():
        _from_folder(source, output, options, overwrite=overwrite)
    else:
        _to_folder(source, output, options, overwrite=overwrite)


def _from_folder(
    source: Path, output: Path, options: ConversionOptions, *, overwrite: bool
) -> None:
    options.require_only({"axes", "classes", "images", "suffix", "scores"}, f"the folder {source}")
    require_writable(output, overwrite=overwrite, suffixes=LABEL_MAP_SUFFIXES)
    if (options.images is None) == (options.suffix is None):
        raise click.UsageError(
            "pass either --images FOLDER, the folder of images, or --suffix .JPEG, if all images "
            "have that file extension"
        )
    from labelkit.cli.output import console, print_lines
    from labelkit.cli.progress import progress_bar
    from labelkit.convert import RelabelFolder, folder_record, import_relabel_folder

    record = folder_record(source)
    axes = options.axes or (record.axes if record else None)
    if axes is None:
        raise click.UsageError(MISSING_AXES)
    if record and axes != record.axes:
        raise click.UsageError(f"{source} is {record.axes}, according to its labelkit.json")
    classes = _classes(options, record, source)
    folder = RelabelFolder(source, classes, axes, options.scores or "uint8")
    pairing = _pair(source, options)
    screen = console()
    with progress_bar(screen, "Label maps", "files") as advance:
        file = import_relabel_folder(folder, pairing.keys, output, advance, overwrite=overwrite)
    print_lines(screen, map(printable, _imported(file, output, source, pairing, options)))


def _classes(options: ConversionOptions, record: FolderRecord | None, source: Path) -> ClassList:
    from labelkit.hierarchy import ClassList

    given = _given_classes(options)
    if record:
        recorded = ClassList.of(record.classes, record.classes_name)
        if given:
            hint = "Leave out --classes."
            recorded.require_equal(given, ours=str(source), theirs="--classes", hint=hint)
        return recorded
    if given is None:
        raise click.UsageError(
            "pass --classes, the list that the class indices refer to: imagenet-1k for the maps "
            "that ReLabel publishes"
        )
    return given


def _given_classes(options: ConversionOptions) -> ClassList | None:
    from labelkit.hierarchy import read_class_list

    if options.classes is None:
        return None
    try:
        return read_class_list(options.classes)
    except FileNotFoundError as error:
        raise click.BadParameter(str(error), param_hint="--classes") from error


def _pair(source: Path, options: ConversionOptions) -> Pairing:
    from labelkit.convert import list_maps, pair_by_suffix, pair_with_images

    suffix = options.suffix or ""
    if options.images is None and (suffix[0:1] != "." or len(suffix) < 2 or "/" in suffix):
        raise click.BadParameter(
            f"{suffix!r} is not a file extension such as .JPEG", param_hint="--suffix"
        )
    stems = list_maps(source)
    if options.images is None:
        return pair_by_suffix(stems, suffix)

    return pair_with_images(stems, open_images(options.images).keys)


def _imported(
    file: LabelMapFile, output: Path, source: Path, pairing: Pairing, options: ConversionOptions
) -> Iterator[str]:
    """What was written, what was skipped, and what to do next."""
    form = file.forms[0]
    maps = counted(len(file), "label map", "label maps")
    yield (
        f"Wrote {output}: {maps} with {form.top_k} classes per cell on a "
        f"{form.grid[0]}x{form.grid[1]} grid, {file.classes}, {file_size(file.path.stat().st_size)}"
    )
    unreadable = [f"{key}: {reason}" for key, reason in file.unreadable.items()]
    yield from _listed("Skipped, with the reason recorded in the file", unreadable)
    yield from _listed(f"Images without a map in {source}", pairing.without_map)
    yield from _listed(f"Maps without an image in {options.images}", pairing.without_image)
    images = str(options.images or "FOLDER")
    inspect = ["labelkit", "inspect", str(output), "--images", images, "-o", "report.html"]
    yield f"Next, check that classes lie on their objects: {shlex.join(inspect)}"


def _to_folder(source: Path, output: Path, options: ConversionOptions, *, overwrite: bool) -> None:
    options.require_only({"axes", "topk"}, f"the label maps {source}")
    if overwrite:
        raise click.UsageError(
            "--overwrite replaces single files: remove a ReLabel folder yourself"
        )
    if not output.absolute().parent.is_dir():
        raise click.UsageError(f"no such folder: {output.parent}")
    if output.suffix.lower() in FILE_SUFFIXES or (output.exists() and not output.is_dir()):
        raise click.UsageError(
            f"{output} cannot be written: label maps become a folder of .pt files, so pass the "
            "name of a new folder"
        )
    if options.axes is None:
        raise click.UsageError(MISSING_AXES)
    from labelkit.cli.output import console, print_lines
    from labelkit.cli.progress import progress_bar
    from labelkit.convert import export_relabel_folder
    from labelkit.label_maps import LabelMapFile

    screen = console()
    with LabelMapFile.open(source) as file:
        try:
            with progress_bar(screen, "Files", "files") as advance:
                result = export_relabel_folder(file, output, options.axes, options.top_k, advance)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--topk") from error
        print_lines(screen, map(printable, _exported(file, output, result, options.axes)))


def _exported(file: LabelMapFile, output: Path, result: ExportResult, axes: str) -> Iterator[str]:
    """What was written, and what such a folder cannot hold."""
    form = file.forms[0]
    grid = form.grid if axes == "rows-first" else form.grid[::-1]
    kept = f" ({result.kept:,} of them from an earlier run)" if result.kept else ""
    yield (
        f"Wrote {output}: {counted(len(file), 'label map', 'label maps')}{kept}, "
        f"float32 [2, {result.top_k}, {grid[0]}, {grid[1]}], {axes}"
    )
    if form.selection == "image" and result.top_k < len(file.classes):
        yield f"Each cell has its {result.top_k} strongest of all {len(file.classes):,} classes."
    if form.background:
        yield (
            "The background is lost: a class that a cell does not store has logit 0 there. The "
            "mean logit of all other classes is subtracted from the scores, so that 0 is right for "
            "them."
        )
    if file.calibration:
        yield (
            "The calibration is lost: a ReLabel folder holds logits, and its targets are pooled as "
            "published."
        )
    if file.header.other:
        yield (
            "*other* is lost: the probability of the teacher's classes outside the list is shared "
            "out among the classes."
        )
    if form.log_sum_exp:
        yield "The log-sum-exp of each cell is lost: the .pt files cannot hold it."
    unreadable = [f"{key}: {reason}" for key, reason in file.unreadable.items()]
    yield from _listed("Images without a map, because they could not be read", unreadable)


def _listed(title: str, entries: Sequence[str]) -> Iterator[str]:
    """How many entries there are, and the first few; nothing if there are none."""
    if entries:
        yield f"{title}: {len(entries):,}"
        yield from (f"  {entry}" for entry in entries[:SHOWN])
        if len(entries) > SHOWN:
            yield f"  and {len(entries) - SHOWN:,} more"

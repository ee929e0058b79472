"""The part of ``labelkit convert`` that turns label maps into other projects' files, and back."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from labelkit.wording import file_size, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from labelkit.cli.convert_options import MapOptions
    from labelkit.convert import Exported
    from labelkit.convert.relabel_listing import Pairs
    from labelkit.convert.relabel_record import FolderRecord
    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMapFile


FILES = (".h5", ".hdf5")
SHOWN = 5
MISSING_AXES = (
    "say --axes: the files do not tell which axis runs down the image, and a wrong one gives every "
    "crop the labels of another. columns-first is how the loader published with ReLabel reads "
    "them; rows-first is what most other code writes. Not sure? Convert a few with each, and look "
    "where the objects are: labelkit inspect maps.h5 --images DATA -o report.html"
)


def is_label_maps(source: Path) -> bool:
    """Whether the path to convert is one of label maps, by what it is and how it ends."""
    return source.is_dir() or source.suffix.lower() in FILES


def convert_maps(source: Path, output: Path, options: MapOptions, *, overwrite: bool) -> None:
    """Convert label maps in the direction that the paths and options tell.

    Raises:
        click.UsageError: they tell none, or contradict each other.
        LabelkitError: a file that is not what it should be.
        OSError: the disk fails.
    """
    if overwrite:
        raise click.UsageError("--overwrite is for trees: remove label maps yourself")
    if source.is_dir():
        _from_folder(source, output, options)
    elif options.layout is not None:
        _to_folder(source, output, options)
    else:
        raise click.UsageError(
            f"{source} holds label maps: pass --format relabel to write a folder of .pt files"
        )


def _from_folder(source: Path, output: Path, options: MapOptions) -> None:
    options.require_only({"axes", "classes", "images", "suffix", "scores"}, f"the folder {source}")
    _require_suffix(output, FILES, "a ReLabel folder becomes one label-map file")
    if (options.images is None) == (options.suffix is None):
        raise click.UsageError(
            "say what the images are called: --images DATA, the folder that they are in, or "
            "--suffix .JPEG, if they all end so"
        )
    from labelkit.cli.progress import progress_bar
    from labelkit.convert import Reading, folder_record, import_relabel_folder

    record = folder_record(source)
    axes = options.axes or (record.axes if record else None)
    if axes is None:
        raise click.UsageError(MISSING_AXES)
    if record and axes != record.axes:
        raise click.UsageError(f"{source} was written {record.axes}, as its labelkit.json says")
    reading = Reading(source, _classes(options, record, source), axes, options.scores or "uint8")
    pairs = _pairs(source, options)
    console = _console()
    with progress_bar(console, "Label maps", "files") as advance:
        file = import_relabel_folder(reading, pairs.keys, output, advance)
    _print(_imported(file, source, pairs, options))


def _classes(options: MapOptions, record: FolderRecord | None, source: Path) -> ClassList:
    from labelkit.hierarchy import ClassList

    given = _given_classes(options)
    if record:
        own = ClassList.of(record.classes, record.classes_name)
        hint = "Leave --classes away."
        own.require_equal(given or own, ours=str(source), theirs="--classes", hint=hint)
        return own
    if given is None:
        raise click.UsageError(
            "say --classes: the list of the class indices, such as imagenet-1k for the maps that "
            "ReLabel publishes"
        )
    return given


def _given_classes(options: MapOptions) -> ClassList | None:
    from labelkit.hierarchy import read_class_list

    if options.classes is None:
        return None
    try:
        return read_class_list(options.classes)
    except FileNotFoundError as error:
        raise click.BadParameter(str(error), param_hint="--classes") from error


def _pairs(source: Path, options: MapOptions) -> Pairs:
    from labelkit.convert import list_maps, pair_by_suffix, pair_with_images

    suffix = options.suffix or ""
    if options.images is None and (suffix[0:1] != "." or len(suffix) < 2 or "/" in suffix):
        raise click.BadParameter(f"{suffix!r} is no ending such as .JPEG", param_hint="--suffix")
    stems = list_maps(source)
    if options.images is None:
        return pair_by_suffix(stems, suffix)
    from labelkit.data import list_images

    return pair_with_images(stems, list_images(options.images))


def _imported(file: LabelMapFile, source: Path, pairs: Pairs, options: MapOptions) -> Iterator[str]:
    """What was made, what was left out, and what to look at next."""
    form = file.forms[0]
    size = file.path.stat().st_size
    yield (
        f"{file.path} made: {len(file):,} label maps of {form.top_k} classes a cell on a grid of "
        f"{form.grid[0]}x{form.grid[1]}, {file.classes}, {file_size(size)}"
    )
    bad = [f"{key}: {why}" for key, why in file.unreadable.items()]
    yield from _listed("files are no such label maps; the file records why", bad)
    yield from _listed(f"images have no map in {source}", pairs.without_map)
    yield from _listed(
        f"maps are of no image in {options.images} and were left out", pairs.without_image
    )
    data = str(options.images or "DATA")
    inspect = ["labelkit", "inspect", str(file.path), "--images", data, "-o", "report.html"]
    yield f"Next, to see that classes lie where the objects are: {shlex.join(inspect)}"


def _to_folder(source: Path, output: Path, options: MapOptions) -> None:
    options.require_only({"axes", "format", "topk"}, "--format relabel")
    if options.axes is None:
        raise click.UsageError(MISSING_AXES)
    if not output.absolute().parent.is_dir() or (output.exists() and not output.is_dir()):
        raise click.BadParameter(
            f"{str(output)!r} is to be a new folder, in one that is there", param_hint="--output"
        )
    from labelkit.cli.progress import progress_bar
    from labelkit.convert import export_relabel_folder
    from labelkit.label_maps import LabelMapFile

    with LabelMapFile.open(source) as file:
        try:
            with progress_bar(_console(), "Files") as advance:
                done = export_relabel_folder(file, output, options.axes, options.top_k, advance)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--topk") from error
        _print(_exported(file, output, done, options.axes))


def _exported(file: LabelMapFile, output: Path, done: Exported, axes: str) -> Iterator[str]:
    """What was written, and what such a folder cannot hold."""
    form = file.forms[0]
    there = f", {done.kept:,} of them there already" if done.kept else ""
    yield (
        f"{output} holds {len(file):,} label maps{there}: float32 [2, {done.top_k}, "
        + ", ".join(map(str, form.grid if axes == "rows-first" else form.grid[::-1]))
        + f"], {axes}"
    )
    if form.selection == "image":
        yield f"Of all {len(file.classes):,} classes, each cell has its {done.top_k} strongest."
    if form.background:
        yield (
            "The background is lost: a class that a cell does not store counts as 0 there. Scores "
            "are less the mean logit of all other classes, so that this 0 is theirs."
        )
    if form.log_sum_exp:
        yield "The log-sum-exp of each cell is lost: the files have no place for it."
    unreadable = [f"{key}: {why}" for key, why in file.unreadable.items()]
    yield from _listed("images have no map, since they could not be read", unreadable)


def _require_suffix(output: Path, endings: Sequence[str], why: str) -> None:
    if output.suffix.lower() not in endings:
        raise click.BadParameter(
            f"{output} must end in {' or '.join(endings)}: {why}", param_hint="--output"
        )
    if not output.absolute().parent.is_dir():
        raise click.BadParameter(f"no folder {str(output.parent)!r}", param_hint="--output")


def _listed(what: str, entries: Sequence[str]) -> Iterator[str]:
    """How many, and the first few; nothing where there are none."""
    if entries:
        yield f"{len(entries):,} {what}:"
        yield from (f"  {entry}" for entry in entries[:SHOWN])
        if len(entries) > SHOWN:
            yield f"  and {len(entries) - SHOWN:,} more"


def _console() -> Console:
    from rich.console import Console

    return Console()


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        _console().print(printable(line), markup=False, highlight=False, soft_wrap=True)

"""``labelkit relabel``: make a label map for every image of a folder."""

from __future__ import annotations

import shlex
import statistics
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast

import click

from labelkit.cli.options import (
    LABEL_MAP_SUFFIXES,
    SOURCE,
    classes_option,
    device_option,
    json_option,
    names_option,
    open_images,
    output_option,
    overwrite_option,
    quiet_option,
    read_classes,
    read_coarse_folders,
    require_suffix,
    source_options,
    teachers_option,
    worker_count,
    workers_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import RelabelResult, Settings
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher

    Command = Callable[..., object]

_SMALLEST, _LARGEST = 16, 4096
_SHOWN = 5
_BARS = {"maps": ("Relabel", "images"), "calibration": ("Calibrate", "images")}
EPILOG = """\b
Examples:
  labelkit relabel photos/train -o maps.h5
  labelkit relabel photos/train -o maps.h5 --teacher efficientnet-lite2 --size 384
  labelkit relabel photos/train -o maps.h5 --teacher efficientnet-lite0 --size 256+352
  labelkit relabel photos/train -o maps.h5 --selection cell --grid 15 --background 0
  labelkit relabel photos/train -o more.h5 --reuse maps.h5
  labelkit relabel photos/train -o maps.h5 --no-calibration --reuse maps.h5 --overwrite
  labelkit relabel photos/train -o maps.h5 --classes photos/train --names names.tsv
  labelkit relabel photos.tar -o maps.h5
  labelkit relabel 'shards/train-{0000..0146}.tar' -o maps.h5
  labelkit relabel 'data/train-*.parquet' -o maps.h5 --key-column id
"""


class _TeacherOptions(TypedDict):
    """Which teachers, and how they predict."""

    teachers: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    flip: bool
    average: Literal["logit", "probability"]
    force: bool
    precision: Literal["float32", "bfloat16", "float16"]
    compiled: bool
    device: str


class _MapOptions(TypedDict):
    """What is stored of their predictions."""

    classes: str | None
    names: Path | None
    merge: Literal["sum", "root", "mean", "max"]
    other: bool
    selection: Literal["image", "cell"]
    top_k: int | None
    grid: int | None
    background: int | None
    patterns: int | None
    scores: Literal["uint8", "float16", "float32"]
    log_sum_exp: bool


class _CalibrationOptions(TypedDict):
    """Whether pooled targets are calibrated, and on how many images that is fitted."""

    no_calibration: bool
    calibration_sample: int | None


class _Options(_TeacherOptions, _MapOptions, _CalibrationOptions):
    batch_size: int | None
    workers: int | None


def _parse_sizes(value: str | None) -> tuple[tuple[int, ...], ...]:
    """Input sides from ``224,448`` or ``256+352``, ascending."""
    if not value:
        return ()
    try:
        maps = {tuple(sorted(set(map(int, part.split("+"))))) for part in value.split(",")}
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: expected whole numbers, such as 320, 224,448 or 256+352"
        ) from None
    for side in (side for sides in maps for side in sides):
        if not _SMALLEST <= side <= _LARGEST:
            raise click.BadParameter(f"{side} is not between {_SMALLEST} and {_LARGEST} pixels")
    return tuple(sorted(maps, key=statistics.geometric_mean))


def _old_maps(path: Path | None) -> Path | None:
    """The file of ``--reuse``, or the folder of shards if that file is unfinished."""
    if path is None or path.exists():
        return path
    parts = path.with_name(f"{path.name}.parts")
    if not parts.is_dir():
        raise click.BadParameter(f"{path} does not exist, nor does {parts}")
    return parts


_TEACHER_OPTIONS = (
    teachers_option,
    click.option(
        "--size",
        "sizes",
        metavar="PIXELS",
        callback=lambda _context, _option, value: _parse_sizes(value),
        help="Input side. 256+352 averages the predictions at two sizes in one map; 224,448 makes "
        "two maps per image, and a crop uses those that suit its zoom. [default: the teacher's]",
    ),
    click.option(
        "--flip", is_flag=True, help="Average with the prediction for the mirrored image."
    ),
    click.option(
        "--average",
        type=click.Choice(["logit", "probability"]),
        default="logit",
        show_default=True,
        help="What to average over several teachers, sizes, or the mirrored image.",
    ),
    click.option(
        "--force", is_flag=True, help="Accept a teacher that predicts from its class token."
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        default="float32",
        show_default=True,
        help="Number type in which the teacher's features are computed.",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the teacher first: takes half a minute or more per input size, then runs "
        "about 1.4 times as fast (CPU). Needs a C++ compiler; scores change by rounding only.",
    ),
    device_option,
)

_MAP_OPTIONS = (
    classes_option,
    names_option,
    click.option(
        "--merge",
        type=click.Choice(["sum", "root", "mean", "max"]),
        default="root",
        show_default=True,
        help="With --classes: how several classes of the teacher become one. sum adds their "
        "probabilities, so 118 breeds of dogs count more than 5 of cats; mean divides the sum by "
        "their number, root by the root of their number; max takes the most probable.",
    ),
    click.option(
        "--other/--no-other",
        default=True,
        show_default=True,
        help="With --classes: keep the probability of the teacher's classes that belong to none of "
        "them, as *other*; without it, every fish in a folder of cats and dogs is a cat or a dog.",
    ),
    click.option(
        "--selection",
        type=click.Choice(["image", "cell"]),
        default="image",
        show_default=True,
        help="Which classes a map stores: the image's strongest in all cells, or the strongest of "
        "each cell, as published.",
    ),
    click.option(
        "--topk",
        "top_k",
        type=click.IntRange(1),
        help="How many classes. [default: 8 per image, 5 per cell, or all if there are fewer]",
    ),
    click.option(
        "--grid",
        type=click.IntRange(1, 64),
        help="Rows and columns of a map. [default: the teacher's native grid, at most 15]",
    ),
    click.option(
        "--background",
        type=click.IntRange(0),
        help="For how many other classes to store the mean logit over the cells that do not store "
        "them; 0 gives them logit 0, as published. [default: 128, or 64 with --selection cell]",
    ),
    click.option(
        "--patterns",
        type=click.IntRange(0, 16),
        help="How many patterns over the grid these classes share. [default: 2, or 0 with "
        "--selection cell]",
    ),
    click.option(
        "--scores",
        type=click.Choice(["uint8", "float16", "float32"]),
        default="uint8",
        show_default=True,
        help="Number type of a stored logit; uint8 has steps of 1/255 of the image's range.",
    ),
    click.option(
        "--log-sum-exp",
        is_flag=True,
        help="Store the log-sum-exp of each cell's logits too, for targets pooled with "
        "method='probability'.",
    ),
)

_CALIBRATION_OPTIONS = (
    click.option(
        "--no-calibration",
        is_flag=True,
        help="Do not fit how pooled logits depend on the crop's zoom; targets are then the plain "
        "mean logits, as published.",
    ),
    click.option(
        "--calibration-sample",
        metavar="N",
        type=click.IntRange(1),
        help="Images to fit this on, evenly spaced over DATA. [default: 64]",
    ),
)

_RUN_OPTIONS = (
    click.option(
        "--reuse",
        metavar="OLD",
        type=click.Path(exists=False, path_type=Path),
        callback=lambda _context, _option, value: _old_maps(value),
        help="An earlier file of the same teacher and settings: copy its maps, and make only those "
        "of new images and of rows that are damaged there. Of an unfinished run, its finished "
        "shards (OLD.parts).",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        help="Images per forward pass. [default: 128 with a GPU, else 8]",
    ),
    workers_option,
)


def _all_options(command: Command) -> Command:
    """The options of the four groups, in this order."""
    groups = (_TEACHER_OPTIONS, _MAP_OPTIONS, _CALIBRATION_OPTIONS, _RUN_OPTIONS)
    for option in reversed([option for group in groups for option in group]):
        command = option(command)
    return command


@click.command("relabel", epilog=EPILOG)
@click.argument("data", type=SOURCE)
@source_options
@output_option("Label-map file to write (.h5).")
@overwrite_option
@_all_options
@json_option
@quiet_option
def command(
    data: Path,
    *,
    output: Path,
    overwrite: bool,
    reuse: Path | None,
    as_json: bool,
    **options: Unpack[_Options],
) -> None:
    """Make a label map for every image in DATA, and write them to one file.

    A label map is a small grid of the classes that a strong classifier sees in each part of the
    image. After an interruption the same command resumes, also if images were added or removed.
    Unreadable images are listed, never replaced.

    DATA is a folder of images at any depth; a tar, or tars in a tar; WebDataset shards (a folder,
    or a pattern such as 'train-{0000..0146}.tar'); parquet files, or a data set of Hugging Face
    saved on disk; or a list of paths (.csv, .tsv, .txt). A row's key is the path below DATA, in the
    tar or in the list, or the content of a column.

    Last, crops of some images are shown to the teacher, and a few numbers are fitted that bring
    targets pooled from the maps closer to its predictions for them: the file's calibration.
    """
    # Loading a teacher takes seconds: wrong input is reported before.
    require_suffix(output, LABEL_MAP_SUFFIXES)
    if options["no_calibration"] and options["calibration_sample"]:
        raise click.UsageError("use just one of --no-calibration and --calibration-sample")
    source = open_images(data)
    classes, synsets = read_classes(options["classes"], options["names"])
    folders = read_coarse_folders(options["classes"])

    from labelkit.cli.agreement_report import NO_AGREEMENT, agreement_facts, print_agreement
    from labelkit.cli.output import console, print_json, print_lines
    from labelkit.cli.progress import announce_teachers

    announce_teachers(dict.fromkeys(options["teachers"]))
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import folder_agreement

    screen = console(stderr=as_json)
    teachers = _load_teachers(options)
    settings = _settings(options, teachers, classes, synsets)
    result = _relabel(screen, source, teachers, output, settings, reuse=reuse, overwrite=overwrite)
    with LabelMapFile.open(result.path) as file:
        facts = _facts(result, file)
        agreement = folder_agreement(file, folders=folders)
    if as_json:
        print_json(facts | {"folders": agreement and agreement_facts(agreement)})
        return
    print_lines(screen, _summary(result, facts, reuse))
    if agreement:
        print_agreement(screen, agreement, output, data, _other_sizes(facts, data, options))
    elif classes and result.images:
        print_lines(screen, [NO_AGREEMENT])
    print_lines(screen, [_next_step(output, data)])


def _relabel(  # noqa: PLR0913 -- as the command
    screen: Console,
    source: ImageSource,
    teachers: Sequence[Teacher],
    output: Path,
    settings: Settings,
    *,
    reuse: Path | None,
    overwrite: bool,
) -> RelabelResult:
    """Make the file, with progress bars."""
    from labelkit.cli.progress import ProgressBars, report_kept_shards
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import relabel

    with ExitStack() as stack:
        stack.enter_context(report_kept_shards(output))
        old = reuse
        if reuse and not reuse.is_dir():
            old = stack.enter_context(LabelMapFile.open(reuse))
        bars = stack.enter_context(ProgressBars(screen, _BARS))
        bars.begin("maps")
        return relabel(
            source,
            teachers,
            output,
            settings,
            on_progress=partial(bars, "maps"),
            on_calibration=partial(bars, "calibration"),
            reuse=old,
            overwrite=overwrite,
        )


def _load_teachers(options: _TeacherOptions) -> list[Teacher]:
    from labelkit.teachers import load_teacher

    # A model may be built for one input size, if there is only one.
    match options["sizes"]:
        case [[size]]:
            pass
        case _:
            size = None
    return [
        load_teacher(
            name,
            device=options["device"],
            size=size,
            force=options["force"],
            precision=options["precision"],
            compiled=options["compiled"],
        )
        for name in dict.fromkeys(options["teachers"])
    ]


def _settings(
    options: _Options,
    teachers: Sequence[Teacher],
    classes: ClassList | None,
    synsets: dict[str, str],
) -> Settings:
    from labelkit.relabel import CalibrationSample, Settings

    on_gpu = teachers[0].device.type == "cuda"
    grid = options["grid"]
    images, calibration = options["calibration_sample"], CalibrationSample()
    if images:
        calibration = replace(calibration, images=images)
    return Settings(
        selection=options["selection"],
        top_k=options["top_k"],
        grid=(grid, grid) if grid else None,
        sizes=options["sizes"],
        flip=options["flip"],
        average=options["average"],
        classes=classes,
        synsets=synsets,
        merge=options["merge"],
        other=options["other"],
        background=options["background"],
        patterns=options["patterns"],
        scores=options["scores"],
        log_sum_exp=options["log_sum_exp"],
        batch_size=options["batch_size"] or (128 if on_gpu else 8),
        workers=worker_count(options["workers"], teachers[0].device),
        calibration=None if options["no_calibration"] else calibration,
    )


def _facts(result: RelabelResult, file: LabelMapFile) -> dict[str, Any]:
    """What ``--json`` prints of the run and its file."""
    from msgspec import to_builtins

    return {
        "path": str(result.path),
        "bytes": result.path.stat().st_size,
        "classes": len(file.classes),
        "images": result.images,
        "existed": result.existed,
        "processed": result.processed,
        "reused": result.reused,
        "kept": result.kept,
        "damaged": result.damaged,
        "unreadable": result.unreadable,
        "head": file.made_with.get("head"),
        "calibration": file.calibration and to_builtins(file.calibration),
        "unused_teacher_classes": file.attrs["unused_teacher_classes"],
        "other": file.header.other,
        "input_sizes": file.attrs["input_sizes"],
    }


def _summary(result: RelabelResult, facts: dict[str, Any], reuse: Path | None) -> Iterator[str]:
    """What was written, and what could not be read."""
    from labelkit.wording import counted, file_size, printable

    maps = f"{counted(result.images, 'label map', 'label maps')}, {file_size(facts['bytes'])}"
    if result.existed:
        yield f"{result.path} is already complete, nothing to do: {maps}"
    else:
        yield f"Wrote {result.path}: {maps}"
    if result.reused or result.damaged:
        yield f"Copied from {reuse}: {result.reused:,}. Made now: {result.processed:,}."
    if result.kept:
        yield (
            f"Kept from before images were added or removed: {result.kept:,}. Made now: "
            f"{result.processed:,}."
        )
    if result.damaged:
        keys = ", ".join(map(printable, [*result.damaged][:_SHOWN]))
        more = ", …" if len(result.damaged) > _SHOWN else ""
        yield (
            f"Damaged in {reuse} and recreated: {len(result.damaged):,} ({keys}{more}). Check the "
            "disk, or copy that file again."
        )
    if result.images:
        yield from _calibration_lines(facts)
    if facts["head"] == "approximate":
        yield (
            "The teacher's head is not linear after its pooling: each cell holds the prediction "
            "for that cell alone, and their mean is not the prediction for the image."
        )
    if facts["unused_teacher_classes"]:
        fate = (
            "their probability is stored as *other*."
            if facts["other"]
            else "and were dropped: their probability is shared out among these."
        )
        yield (
            f"{facts['unused_teacher_classes']:,} classes of the teacher are not among the "
            f"{facts['classes']:,} here{':' if facts['other'] else ''} {fate}"
        )
    if result.unreadable:
        yield from _unreadable_lines(result)


def _other_sizes(facts: dict[str, Any], data: Path, options: _Options) -> str:
    """The size of the maps, and the command that measures others."""
    from labelkit.wording import printable

    command = ["labelkit", "fidelity", data]
    for teacher in dict.fromkeys(options["teachers"]):
        command += ["--teacher", teacher]
    for option in ("classes", "names"):
        command += [f"--{option}", options[option]] if options[option] else []
    sizes = " and ".join(map(_sides, facts["input_sizes"]))
    return (
        f"The maps were made at {sizes} pixels. If the images should agree "
        f"more often, measure other sizes: {shlex.join(printable(str(word)) for word in command)}"
    )


def _sides(sizes: object) -> str:
    """The input sides of one map, as ``--size`` takes them."""
    if isinstance(sizes, list):
        return "+".join(map(_sides, cast("list[object]", sizes)))
    return str(sizes)


def _next_step(output: Path, data: Path) -> str:
    from labelkit.wording import printable

    inspect = ["labelkit", "inspect", output, "--images", data, "-o", "report.html"]
    return f"Next: {shlex.join(printable(str(word)) for word in inspect)}"


def _calibration_lines(facts: dict[str, Any]) -> Iterator[str]:
    """What the calibration was fitted on and how much it gains, or why there is none."""
    from labelkit.wording import counted

    found = facts["calibration"]
    if found is None:
        reason = "none of the images that it is fitted on could be read"
        if click.get_current_context().params["no_calibration"]:
            reason = "--no-calibration"
        elif facts["classes"] == 1 and not facts["other"]:
            reason = "there is only one class"
        yield f"Not calibrated: {reason}."
        return
    images, crops = (counted(found[each], each[:-1], each) for each in ("images", "crops"))
    fitted = f"Calibrated on {images} x {crops}"
    if found["divergence"] is None:
        yield (
            f"Warning: {fitted.lower()}: too few to measure the gain, so it may do harm. Pass a "
            "larger --calibration-sample, or --no-calibration, with --reuse and --overwrite."
        )
        return
    before, after = found["divergence"]
    yield f"{fitted}: KL {before:.3f} -> {after:.3f} from the teacher's prediction (held out)."
    if after > before:
        larger = "a larger --calibration-sample, or " if found["images"] < facts["images"] else ""
        yield (
            "On other crops than it was fitted on, the calibration does not help: pass "
            f"{larger}--no-calibration, with --reuse and --overwrite."
        )


def _unreadable_lines(result: RelabelResult) -> Iterator[str]:
    from labelkit.wording import counted, printable

    count = counted(len(result.unreadable), "image", "images")
    yield f"{count} could not be read, so without a label map:"
    for key, reason in [*result.unreadable.items()][:_SHOWN]:
        yield f"  {printable(key)}: {printable(reason)}"
    yield (
        "Repair or remove them, then run again with another -o and --reuse "
        f"{shlex.quote(str(result.path))}: only those are processed."
    )

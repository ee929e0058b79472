"""The options of ``labelkit relabel``, in groups."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import click

from labelkit.cli.options import (
    classes_option,
    device_option,
    names_option,
    shard_option,
    teachers_option,
    workers_option,
)
from labelkit.cli.ray_options import ClusterOptions, cluster_options

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., object]

_SMALLEST, _LARGEST = 16, 4096


class TeacherOptions(TypedDict):
    """Which teachers, and how they predict."""

    teachers: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    flip: bool
    average: Literal["logit", "probability"]
    force: bool
    precision: Literal["float32", "bfloat16", "float16"]
    compiled: bool
    device: str


class MapOptions(TypedDict):
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


class CalibrationOptions(TypedDict):
    """Whether pooled targets are calibrated, and on how many images that is fitted."""

    no_calibration: bool
    calibration_sample: int | None


class RunOptions(TypedDict):
    """How the work is done, and which part of it."""

    batch_size: int | None
    workers: int | None
    devices: tuple[str, ...]
    shard: tuple[int, int] | None
    finish: bool
    limit: int | None
    dry_run: bool
    retry_failed: bool
    reuse_by: Literal["key", "content"]


class RelabelOptions(TeacherOptions, MapOptions, CalibrationOptions, RunOptions, ClusterOptions):
    """All of them."""


def _parse_devices(value: str | None) -> tuple[str, ...]:
    """Names of devices; a number is that GPU."""
    names = tuple(name.strip() for name in value.split(",")) if value else ()
    if not all(names):
        raise click.BadParameter(f"{value!r}: expected devices such as 0,1,2,3 or cpu,cpu")
    return tuple(f"cuda:{name}" if name.isdecimal() else name for name in names)


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
        "--reuse-by",
        type=click.Choice(["key", "content"]),
        default="key",
        show_default=True,
        help="What identifies an image in OLD.h5: its key, or the content of its file, so that "
        "renamed or moved images keep their maps. That reads every image once.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        help="Images per forward pass. [default: 128 with a GPU, else 8]",
    ),
    workers_option,
    click.option(
        "--devices",
        metavar="NAMES",
        callback=lambda _context, _option, value: _parse_devices(value),
        help="One process for each of these devices: 0,1,2,3 are GPUs.",
    ),
    shard_option(
        "This is process I of N, from 0, that share the work on a common disk: each begins at its "
        "own place, and helps where work is left. [default: torchrun's RANK/WORLD_SIZE]"
    ),
    click.option(
        "--finish",
        is_flag=True,
        help="Make no maps: join the shards that other processes have finished.",
    ),
    click.option(
        "--limit",
        metavar="N",
        type=click.IntRange(1),
        help="A trial on N images, evenly spaced over DATA, in a file of its own.",
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Write nothing: count the images, measure a few batches, and estimate time and size.",
    ),
    click.option(
        "--retry-failed",
        is_flag=True,
        help="Try images again that an earlier run could not read.",
    ),
)


def relabel_options(command: Command) -> Command:
    """The options of the four groups, in this order, and those of clusters."""
    command = cluster_options(command)
    groups = (_TEACHER_OPTIONS, _MAP_OPTIONS, _CALIBRATION_OPTIONS, _RUN_OPTIONS)
    for option in reversed([option for group in groups for option in group]):
        command = option(command)
    return command

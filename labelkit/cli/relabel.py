"""``labelkit relabel``: make a label map for every image of a data set."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

import click

from labelkit.cli.options import (
    LABEL_MAP_SUFFIXES,
    SOURCE,
    json_option,
    open_images,
    output_option,
    overwrite_option,
    quiet_option,
    read_classes,
    read_coarse_folders,
    require_suffix,
    source_options,
)
from labelkit.cli.ray_options import engine_of, require_engine
from labelkit.cli.relabel_options import RelabelOptions, relabel_options
from labelkit.cli.relabel_request import (
    device_and_share,
    load_teachers,
    only_size,
    settings_for_device,
    settings_of,
)
from labelkit.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from labelkit.relabel import Helpers, RayEngine, RelabelResult, Settings, Share, Stages
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher

_BARS = {
    "content": ("Compare", "images"),
    "maps": ("Relabel", "images"),
    "calibration": ("Calibrate", "images"),
}
EPILOG = """\b
Examples:
  labelkit relabel photos/train -o maps.h5
  labelkit relabel photos/train -o maps.h5 --teacher efficientnet-lite2 --size 384
  labelkit relabel photos/train -o maps.h5 --teacher efficientnet-lite0 --size 256+352
  labelkit relabel photos/train -o maps.h5 --selection cell --grid 15 --background 0
  labelkit relabel photos/train -o more.h5 --reuse maps.h5
  labelkit relabel renamed/train -o more.h5 --reuse maps.h5 --reuse-by content
  labelkit relabel photos/train -o maps.h5 --no-calibration --reuse maps.h5 --overwrite
  labelkit relabel photos/train -o maps.h5 --classes photos/train --names names.tsv
  labelkit relabel photos/train -o maps.h5 --engine ray --ray-address 10.0.0.1:6379
  labelkit relabel photos.tar -o maps.h5
  labelkit relabel 'shards/train-{0000..0146}.tar' -o maps.h5
  labelkit relabel 'data/train-*.parquet' -o maps.h5 --key-column id
  labelkit relabel photos/train -o maps.h5 --dry-run
  labelkit relabel photos/train -o maps.h5 --limit 1000
  labelkit relabel photos/train -o maps.h5 --devices 0,1,2,3
  labelkit relabel photos/train -o maps.h5 --shard $SLURM_ARRAY_TASK_ID/8
"""


@click.command("relabel", epilog=EPILOG)
@click.argument("data", type=SOURCE)
@source_options
@output_option("Label-map file to write (.h5).")
@overwrite_option
@relabel_options
@json_option
@quiet_option
def command(
    data: Path,
    *,
    output: Path,
    overwrite: bool,
    reuse: Path | None,
    as_json: bool,
    **options: Unpack[RelabelOptions],
) -> None:
    """Make a label map for every image in DATA, and write them to one file.

    A label map is a small grid of the classes that a strong classifier sees in each part of the
    image. After an interruption the same command resumes, also if images were added or removed: at
    most the last minute is lost. The same command in several processes, on one machine or on many
    with a common disk, shares the work. Unreadable images are listed, never replaced.

    DATA is a folder of images at any depth; a tar, or tars in a tar; WebDataset shards (a folder,
    or a pattern such as 'train-{0000..0146}.tar'); parquet files, or a data set of Hugging Face
    saved on disk; or a list of paths (.csv, .tsv, .txt). A row's key is the path below DATA, in the
    tar or in the list, or the content of a column.

    Last, crops of some images are shown to the teacher, and a few numbers are fitted that bring
    targets pooled from the maps closer to its predictions for them: the file's calibration.
    """
    begun = time.perf_counter()
    # Loading a teacher takes seconds: wrong input is reported before.
    require_suffix(output, LABEL_MAP_SUFFIXES)
    _require_consistent(options, reuse)
    source = open_images(data)
    classes, synsets = read_classes(options["classes"], options["names"])
    folders = read_coarse_folders(options["classes"])

    if options["limit"]:
        from labelkit.relabel import SomeImages

        source = SomeImages(source, options["limit"])
        output, overwrite = output.with_name(f"{output.stem}.trial{output.suffix}"), True
    from labelkit.cli.output import console

    screen = console(stderr=as_json)
    job = _Job(
        screen,
        data,
        source,
        output,
        settings_of(options, classes, synsets),
        reuse,
        overwrite,
        options,
    )
    if not options["dry_run"] and _print_finished(job, as_json=as_json):
        return
    _run(job, folders, begun, as_json=as_json)


@dataclass(frozen=True)
class _Job:
    """What the command was asked to do."""

    screen: Console
    data: Path
    source: ImageSource
    output: Path
    settings: Settings
    reuse: Path | None
    overwrite: bool
    options: RelabelOptions
    engine: RayEngine | None = None


def _require_consistent(options: RelabelOptions, reuse: Path | None) -> None:
    """Refuse options that contradict each other.

    Raises:
        click.UsageError: the message names both.
    """
    if options["no_calibration"] and options["calibration_sample"]:
        raise click.UsageError("use just one of --no-calibration and --calibration-sample")
    if options["finish"] and (options["devices"] or options["shard"] or options["dry_run"]):
        raise click.UsageError("--finish makes no maps: leave out --devices, --shard and --dry-run")
    if options["reuse_by"] == "content" and (not reuse or reuse.is_dir()):
        raise click.UsageError("--reuse-by content needs a finished file: --reuse OLD.h5")
    if options["devices"] and options["device"] != "auto":
        raise click.UsageError("use just one of --device and --devices")
    local = ("devices", "shard", "finish", "dry_run")
    given = [f"--{name.replace('_', '-')}" for name in local if options[name]]
    require_engine(options, given)


def _print_finished(job: _Job, *, as_json: bool) -> bool:
    """Whether an earlier run has finished the file, which is then reported. Loads no torch."""
    from labelkit.relabel import asked_teacher, finished_file, request_digest

    options = job.options
    size = only_size(options)
    teachers = [
        asked_teacher(name, size, force=options["force"], precision=options["precision"])
        for name in dict.fromkeys(options["teachers"])
    ]
    request = request_digest(job.settings, teachers)
    file = finished_file(job.output, request, job.source.keys)
    if file is None or (options["retry_failed"] and file.unreadable):
        return False
    from labelkit.cli.output import print_json, print_lines
    from labelkit.cli.relabel_report import next_step, run_facts, summary
    from labelkit.label_maps import remove_leftover
    from labelkit.relabel import RelabelResult

    with file:
        remove_leftover(file)
        result = RelabelResult(file.path, len(file), file.unreadable, 0, existed=True)
        facts = run_facts(result, file)
    if as_json:
        print_json(facts | {"folders": None})
    else:
        lines = [*summary(result, facts, job.output, job.reuse), next_step(job.output, job.data)]
        print_lines(job.screen, lines)
    return True


def _run(job: _Job, folders: dict[str, int] | None, begun: float, *, as_json: bool) -> None:
    """Load the teachers, make the maps, and report."""
    from labelkit.cli.output import print_json, print_lines
    from labelkit.cli.progress import announce_teachers
    from labelkit.cli.relabel_report import dry_run_facts, dry_run_lines, finished_elsewhere

    options = job.options
    announce_teachers(dict.fromkeys(options["teachers"]))
    from labelkit.relabel import Stages, estimate

    device, share = device_and_share(options)
    teachers = load_teachers(options, device)
    with engine_of(options, device, partial(job.screen.print, soft_wrap=True)) as engine:
        kind = teachers[0].device.type
        if engine:
            kind = "cuda" if engine.on_gpus else "cpu"
        settings = settings_for_device(job.settings, options, kind)
        job, stages = replace(job, settings=settings, engine=engine), Stages(begun=begun)
        _warn_of_small_images(job, teachers)
        if options["dry_run"]:
            found = estimate(job.source, teachers, job.settings, begun)
            facts = dry_run_facts(found, job.source, job.output, job.settings)
            print_json(facts) if as_json else print_lines(job.screen, dry_run_lines(facts))
            return
        known = job.output.exists()
        result = _relabel(job, teachers, share, stages)
    if result.existed and not known and not as_json:
        job.screen.print(finished_elsewhere(result, job.output), soft_wrap=True)
        return
    _report(job, result, stages, folders, as_json=as_json)


def _warn_of_small_images(job: _Job, teachers: list[Teacher]) -> None:
    """Say where the default size, which nobody chose, does not suit the images."""
    from labelkit.cli.output import print_lines
    from labelkit.cli.relabel_report import small_images_line
    from labelkit.relabel import size_for_small_images

    if job.settings.sizes:
        return
    sizes = [teacher.card.size for teacher in teachers]
    if found := size_for_small_images(job.source, sizes):
        print_lines(job.screen, [small_images_line(*found, min(sizes))])


def _report(
    job: _Job,
    result: RelabelResult,
    stages: Stages,
    folders: dict[str, int] | None,
    *,
    as_json: bool,
) -> None:
    """Print what was made, and how often it agrees with the folders or labels."""
    from labelkit.cli.agreement_report import NO_AGREEMENT, agreement_facts, print_agreement
    from labelkit.cli.output import print_json, print_lines
    from labelkit.cli.ray_options import actor_facts, actor_lines
    from labelkit.cli.relabel_report import next_step, other_sizes, run_facts, summary, times
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import folder_agreement

    options = job.options
    with LabelMapFile.open(result.path) as file:
        facts = run_facts(result, file) | {"seconds": times(stages)} | actor_facts(job.engine)
        try:
            agreement = folder_agreement(file, folders=folders, label_of=job.source.stored_label)
        except (DatasetError, OSError) as error:  # the maps are made, whatever the labels are
            click.echo(f"Warning: no comparison with labels: {error}", err=True)
            agreement = None
    if as_json:
        print_json(facts | {"folders": agreement and agreement_facts(agreement)})
        return
    print_lines(job.screen, summary(result, facts, job.output, job.reuse))
    print_lines(job.screen, actor_lines(job.engine))
    if agreement:
        sizes = other_sizes(facts, job.data, options)
        print_agreement(job.screen, agreement, job.output, job.data, sizes)
    elif options["classes"] and result.images:
        print_lines(job.screen, [NO_AGREEMENT])
    print_lines(job.screen, [next_step(job.output, job.data)])


def _relabel(job: _Job, teachers: list[Teacher], share: Share, stages: Stages) -> RelabelResult:
    """Make the file, with progress bars, and with a process for each further device."""
    from labelkit.cli.progress import ProgressBars, report_kept_shards
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import Helpers, relabel

    options = job.options
    with ExitStack() as stack:
        stack.enter_context(report_kept_shards(job.output))
        old = job.reuse
        if old and not old.is_dir():
            old = stack.enter_context(LabelMapFile.open(old))
        helping = Helpers()
        if len(options["devices"]) > 1:
            helping, share = _start_helpers(stack, job, share)
        bars = stack.enter_context(ProgressBars(job.screen, _BARS))
        if options["reuse_by"] == "key":
            bars.begin("maps", stages)
        else:
            bars.begin("content")
        result = relabel(
            job.source,
            teachers,
            job.output,
            job.settings,
            on_progress=partial(bars, "maps", times=stages),
            on_calibration=partial(bars, "calibration"),
            on_waiting=partial(_report_waiting, job.screen),
            on_comparing=partial(bars, "content"),
            reuse=old,
            reuse_by=options["reuse_by"],
            overwrite=job.overwrite,
            retry_failed=options["retry_failed"],
            share=share,
            part="join" if options["finish"] else "all",
            stages=stages,
            engine=job.engine,
        )
    for line in helping.failed:
        click.echo(f"Warning: {line}", err=True)
    return replace(result, processed=result.processed + helping.processed)


def _start_helpers(stack: ExitStack, job: _Job, share: Share) -> tuple[Helpers, Share]:
    """Start the processes for all devices but the first, and say where each of them begins."""
    from labelkit.relabel import DeviceJob, Share, helpers

    devices = job.options["devices"]
    number = len(devices)
    shares = [Share(share.index * number + n, share.count * number) for n in range(number)]
    load = partial(load_teachers, job.options)
    settings = job.settings
    started = DeviceJob(
        job.source,
        job.output,
        settings,
        load,
        job.reuse,
        job.overwrite,
        job.options["retry_failed"],
        job.options["reuse_by"],
    )
    return stack.enter_context(helpers(started, devices[1:], shares[1:])), shares[0]


def _report_waiting(screen: Console, shards: int) -> None:
    from labelkit.wording import counted

    if shards:
        made = counted(shards, "shard", "shards")
        screen.print(f"Waiting for {made} that other processes are making.", soft_wrap=True)
    else:
        screen.print("Waiting for the process that joins the shards.", soft_wrap=True)

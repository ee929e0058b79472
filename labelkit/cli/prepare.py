"""``labelkit prepare``: a raw dump of classes becomes training and validation images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from labelkit.prepare import (
        ClassRecord,
        CountDifference,
        PrepareManifest,
        PrepareResult,
        PrepareSettings,
        Release,
        ResizeMode,
        SourceKind,
        Split,
    )

EPILOG = """\b
Examples:
  labelkit prepare fall11_whole.tar imagenet21k-p --expect fall11
  labelkit prepare photos prepared --min-images 20 --val 5
  labelkit prepare photos shards --shards 10000
  labelkit prepare photos prepared --dry-run
"""

_SHOWN = 10
_BARS = {"images": ("Images", "images"), "shards": ("Shards", "shards")}


@click.command("prepare", epilog=EPILOG)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--min-images",
    metavar="N",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Drop classes with fewer images, readable or not.",
)
@click.option(
    "--val",
    metavar="N",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Validation images of each class.",
)
@click.option(
    "--split",
    type=click.Choice(["first", "hash"]),
    default="first",
    show_default=True,
    help="Which those are: the first readable ones by name, as published, or those with the "
    "smallest hashes of seed, class and name.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed for --split hash and for the order of images in shards.",
)
@click.option(
    "--resize",
    metavar="PIXELS",
    type=click.IntRange(1),
    default=224,
    show_default=True,
    help="The side of a square, or the short edge.",
)
@click.option(
    "--mode",
    type=click.Choice(["squash", "short-edge", "keep"]),
    default="squash",
    show_default=True,
    help="squash makes squares, short-edge keeps the aspect ratio, keep copies readable images "
    "unchanged. A JPEG with both sides below --resize is copied, as published.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Quality of the JPEG files.",
)
@click.option(
    "--shards",
    metavar="N",
    type=click.IntRange(1),
    help="Write WebDataset shards of N images, all classes mixed, instead of class folders.",
)
@click.option(
    "--source",
    "kind",
    type=click.Choice(["auto", "class-tars", "webdataset"]),
    default="auto",
    show_default=True,
    help="What a folder of tars is: one tar per class, or shards. auto looks into the first.",
)
@click.option(
    "--expect",
    type=click.Choice(["fall11", "winter21"]),
    help="Compare with the published counts of this release. [default: if the classes are its]",
)
@click.option(
    "--workers", type=click.IntRange(0), help="Processes. [default: one per core]", metavar="N"
)
@click.option(
    "--dry-run", is_flag=True, help="Count the images and list the classes; write nothing."
)
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per command-line option
    source: str,
    destination: Path,
    *,
    min_images: int,
    val: int,
    split: Split,
    seed: int,
    resize: int,
    mode: ResizeMode,
    quality: int,
    shards: int | None,
    kind: SourceKind,
    expect: Release | None,
    workers: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make training and validation images from the raw classes in SRC: ImageNet-21K-P's recipe.

    SRC is a folder of class folders, a folder of class tars, a tar of class tars (also compressed),
    or WebDataset shards (a folder, or a pattern such as 'shards/{000..127}.tar'). It is only read.

    DST gets the class folders train and val, or shards, with classes.txt for build-tree and
    manifest.json: settings, counts, digests, dropped classes, and broken images with the reason.
    After an interruption of any kind, the same command resumes, and the result is the same.
    """
    from labelkit.cli.output import console
    from labelkit.prepare import PrepareSettings, plan_preparation

    try:
        settings = PrepareSettings(min_images, val, split, seed, resize, mode, quality, shards)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    screen = console(stderr=as_json)
    if dry_run:
        manifest = plan_preparation(source, settings, kind=kind)
        _print(screen, manifest, expect, _plan_heading(manifest, source), as_json=as_json)
        return
    result = _prepare(screen, source, destination, settings, kind, workers)
    _print(screen, result.manifest, expect, _heading(result), as_json=as_json)
    if not as_json:
        from labelkit.cli.output import print_lines

        print_lines(screen, _next(result))


def _prepare(  # noqa: PLR0913, PLR0917 -- as the command
    screen: Console,
    source: str,
    destination: Path,
    settings: PrepareSettings,
    kind: SourceKind,
    workers: int | None,
) -> PrepareResult:
    from labelkit.cli.progress import ProgressBars
    from labelkit.prepare import prepare

    try:
        with ProgressBars(screen, _BARS) as progress:
            return prepare(
                source, destination, settings, kind=kind, workers=workers, on_progress=progress
            )
    except KeyboardInterrupt as error:
        raise click.Abort(
            "Finished classes are kept: run the same command again to resume."
        ) from error


def _print(
    screen: Console,
    manifest: PrepareManifest,
    expect: Release | None,
    heading: str,
    *,
    as_json: bool,
) -> None:
    """Print what a run made or would make, and how it differs from the published counts."""
    from labelkit.cli.output import print_json, print_lines
    from labelkit.prepare import compare_counts, recognized_release

    release = expect or recognized_release(manifest)
    difference = compare_counts(manifest, release) if release else None
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins({"manifest": manifest, "published": difference}))
        return
    print_lines(screen, [heading])
    print_lines(screen, _dropped_lines(manifest.dropped))
    print_lines(screen, _image_lines(manifest.classes, "unreadable", "could not be read"))
    print_lines(screen, _image_lines(manifest.classes, "skipped", "skipped"))
    if difference:
        print_lines(screen, _difference_lines(difference))


def _heading(result: PrepareResult) -> str:
    from labelkit.wording import counted

    counts = _counts(result.manifest)
    if result.existed:
        return f"{result.path} is already complete, nothing to do: {counts}"
    resumed = counted(result.resumed, "class", "classes")
    kept = f" ({resumed} from an earlier run)" if result.resumed else ""
    return f"Wrote {result.path}: {counts}{kept}"


def _plan_heading(manifest: PrepareManifest, source: str) -> str:
    return f"{source} ({manifest.source}) would give {_counts(manifest)}"


def _counts(manifest: PrepareManifest) -> str:
    from labelkit.wording import counted

    counts = manifest.counts
    classes = counted(counts["classes"], "class", "classes")
    shards = f" in {counted(len(manifest.shards), 'shard', 'shards')}" if manifest.shards else ""
    return f"{classes}, {counts['train']:,} + {counts['val']:,} images{shards}"


def _dropped_lines(dropped: list[ClassRecord]) -> Iterator[str]:
    """The dropped classes, with their counts, the largest first."""
    from labelkit.wording import counted, printable

    if not dropped:
        return
    images = counted(sum(record.found for record in dropped), "image", "images")
    yield f"Dropped {counted(len(dropped), 'class', 'classes')} ({images}):"
    for record in sorted(dropped, key=lambda record: -record.found)[:_SHOWN]:
        count = counted(record.found, "image", "images")
        yield f"  {printable(record.class_id)}: {count}, {record.dropped}"
    yield from _more(len(dropped))


def _image_lines(classes: Iterable[ClassRecord], attribute: str, what: str) -> Iterator[str]:
    """The first files that were not taken, with the reason."""
    from labelkit.wording import abridged, counted, printable

    files = [
        (f"{record.class_id}/{name}", reason)
        for record in classes
        for name, reason in getattr(record, attribute).items()
    ]
    if not files:
        return
    yield f"{counted(len(files), 'file', 'files')} {what}:"
    for name, reason in files[:_SHOWN]:
        yield f"  {printable(abridged(name))}: {printable(reason)}"
    yield from _more(len(files))


def _more(count: int) -> Iterator[str]:
    if count > _SHOWN:
        yield f"  and {count - _SHOWN:,} more: see manifest.json, or --json"


def _difference_lines(difference: CountDifference) -> Iterator[str]:
    """How a run differs from the published counts."""
    from labelkit.wording import summary

    if difference.equal:
        yield f"Equal to the published counts of {difference.release}."
        return
    yield f"Published for {difference.release}:"
    for name, (found, published) in difference.counts.items():
        yield f"  {name}: {published:,}, here {found:,} ({found - published:+,})"
    for what, ids in (
        ("published classes are missing", difference.missing),
        ("classes are not published", difference.unexpected),
        (
            "classes have exactly 500 images: the paper keeps them, its script drops them",
            difference.at_limit,
        ),
    ):
        if ids:
            yield f"  {len(ids):,} {what}: {summary(ids)}"


def _next(result: PrepareResult) -> Iterator[str]:
    from labelkit.hierarchy import are_wnids
    from labelkit.wording import printable

    path = result.path
    images = path / ("train-*.tar" if result.manifest.shards else "train")
    classes, images = (shlex.quote(printable(str(each))) for each in (path / "classes.txt", images))
    if not are_wnids(result.manifest.kept):
        yield f"Next: labelkit match-names {classes} -o names.tsv"
        return
    yield f"Next: labelkit build-tree {classes} -o tree.json"
    yield f"      labelkit relabel {images} --classes {classes} -o maps.h5"

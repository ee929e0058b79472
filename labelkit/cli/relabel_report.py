"""What ``labelkit relabel`` prints when it is done: what was written, what failed, and the time."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

import click

from labelkit.wording import counted, duration, file_size, percent, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labelkit.cli.relabel_options import RelabelOptions
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import Estimate, RelabelResult, Settings, Stages
    from labelkit.sources import ImageSource

_SHOWN = 5
_EXAMPLES = 3
_DIGITS = re.compile(r"[0-9][0-9,.]*")


def summary(
    result: RelabelResult, facts: dict[str, Any], path: Path, reuse: Path | None
) -> Iterator[str]:
    """What was written, and what could not be read."""
    maps = f"{counted(result.images, 'label map', 'label maps')}, {file_size(facts['bytes'])}"
    output = printable(str(path))
    if facts["trial"]:
        keep = f"--reuse {shlex.quote(output)}"
        yield f"A trial: {facts['trial']}. To keep its maps in the full run, add {keep}."
    if result.existed:
        yield f"{output} is already complete, nothing to do: {maps}"
    else:
        yield f"Wrote {output}: {maps}"
    yield from _copied_lines(result, reuse)
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
        yield from _unreadable_lines(result, output)
    if "seconds" in facts and result.processed:
        yield from _time_lines(facts["seconds"])


def finished_elsewhere(result: RelabelResult, output: Path) -> str:
    """What a process reports of a file whose shards another process has joined."""
    return (
        f"Another process has written {printable(str(output))}, and reports on it. Images that "
        f"this one has done: {result.processed:,} of {result.images + len(result.unreadable):,}."
    )


def _copied_lines(result: RelabelResult, reuse: Path | None) -> Iterator[str]:
    """Which maps are from before."""
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


def _calibration_lines(facts: dict[str, Any]) -> Iterator[str]:
    """What the calibration was fitted on and how much it gains, or why there is none."""
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


def _unreadable_lines(result: RelabelResult, output: str) -> Iterator[str]:
    count = counted(len(result.unreadable), "image", "images")
    yield f"{count} could not be read, so without a label map:"
    found = failures(result.unreadable)
    for reason, keys in found[:_SHOWN]:
        examples = ", ".join(map(printable, keys[:_EXAMPLES]))
        more = ", …" if len(keys) > _EXAMPLES else ""
        yield f"  {len(keys):,}: {printable(reason)} ({examples}{more})"
    if len(found) > _SHOWN:
        yield f"  and {len(found) - _SHOWN:,} rarer reasons; --json lists all"
    yield (
        "Repair or remove them, then run again with another -o and --reuse "
        f"{shlex.quote(output)}: only those are processed."
    )


def failures(unreadable: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Why images could not be read, the most frequent reason first, each with its images.

    A reason that only one image has is given as it is, others without their numbers.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key, reason in unreadable.items():
        found[_DIGITS.sub("N", reason)].append(key)
    named = sorted(found.items(), key=lambda each: -len(each[1]))
    return [(unreadable[keys[0]] if len(keys) == 1 else reason, keys) for reason, keys in named]


def times(stages: Stages) -> dict[str, float]:
    """Where the time went, in seconds, for ``--json``."""
    return {
        "images": stages.images,
        "total": stages.elapsed,
        "waiting for images": stages.waiting_share * stages.elapsed,
        "predicting": stages.predicting,
        "selecting": stages.selecting,
        "encoding": stages.encoding,
        "writing": stages.writing,
        "starting": stages.starting,
        "calibrating": stages.calibrating,
        "joining": stages.joining,
    }


def _time_lines(seconds: dict[str, float]) -> Iterator[str]:
    """Throughput, and where the time went. Encoding and writing go on beside the rest."""
    total = max(seconds["total"], 1e-9)
    shares = (
        f"{name} {percent(seconds[name] / total)}"
        for name in ("waiting for images", "predicting", "selecting", "encoding", "writing")
    )
    yield (
        f"{seconds['images']:,.0f} images in {duration(total)}, {seconds['images'] / total:,.1f} "
        f"images/s: {', '.join(shares)}."
    )
    starting, calibrating, joining = (
        duration(seconds[name]) for name in ("starting", "calibrating", "joining")
    )
    yield (
        f"Besides: {starting} until the first image, {calibrating} to calibrate, {joining} to join "
        "the shards."
    )


def small_images_line(side: int, better: int, size: int) -> str:
    """A warning of images that are enlarged too much, and what to try."""
    return (
        f"Warning: half of the images have a shorter side of at most {side} pixels, and the "
        f"teacher sees them enlarged to {size}. --size {better} may give better labels: try both "
        "with --limit 1000 and an output each, and compare how often the maps agree with the "
        "folders."
    )


def dry_run_facts(
    found: Estimate, source: ImageSource, output: Path, settings: Settings
) -> dict[str, Any]:
    """What ``--dry-run`` prints, for ``--json``."""
    parts = output.with_name(f"{output.name}.parts")
    return {
        "images": found.images,
        "keys": source.keys[:_SHOWN],
        "path": str(output),
        "bytes": found.nbytes,
        "shards": -(-found.images // settings.shard_rows),
        "shard_rows": settings.shard_rows,
        "finished_shards": len([*parts.glob("[0-9]*.json")]),
        "sample": found.sample,
        "unreadable": found.unreadable,
        "images_per_second": found.images_per_second,
        "waiting_share": found.waiting_share,
        "starting": found.starting,
        "calibrating": found.calibrating,
        "hours": found.seconds / 3600,
    }


def dry_run_lines(facts: dict[str, Any]) -> Iterator[str]:
    """What a run would do, and how long it would take."""
    keys = ", ".join(map(printable, facts["keys"]))
    more = ", …" if facts["images"] > len(facts["keys"]) else ""
    yield "Dry run: nothing was written."
    yield f"{counted(facts['images'], 'image', 'images')}: {keys}{more}"
    yield f"{facts['path']}: about {file_size(facts['bytes'])}"
    shards = counted(facts["shards"], "shard", "shards")
    finished = facts["finished_shards"]
    yield f"{shards} of {facts['shard_rows']:,} images" + (
        f", {finished:,} finished" if finished else ""
    )
    yield (
        f"About {duration(facts['hours'] * 3600)} with one process on this device: "
        f"{facts['images_per_second']:,.1f} images/s, waiting for images "
        f"{percent(facts['waiting_share'])} of the time (measured on {facts['sample']:,} images), "
        f"with {duration(facts['starting'])} until the first image and "
        f"{duration(facts['calibrating'])} to calibrate."
    )
    if facts["unreadable"]:
        yield f"{facts['unreadable']:,} of these {facts['sample']:,} could not be read."


def run_facts(result: RelabelResult, file: LabelMapFile) -> dict[str, Any]:
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
        "trial": file.made_with.get("trial"),
        "calibration": file.calibration and to_builtins(file.calibration),
        "unused_teacher_classes": file.attrs["unused_teacher_classes"],
        "other": file.header.other,
        "input_sizes": file.attrs["input_sizes"],
        "failures": {reason: len(keys) for reason, keys in failures(result.unreadable)},
    }


def other_sizes(facts: dict[str, Any], data: Path, options: RelabelOptions) -> str:
    """The size of the maps, and the command that measures others."""
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


def next_step(output: Path, data: Path) -> str:
    """How to look at the maps."""
    inspect = ["labelkit", "inspect", output, "--images", data, "-o", "report.html"]
    return f"Next: {shlex.join(printable(str(word)) for word in inspect)}"

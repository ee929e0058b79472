"""``labelkit verify``: check a label-map file, alone or against its images."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from labelkit.cli.options import (
    FILE,
    device_option,
    images_option,
    json_option,
    open_images,
    quiet_option,
    require_writable,
    source_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import MapDifference, Verification
    from labelkit.teachers import Teacher

EPILOG = """\b
Examples:
  labelkit verify maps.h5
  labelkit verify maps.h5 --images photos/train
  labelkit verify maps.h5 --images photos/train --sample 100
  labelkit verify maps.h5 --images photos/train --sample 100 --teacher my-teacher.toml
  labelkit verify maps.h5 --images moved/train --renames new.json
"""
_SHOWN = 10
_BARS = {"rows": ("Check", "rows"), "sample": ("Recompute", "images")}


@click.command("verify", epilog=EPILOG)
@click.argument("path", metavar="FILE", type=FILE)
@images_option(
    "What the maps were made from, a folder, a tar, …: compare its images with the rows."
)
@source_options
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(1),
    help="With --images: recompute N maps, evenly spaced, and compare them with the rows.",
)
@click.option(
    "--teacher",
    "teachers",
    metavar="NAME",
    multiple=True,
    help="With --sample: a card's name, the path of a card (.toml), or a timm model. [default: "
    "the one that the file names]",
)
@click.option(
    "--renames",
    metavar="NEW.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --images: write the rows whose image was probably renamed, old key -> new key, for "
    "labelkit rename.",
)
@device_option
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    path: Path,
    *,
    images: Path | None,
    sample: int | None,
    teachers: tuple[str, ...],
    renames: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Check that all rows of the label-map file FILE are intact, and that they match its images.

    Reads every row and checks its checksum. With --images, lists images that were removed, added or
    renamed since the file was made; with --sample, images whose content has changed, as their maps
    come out differently. Only --renames writes a file. The exit code is 1 if there is a problem.
    """
    _require_together(images, sample, teachers)
    if renames:
        if not images:
            raise click.UsageError("--renames needs --images, what the maps were made from")
        require_writable(renames, overwrite=False, suffixes=(".json",))

    import msgspec

    from labelkit.cli.output import console, print_json, print_lines
    from labelkit.cli.progress import ProgressBars, announce_teachers
    from labelkit.errors import LabelkitError
    from labelkit.files import replace_file

    if sample:
        announce_teachers(teachers)
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import verify

    screen = console(stderr=as_json)
    source = open_images(images) if images else None
    with LabelMapFile.open(path) as file:
        loaded = _load_teachers(file, teachers, device) if sample else []
        with ProgressBars(screen, _BARS) as bars:
            found = verify(file, source, loaded, sample or 0, bars)
        if renames:
            content = msgspec.json.format(msgspec.json.encode(found.renamed)) + b"\n"
            replace_file(renames, content)
        if as_json:
            print_json(_facts(found))
        else:
            lines = [*_problems(found, path, images, renames)]
            print_lines(screen, lines or _summary(file, found, path, images, loaded))
    if not found.ok:
        raise LabelkitError(f"{path} has problems: {_counts(found)}")


def _require_together(images: Path | None, sample: int | None, teachers: tuple[str, ...]) -> None:
    """Refuse options that have no effect without another one."""
    device = click.get_current_context().get_parameter_source("device")
    for name, given, needed, present in (
        ("--sample", sample, "--images, the folder that the maps were made from", images),
        ("--teacher", teachers, "--sample", sample),
        ("--device", device is ParameterSource.COMMANDLINE, "--sample", sample),
    ):
        if given and present is None:
            raise click.UsageError(f"{name} needs {needed}")


def _load_teachers(file: LabelMapFile, names: tuple[str, ...], device: str) -> list[Teacher]:
    """The teachers of ``--teacher``, or those that the file names."""
    from labelkit.relabel import named_teachers
    from labelkit.teachers import load_teacher

    named = named_teachers(file)  # first: if the file names none, no teacher helps
    if names:
        return [load_teacher(name, device=device, size=_only_size(file)) for name in names]
    return [_load_named(file, each, device) for each in named]


def _load_named(file: LabelMapFile, named: dict[str, Any], device: str) -> Teacher:
    """One teacher that the file names, by the name of a card or model."""
    from labelkit.errors import TeacherError
    from labelkit.teachers import load_teacher

    name, precision = str(named.get("name", "")), named.get("precision")
    if not name or name.endswith(".toml"):  # a file must not choose what else is opened
        raise TeacherError(
            f"{file.path} names no teacher by the name of a card or model: pass it with --teacher"
        )
    try:
        return load_teacher(
            name,
            device=device,
            size=_only_size(file),
            force=named.get("forced") is True,
            precision=precision if precision in {"bfloat16", "float16"} else "float32",
        )
    except TeacherError as error:
        raise TeacherError(
            f"{file.path} was made by {name!r}, which cannot be loaded here ({error}). If you "
            "have a card for it, pass the card's path with --teacher"
        ) from error


def _only_size(file: LabelMapFile) -> int | None:
    """The input size of all maps if there is only one, for models that are built for it."""
    match file.attrs.get("input_sizes"):
        case [int(size)] if 16 <= size <= 4096:
            return size
        case _:
            return None


def _facts(found: Verification) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"ok": found.ok, **asdict(found)}


def _counts(found: Verification) -> str:
    """How many problems of each kind there are, in a line."""
    numbers = {
        "damaged rows": len(found.damaged),
        "renamed images": len(found.renamed),
        "rows without an image": len(found.extra),
        "images without a row": len(found.missing),
        "images that can be read now": len(found.readable_now),
        "maps that differ": len(found.differing),
    }
    return ", ".join(f"{count:,} {what}" for what, count in numbers.items() if count)


def _problems(
    found: Verification, path: Path, images: Path | None, renames: Path | None
) -> Iterator[str]:
    """All problems, list by list, each with what to do next."""
    yield from _list(
        "Damaged rows",
        found.damaged.items(),
        "Copy the file again from an intact copy; or run labelkit relabel with the same settings, "
        "--reuse FILE and another output, which recreates only these rows.",
    )
    yield from _list(
        "Rows whose image was probably renamed",
        ((old, f"now {new}") for old, new in found.renamed.items()),
        _rename_advice(path, images, renames),
    )
    yield from _list(
        "Rows without an image",
        ((key, "") for key in found.extra),
        "Is this the folder that the maps were made from?",
    )
    yield from _list(
        "Images without a row",
        ((key, "") for key in found.missing),
        "They were added later, or are from another data set. labelkit relabel with --reuse FILE "
        "and another output makes maps of these images only.",
    )
    yield from _list(
        "Images that were unreadable when the maps were made, and can be read now",
        ((key, "") for key in found.readable_now),
        "labelkit relabel with --reuse FILE and another output adds their maps.",
    )
    yield from _list(
        f"Of {found.sampled:,} recomputed maps, those that differ from the stored ones",
        ((difference.key, _how_much(difference)) for difference in found.differing),
        "The images have changed, or are decoded differently now: make the maps again.",
    )


def _rename_advice(path: Path, images: Path | None, renames: Path | None) -> str:
    """How the rows get the new keys of their images, in commands to copy."""
    from labelkit.wording import printable

    verify = ["labelkit", "verify", path, "--images", images, "--renames", "new.json"]
    rename = ["labelkit", "rename", path, "--keys", renames or "new.json", "-o", "renamed.h5"]
    listed, applied = (
        shlex.join(printable(str(word)) for word in command) for command in (verify, rename)
    )
    if renames:
        return f"{renames} has all of them. Look at it, then give the rows the new keys: {applied}"
    return (
        f"Rename the images back, or give the rows the new keys: {listed}, look at new.json, then "
        f"{applied}"
    )


def _list(title: str, entries: Iterable[tuple[str, str]], advice: str) -> Iterator[str]:
    """A list of keys with a remark on each, cut short; nothing if it is empty."""
    from labelkit.wording import printable

    found = list(entries)
    if not found:
        return
    yield f"{title}: {len(found):,}"
    for key, remark in found[:_SHOWN]:
        yield f"  {printable(key)}: {printable(remark)}" if remark else f"  {printable(key)}"
    if len(found) > _SHOWN:
        yield f"  and {len(found) - _SHOWN:,} more"
    yield f"  {advice}"


def _how_much(difference: MapDifference) -> str:
    from labelkit.wording import percent

    if difference.unreadable:
        return f"the image cannot be read ({difference.unreadable})"
    return (
        f"{percent(difference.classes)} of its entries have another class now, scores moved by up "
        f"to {percent(difference.score)} of their range"
    )


def _summary(
    file: LabelMapFile,
    found: Verification,
    path: Path,
    images: Path | None,
    teachers: list[Teacher],
) -> Iterator[str]:
    """What was checked and is correct."""
    from labelkit.wording import counted, printable

    yield f"{path} is intact: {counted(found.rows, 'row', 'rows')}, {printable(str(file.classes))}"
    if images:
        yield f"Its rows match the images in {images}: none is extra, none is missing."
    if found.still_unreadable:
        yield f"Recorded as unreadable, and still so: {len(found.still_unreadable):,}"
    if teachers:
        names = " and ".join(teacher.card.name for teacher in teachers)
        yield f"Recomputed with {names}, equal to the stored maps: {found.sampled:,}"

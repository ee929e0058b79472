"""``labelkit verify``: whether a label-map file is whole, and of these images."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import MapDifference, Verification
    from labelkit.teachers import Teacher

EPILOG = """\b
Examples:
  labelkit verify maps.h5
  labelkit verify maps.h5 --images photos/train
  labelkit verify maps.h5 --images photos/train --sample 100
  labelkit verify maps.h5 --images photos/train --sample 100 --teacher my-teacher.toml
"""
SHOWN = 10
BARS = {"rows": ("Rows", "rows"), "sample": ("Maps made again", "images")}


@click.command("verify", epilog=EPILOG)
@click.argument(
    "path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--images",
    metavar="DATA",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that the maps were made from: compare its images with the rows.",
)
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(1),
    help="With --images: make N maps again, evenly spread, and compare them with the rows.",
)
@click.option(
    "--teacher",
    "teachers",
    metavar="NAME",
    multiple=True,
    help="With --sample: a card's name, a card's path (.toml), or a timm model. "
    "[default: the one that the file names]",
)
@click.option(
    "--device",
    metavar="NAME",
    help="With --sample: auto, cpu, cuda, cuda:1, …  [default: auto]",
)
def command(
    path: Path,
    images: Path | None,
    sample: int | None,
    teachers: tuple[str, ...],
    device: str | None,
) -> None:
    """Check that every row of the label-map file FILE is there, whole, and of these images.

    Reads every row and checks its checksum. With --images, tells of images that are missing,
    added or renamed since; with --sample, of images that have changed, since their maps come out
    otherwise. Nothing is written. The exit code is 1 if something is off.
    """
    for name, given, needed, there in (
        ("--sample", sample, "--images, the folder that the maps were made from", images),
        ("--teacher", teachers or None, "--sample", sample),
        ("--device", device, "--sample", sample),
    ):
        if given is not None and there is None:
            raise click.UsageError(f"{name} needs {needed}")

    from rich.console import Console

    from labelkit.cli.progress import announce_teachers
    from labelkit.errors import LabelkitError

    if sample:
        announce_teachers(teachers)
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import verify

    console = Console()
    with LabelMapFile.open(path) as file:
        loaded = _load(file, teachers, device or "auto") if sample else []
        with _Bars(console) as bars:
            found = verify(file, images, loaded, sample or 0, bars)
        lines = [*_problems(found)] or [*_summary(file, found, path, images, loaded)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not found.ok:
        raise LabelkitError(f"{path}: something is off, see the list")


class _Bars(ExitStack):
    """A progress bar for each stage, one after the other."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._stage = ""
        self._advance: Callable[[int, int], None]

    def __call__(self, stage: str, done: int, total: int) -> None:
        from labelkit.cli.progress import progress_bar

        if stage != self._stage:
            self.close()
            self._stage = stage
            self._advance = self.enter_context(progress_bar(self._console, *BARS[stage]))
        self._advance(done, total)


def _load(file: LabelMapFile, names: tuple[str, ...], device: str) -> list[Teacher]:
    """The teachers that are asked for, or those that the file names."""
    from labelkit.errors import TeacherError
    from labelkit.relabel import named_teachers
    from labelkit.teachers import load_teacher

    known = named_teachers(file)  # first, since no teacher would do where the file names none
    if names:
        return [load_teacher(name, device=device, size=_one_size(file)) for name in names]
    loaded: list[Teacher] = []
    for named in known:
        name = str(named.get("name", ""))
        if not name or name.endswith(".toml"):  # a file must not choose what else is opened
            raise TeacherError(
                f"{file.path} names no teacher by a card's or model's name: name yours with "
                "--teacher"
            )
        lower = named.get("precision")
        try:
            teacher = load_teacher(
                name,
                device=device,
                size=_one_size(file),
                force=named.get("forced") is True,
                precision=lower if lower in {"bfloat16", "float16"} else "float32",
            )
        except TeacherError as error:
            raise TeacherError(
                f"{file.path} was made by {name!r}, which does not load here ({error}). "
                "If that is a card of your own, name its path with --teacher"
            ) from error
        loaded.append(teacher)
    return loaded


def _one_size(file: LabelMapFile) -> int | None:
    """The one input size of all maps, for models that are built for it."""
    match file.attrs.get("input_sizes"):
        case [int(size)] if 16 <= size <= 4096:
            return size
        case _:
            return None


def _problems(found: Verification) -> Iterator[str]:
    """Everything that is off, list by list, each with what to do about it."""
    yield from _list(
        "Damaged rows",
        found.damaged.items(),
        "Copy the file again from where it is whole; or make damaged rows alone anew, by labelkit "
        "relabel with the same settings, --reuse this file, and another output.",
    )
    yield from _list(
        "Rows whose image seems to have another name now",
        ((old, f"now {new}") for old, new in found.renamed.items()),
        "Name them back, or make the maps anew: a row is found by its image's path.",
    )
    yield from _list(
        "Rows without an image",
        ((key, "") for key in found.extra),
        "Is it the folder that the maps were made from?",
    )
    yield from _list(
        "Images without a row",
        ((key, "") for key in found.missing),
        "They were added since, or are of another data set: labelkit relabel with --reuse FILE and "
        "another output makes only those.",
    )
    yield from _list(
        "Images that could not be read when the maps were made, and can be now",
        ((key, "") for key in found.readable_now),
        "labelkit relabel with --reuse FILE and another output makes maps of them too.",
    )
    yield from _list(
        f"Of {found.sampled:,} maps made again, those that are not the stored ones",
        ((difference.key, _how_much(difference)) for difference in found.differing),
        "The images have changed since, or are decoded otherwise: make the maps anew.",
    )


def _list(title: str, entries: Iterable[tuple[str, str]], advice: str) -> Iterator[str]:
    """A list of keys with a word on each, cut short; nothing if it is empty."""
    from labelkit.wording import printable

    found = list(entries)
    if not found:
        return
    yield f"{title}: {len(found):,}"
    for key, word in found[:SHOWN]:
        yield f"  {printable(key)}: {printable(word)}" if word else f"  {printable(key)}"
    if len(found) > SHOWN:
        yield f"  and {len(found) - SHOWN:,} more"
    yield f"  {advice}"


def _how_much(difference: MapDifference) -> str:
    from labelkit.wording import percent

    if difference.unreadable:
        return f"the image cannot be read ({difference.unreadable})"
    return (
        f"{percent(difference.classes)} of its classes are others now, scores moved by up to "
        f"{percent(difference.score)} of their range"
    )


def _summary(
    file: LabelMapFile,
    found: Verification,
    path: Path,
    images: Path | None,
    teachers: list[Teacher],
) -> Iterator[str]:
    """What was checked and found well."""
    from labelkit.wording import printable

    yield f"{path} is whole: {found.rows:,} rows, {printable(str(file.classes))}"
    if images:
        yield f"Its rows are of the images in {images}: none is extra, none is missing."
    if found.still_unreadable:
        count = len(found.still_unreadable)
        yield f"Without a row, recorded as unreadable, and so still: {count:,}"
    if teachers:
        names = " and ".join(teacher.card.name for teacher in teachers)
        yield f"Maps made again with {names}, the same as the rows: {found.sampled:,}"

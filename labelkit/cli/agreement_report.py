"""Prints how well label maps agree with the folders or labels of their images."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from labelkit.cli.output import plain_table, print_lines, print_table
from labelkit.hierarchy import ClassList, class_names
from labelkit.wording import counted, percent, printable, readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from labelkit.relabel import ClassAgreement, FolderAgreement

NO_AGREEMENT = (
    "No comparison with folders or labels: at least half of the images are outside the folders of "
    "these classes, or have other labels, or their maps are not in ascending order of size."
)
_SHOWN = 10
_WARNED = 3
_GOOD = 0.8


def agreement_facts(found: FolderAgreement) -> dict[str, Any]:
    """All classes, for ``--json``."""
    return asdict(found) | {"agree": found.share, "other": found.other}


def print_agreement(
    screen: Console, found: FolderAgreement, maps: Path, images: Path, sizes: str
) -> None:
    """Print the classes that agree least with their folders or labels, and what to check.

    Args:
        screen: where.
        found: what was compared.
        maps: the label-map file.
        images: the folder of its images.
        sizes: a sentence on the maps' sizes, and how to measure others.
    """
    print_lines(screen, [_heading(found)])
    other = found.stores_other
    table = plain_table("class", numbers=("images", "agree", *(["other"] if other else [])))
    for each in found.classes[:_SHOWN]:
        name = Text(_name(each.class_id), overflow="fold")
        shares = (each.share, each.other) if other else (each.share,)
        table.add_row(name, f"{each.images:,}", *map(percent, shares))
    print_table(screen, table)
    print_lines(screen, _notes(found, maps, images))
    if found.share < _GOOD:
        print_lines(screen, [sizes])


def _heading(found: FolderAgreement) -> str:
    classes = counted(len(found.classes), "class", "classes")
    whose = counted(found.sampled, "image", "images")
    if found.sampled < found.images:
        whose = f"a sample of {found.sampled:,} of {found.images:,} images"
    where = "in folders of other names" if found.by == "folders" else "with other labels or none"
    unknown = f" ({found.unknown:,} {where})" if found.unknown else ""
    return (
        f"The targets of whole images agree with their {found.by} for {percent(found.share)} of "
        f"{whose}{unknown}, {classes}:"
    )


def _notes(found: FolderAgreement, maps: Path, images: Path) -> Iterator[str]:
    """What the table does not show, and warnings."""
    if len(found.classes) > _SHOWN:
        yield f"and {len(found.classes) - _SHOWN:,} classes that agree more often; --json lists all"
    suspicious = [each for each in found.classes if each.suspicious]
    disagree = sum(each.disagrees for each in found.classes)
    if 2 * disagree > len(found.classes) > 1:
        yield (
            f"Warning: {disagree:,} of {len(found.classes):,} classes rarely agree or are near "
            "chance, so look at the settings before the images: does --size suit this teacher and "
            "these images, and do the class list and its names (--classes, --names) suit the "
            f"{found.by}?"
        )
        return
    yield from map(_warning, suspicious[:_WARNED])
    if len(suspicious) > _WARNED:
        others = ", ".join(_name(each.class_id) for each in suspicious[_WARNED:][:_SHOWN])
        more = ", ..." if len(suspicious) > _WARNED + _SHOWN else ""
        yield f"Likewise: {others}{more}"
    if suspicious:
        example = suspicious[0].examples[0]
        look = ["labelkit", "inspect", maps, "--images", images, "--key", example]
        right = "are they in the right folder" if found.by == "folders" else "is their label right"
        yield (
            f"Look at them: {right}, and does the class list (--classes, --names) have what they "
            "show?"
        )
        yield f"  {shlex.join(printable(str(word)) for word in look)}"
    if any(each.elsewhere for each in suspicious):
        yield (
            'If such images stay, train with other="even", or "output" where there is no tree, so '
            "that they are not taught as one of the classes."
        )


def _warning(each: ClassAgreement) -> str:
    name, examples = _name(each.class_id), ", ".join(map(printable, each.examples))
    elsewhere = ""
    if each.elsewhere:
        be = "is" if each.elsewhere == 1 else "are"
        elsewhere = f"{each.elsewhere:,} of its {each.images:,} images {be} mostly *other*"
    if not each.disagrees:
        return f"Warning: {name}: {elsewhere}, such as {examples}"
    elsewhere = f"; {elsewhere}" if elsewhere else ""
    how = "is near chance" if each.near_chance else "rarely agrees"
    return (
        f"Warning: {name} {how}: {each.agree:,} of {each.images:,} images agree"
        f"{elsewhere}. Those that agree least: {examples}"
    )


def _name(class_id: str) -> str:
    """A class's name, with its id if that differs."""
    (name,) = class_names(ClassList.of([class_id]))
    return readable(name) if name == class_id else f"{readable(name)} ({printable(class_id)})"

"""``labelkit teachers``: which teachers there are, and what one is like before a long run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from labelkit.teachers import Teacher, TeacherCard
    from labelkit.teachers.checking import Check

EPILOG = """\b
Examples:
  labelkit teachers
  labelkit teachers check efficientnet-lite0
  labelkit teachers check convnext_tiny --size 480
"""
CHECK_EPILOG = """\b
Examples:
  labelkit teachers check efficientnet-lite0
  labelkit teachers check my-teacher.toml --size 384
  labelkit teachers check swin_tiny_patch4_window7_224 --size 480
  labelkit teachers check vit_base_patch16_224 --force
"""


@click.group("teachers", invoke_without_command=True, epilog=EPILOG)
@click.pass_context
def command(context: click.Context) -> None:
    """List the teachers' cards and the families of models; check one with `teachers check NAME`.

    A map is exact if its mean is the model's own answer, to 1e-4 of the scores' spread; else it is
    approximate, and the files made with it say so. Models that answer from a class token, or have
    no grid, are refused.
    """
    if context.invoked_subcommand is not None:
        return

    from rich.console import Console

    from labelkit.teachers.card import card_names, find_card
    from labelkit.teachers.families import read_families

    console = Console()
    cards = [card for name in card_names() if (card := find_card(name)) is not None]
    _print_table(
        console,
        "Cards",
        ("card", "model", "classes", "pixels", "top-1", "licence", "tested"),
        [_card_row(card) for card in cards],
    )
    _print_table(
        console,
        "Families of timm, by one member each",
        ("family", "member", "map", "why", "15x15 at"),
        [
            (row.family, row.model, row.verdict, row.reason, str(row.fifteen or ""))
            for row in read_families()
        ],
    )


@command.command("check", epilog=CHECK_EPILOG)
@click.argument("name", metavar="NAME")
@click.option(
    "--size",
    metavar="PIXELS",
    type=click.IntRange(16, 4096),
    help="Side of the square images.  [default: the card's, or near the model's own]",
)
@click.option(
    "--pretrained/--random",
    default=None,
    help="The model's own weights, or random ones, which need no network.  "
    "[default: random for a timm model, own for a card that names a file]",
)
@click.option("--force", is_flag=True, help="Measure a class-token model by its patch tokens.")
@click.option(
    "--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda, cuda:1, …"
)
def check_command(
    name: str, size: int | None, device: str, *, pretrained: bool | None, force: bool
) -> None:
    """Build the teacher NAME and measure it: grid, cost, and whether its map is exact.

    NAME is a card's name, the path of a card (.toml), or a timm model. With its own weights the
    answer to a golden image is compared with the one in the card. The exit code is 1 if the
    teacher is refused, or answers otherwise than its card says.
    """
    from rich.console import Console

    from labelkit.errors import TeacherError
    from labelkit.teachers import load_teacher, random_teacher
    from labelkit.teachers.card import find_card
    from labelkit.teachers.checking import check

    if pretrained is None:
        card = find_card(name)
        pretrained = card is not None and card.weights is not None
    load = load_teacher if pretrained else random_teacher
    teacher = load(name, device=device, size=size, force=force)
    found = check(teacher, golden=pretrained)
    console = Console()
    for line in _lines(teacher, found, pretrained=pretrained):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.golden is False:
        raise TeacherError(
            f"{teacher.card.name} does not answer the golden image as its card says: its weights "
            "or its preprocessing are not those of the card"
        )


def _lines(teacher: Teacher, found: Check, *, pretrained: bool) -> Iterator[str]:
    """What was measured, a line each."""
    weights = "its own weights" if pretrained else "random weights"
    rows, columns = found.grid
    verdict = "exact" if found.exact else "approximate"
    yield f"{teacher.card.name}: {teacher.card.model}, {weights}, {len(teacher.classes):,} classes"
    yield f"  input       {found.size}x{found.size} pixels"
    yield f"  grid        {rows}x{columns}, a cell every {found.stride:.4g} pixels"
    yield f"  parameters  {found.parameters / 1e6:,.1f} million"
    yield f"  cost        {found.flops / 1e9:,.2f} GFLOP an image"
    yield f"  map         {verdict}, gap {found.gap:.1e}: {found.reason}"
    if found.golden is not None:
        yield f"  golden      {'as its card says' if found.golden else 'not as its card says'}"


def _card_row(card: TeacherCard) -> tuple[str, ...]:
    top1 = f"{card.accuracy.top1:.1f} %" if card.accuracy else ""
    tested = "yes" if card.tested else "not run"
    return card.name, card.model, card.classes, str(card.size), top1, card.licence, tested


def _print_table(
    console: Console, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]
) -> None:
    """A table whose lines are never cut, so that names can be copied from it."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    console.print(title, style="bold")
    for row in [columns, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        line = "  " + "  ".join(cells).rstrip()
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()

"""``labelkit teachers``: the teachers there are, and what to know about one before a long run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.options import device_option, json_option, quiet_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.teachers import Check, Teacher, TeacherCard

EPILOG = """\b
Examples:
  labelkit teachers
  labelkit teachers --json
  labelkit teachers check efficientnet-lite0
"""
CHECK_EPILOG = """\b
Examples:
  labelkit teachers check efficientnet-lite0
  labelkit teachers check my-teacher.toml --size 384
  labelkit teachers check resnet50.a1_in1k --size 480 --json
  labelkit teachers check vit_base_patch16_224.augreg_in1k --force
"""


@click.group("teachers", invoke_without_command=True, epilog=EPILOG)
@json_option
@quiet_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """List teacher cards and families of timm models; `teachers check NAME` measures one.

    A map is exact if its mean equals the model's logits to within 1e-4 of their spread. Otherwise
    it is approximate, and files made with it record that. Models that predict from a class token or
    have no grid are refused.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"put --json after {context.invoked_subcommand}")
        return

    from dataclasses import asdict

    from labelkit.cli.output import console, print_json, print_lines
    from labelkit.teachers import card_names, find_card, read_families

    cards = [card for name in card_names() if (card := find_card(name)) is not None]
    families = read_families()
    if as_json:
        print_json(
            {
                "cards": [_card_facts(card) for card in cards],
                "families": [asdict(family) for family in families],
            }
        )
        return
    screen = console()
    screen.print("Cards", style="bold")
    columns = ("card", "model", "classes", "pixels", "top-1", "licence", "tested")
    print_lines(screen, _table(columns, [_card_row(card) for card in cards]))
    screen.print()
    screen.print("Families of timm models, each measured on one member", style="bold")
    rows = [
        (each.family, each.model, each.verdict, each.reason, str(each.size_15x15 or ""))
        for each in families
    ]
    print_lines(screen, _table(("family", "member", "map", "why", "15x15 at"), rows))


@command.command("check", epilog=CHECK_EPILOG)
@click.argument("name", metavar="NAME")
@click.option(
    "--size",
    metavar="PIXELS",
    type=click.IntRange(16, 4096),
    help="Side of the square images.  [default: the card's, or near the model's native size]",
)
@click.option("--force", is_flag=True, help="Measure a class-token model by its patch tokens.")
@device_option
@json_option
@quiet_option
def check_command(name: str, size: int | None, device: str, *, force: bool, as_json: bool) -> None:
    """Measure the teacher NAME: grid, cost, and gap.

    NAME is a card's name, the path of a card (.toml), or a timm model, whose weights timm
    downloads. The prediction for a golden image is compared with the one in the card. The exit code
    is 1 if the teacher is refused, or if its prediction does not match its card.
    """
    from labelkit.cli.output import console, print_json, print_lines
    from labelkit.errors import TeacherError
    from labelkit.teachers import check, load_teacher

    teacher = load_teacher(name, device=device, size=size, force=force)
    found = check(teacher)
    if as_json:
        print_json(_check_facts(teacher, found))
    else:
        print_lines(console(), _check_lines(teacher, found))
    if found.golden is False:
        raise TeacherError(
            f"{teacher.card.name} does not predict what its card expects for the golden image: its "
            "weights or its preprocessing differ from the card's"
        )


def _check_facts(teacher: Teacher, found: Check) -> dict[str, Any]:
    return {
        "name": teacher.card.name,
        "model": teacher.card.model,
        "classes": len(teacher.classes),
        "size": found.size,
        "grid": list(found.grid),
        "stride": found.stride,
        "parameters": found.parameters,
        "flops": found.flops,
        "gap": found.gap,
        "exact": found.exact,
        "reason": found.reason,
        "golden": found.golden,
    }


def _check_lines(teacher: Teacher, found: Check) -> Iterator[str]:
    """What was measured, one fact per line."""
    rows, columns = found.grid
    verdict = "exact" if found.exact else "approximate"
    yield f"{teacher.card.name}: {teacher.card.model}, {len(teacher.classes):,} classes"
    yield f"  input       {found.size}x{found.size} pixels"
    yield f"  grid        {rows}x{columns}, one cell per {found.stride:.4g} pixels"
    yield f"  parameters  {found.parameters / 1e6:,.1f} million"
    yield f"  cost        {found.flops / 1e9:,.2f} GFLOP per image"
    yield f"  map         {verdict}, gap {found.gap:.1e}: {found.reason}"
    if found.golden is not None:
        matches = "matches" if found.golden else "does not match"
        yield f"  golden      {matches} the card"


def _card_facts(card: TeacherCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "model": card.model,
        "classes": card.classes,
        "size": card.size,
        "native_size": card.native_size,
        "top1": card.accuracy.top1 if card.accuracy else None,
        "licence": card.licence,
        "tested": card.tested,
    }


def _card_row(card: TeacherCard) -> tuple[str, ...]:
    top1 = f"{card.accuracy.top1:.1f} %" if card.accuracy else ""
    tested = "yes" if card.tested else "not run"
    return card.name, card.model, card.classes, str(card.size), top1, card.licence, tested


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a table as wide as its cells, so that names can be copied from it."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()

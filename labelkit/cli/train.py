"""``labelkit train``: train the student that a recipe describes."""

from __future__ import annotations

import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, Self

import click

from labelkit.cli.options import FILE, is_quiet, output_option, quiet_option, recipe_device_option
from labelkit.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from labelkit.train import EpochRecord, Event, Recipe, StepRecord, TrainingResult

_KINDS = {"kd": "distillation"}
_LINE_SECONDS = 60  # between lines within an epoch, without a terminal

EPILOG = """\b
Examples:
  labelkit train train/imagenette/hard.toml
  labelkit train --init label-maps > recipe.toml
  labelkit train recipe.toml --set optimizer.lr=1e-3 --dry-run
  labelkit train train/imagenette/hard.toml --set data.train=photos/train \\
      --set data.val=photos/val --set schedule.epochs=20 -o runs/photos
  torchrun --nproc-per-node=2 -m labelkit train train/imagenette/hard.toml
"""


@click.command(epilog=EPILOG)
@click.argument("recipe", type=FILE, required=False)
@click.option(
    "--init",
    "kind",
    metavar="KIND",
    help="Print a commented recipe for this KIND of labels: hard, label-maps, distillation (kd), "
    "semantic-softmax, hierarchical-cross-entropy or multi-label.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="TABLE.FIELD=VALUE",
    help="Change a field of the recipe; repeatable. VALUE is TOML or plain text.",
)
@output_option(
    "Folder for the log and the checkpoints. [default: the recipe's run.output]",
    required=False,
    folder=True,
)
@click.option(
    "--dry-run",
    "dry",
    is_flag=True,
    help="Print the recipe with all its fields, and the plan of the run. Write nothing.",
)
@recipe_device_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    recipe: Path | None,
    kind: str | None,
    changes: tuple[str, ...],
    output: Path | None,
    device: str | None,
    *,
    dry: bool,
) -> None:
    """Train a timm model as described by RECIPE, a TOML file.

    The labels are hard, classes of a tree, label maps pooled over each random crop, or a live
    teacher's; CutMix and MixUp work with all of them. train/README.md describes the fields.
    After every epoch, the output folder has log.jsonl and log.csv (one line per epoch), last.pt and
    best.safetensors, which timm loads with the config.json next to it; at the end also curves.png
    and report.html. After an interruption, the same command resumes the run, with the same results
    as without one. With torchrun, several processes share each batch. Images that cannot be read
    are named together at the start; --set data.unreadable=skip leaves them out. Relative paths
    start at the current directory.
    """
    from labelkit.train import StoppedElsewhere

    if kind is not None:
        _print_template(kind)
        return
    if recipe is None:
        raise click.UsageError("name a recipe, or start one: labelkit train --init hard > my.toml")
    try:
        run = _print_plan if dry else _train
        run(_with_options(_read(recipe, changes), output, device))
    except StoppedElsewhere:  # the other process has said why
        sys.exit(1)
    except KeyboardInterrupt:
        if _is_first():
            raise
        sys.exit(130)


def _is_first() -> bool:
    """Whether this process prints for all, among those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _read(recipe: Path, changes: tuple[str, ...]) -> Recipe:
    from labelkit.errors import LabelkitError
    from labelkit.train import read_recipe

    try:
        return read_recipe(recipe, changes)
    except (LabelkitError, OSError, ValueError) as error:
        if not _is_first():  # all processes have the same recipe
            sys.exit(1)
        if isinstance(error, ValueError):
            raise click.BadParameter(str(error), param_hint="--set") from error
        raise


def _print_template(kind: str) -> None:
    """A commented recipe on stdout, which a shell writes to a file."""
    from labelkit.train import recipe_template

    try:
        click.echo(recipe_template(_KINDS.get(kind, kind)), nl=False)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--init") from error


def _with_options(recipe: Recipe, output: Path | None, device: str | None) -> Recipe:
    """The recipe with the output folder and the device of the command line, if given."""
    from msgspec.structs import replace

    run = recipe.run
    if output is not None:
        run = replace(run, output=str(output))
    if device is not None:
        run = replace(run, device=device)
    return replace(recipe, run=run)


def _train(recipe: Recipe) -> None:
    from labelkit.cli.output import console, plain_table, print_lines, print_table
    from labelkit.cli.training_report import write_report

    screen = console()
    screen.quiet = screen.quiet or not _is_first()
    with screen.status("Loading torch and timm, opening the data"):
        from labelkit.train import train
    with _Display(screen, recipe) as display:
        result = train(recipe, on_event=display.show)
    if not _is_first():
        return
    write_report(result)
    metrics = tuple(result.best.metrics)
    table = plain_table("epoch", numbers=("train loss", *metrics))
    for name, record in (("best", result.best), ("last", result.records[-1])):
        values = map(_figure, record.metrics.items())
        table.add_row(f"{name}: {record.epoch}", f"{record.train_loss:.4f}", *values)
    print_table(screen, table)
    print_lines(screen, _next_steps(result, recipe.data.val))


def _print_plan(recipe: Recipe) -> None:
    """The recipe and the plan as comments, both on stdout: the whole is a recipe again."""
    from labelkit.cli.training_plan import plan_lines
    from labelkit.train import dry_run, recipe_toml

    plan = dry_run(recipe)
    if _is_first() and not is_quiet():
        click.echo(recipe_toml(recipe))
        for line in plan_lines(plan):
            click.echo(f"# {printable(line)}")


class _Display:
    """One line per epoch, and within long ones a progress bar, or lines without a terminal."""

    def __init__(self, screen: Console, recipe: Recipe) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.screen = screen
        self.recipe = recipe
        self.epochs = 0
        self.printed = time.monotonic()
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:,.0f} images/s"),
            console=screen,
            transient=True,
            disable=screen.quiet or not screen.is_terminal,
        )
        self.bar = self.bars.add_task("", total=None, loss=0.0, rate=0.0, visible=False)

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def show(self, event: Event) -> None:
        """Show one event of the training loop."""
        from labelkit.cli.output import print_lines
        from labelkit.cli.training_plan import start_lines
        from labelkit.train import EpochRecord, RunStarted

        if isinstance(event, RunStarted):
            self.epochs = event.epochs
            print_lines(self.screen, start_lines(event, self.recipe))
            print_lines(self.screen, [f"Output: {printable(self.recipe.run.output)}"])
        elif isinstance(event, EpochRecord):
            self.bars.update(self.bar, visible=False)
            print_lines(self.screen, [_epoch_line(event, self.epochs)])
            self.printed = time.monotonic()
        elif not self.screen.is_terminal:
            if time.monotonic() - self.printed > _LINE_SECONDS:
                print_lines(self.screen, [step_line(event, self.epochs)])
                self.printed = time.monotonic()
        else:
            self.bars.update(
                self.bar,
                description=f"epoch {event.epoch}/{self.epochs}",
                completed=event.step,
                total=event.steps,
                loss=event.loss,
                rate=event.images_per_second,
                visible=True,
            )


def step_line(step: StepRecord, epochs: int) -> str:
    """How far an epoch is."""
    return (
        f"epoch {step.epoch}/{epochs}, update {step.step:,} of {step.steps:,}: "
        f"loss {step.loss:.4f}, {step.images_per_second:,.0f} images/s"
    )


def _epoch_line(record: EpochRecord, epochs: int) -> str:
    metrics = "".join(f"{each[0]} {_figure(each)}  " for each in record.metrics.items())
    return (
        f"epoch {record.epoch}/{epochs}  train loss {record.train_loss:.4f}  "
        f"{'val ' if metrics else ''}{metrics}"
        f"{record.seconds:.1f} s, {record.images_per_second:,.0f} images/s"
    )


def _figure(metric: tuple[str, float]) -> str:
    """A loss with four digits after the point, all others, which are percentages, with two."""
    name, value = metric
    return f"{value:.4f}" if "loss" in name else f"{value:.2f}"


def _next_steps(result: TrainingResult, val: str) -> Iterator[str]:
    """What each file is for, and how to load the student."""
    if str(result.study):
        yield f"Labels: {result.study}"
    weights = result.output / "best.safetensors"
    yield f"{weights}: the epoch with the best {result.measure}; class list in its metadata"
    yield f"{result.output / 'last.pt'}: to resume from; {result.output / 'log.jsonl'}: every epoch"
    yield f"{result.output / 'report.html'}: its curves; also log.csv and curves.png"
    source = f"local-dir:{result.output}"
    yield f"Load it: timm.create_model({source!r}, pretrained=True)"
    yield (
        f"{result.output / 'config.json'}: its preprocessing, as in this run's evaluation: "
        "timm.data.resolve_model_data_config(model)"
    )
    if result.inner:
        yield (
            f"{result.inner:,} of its outputs are inner nodes of the tree (SemanticTree.inner): "
            "exclude them when you rank classes"
        )
    evaluate = ["labelkit", "evaluate", str(result.output), val]
    yield f"Next: {shlex.join(map(printable, evaluate))}"

"""``labelkit train``: a recipe in, a trained student and its log out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.console import Console

    from labelkit.train import EpochRecord, Event, Outcome, Recipe, RunStarted

EPILOG = """\b
Examples:
  labelkit train train/imagenette/hard.toml
  labelkit train train/imagenette/hard.toml --set data.train=photos/train \\
      --set data.val=photos/val --set schedule.epochs=20 -o runs/photos
"""


@click.command(epilog=EPILOG)
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="TABLE.FIELD=VALUE",
    help="Change a field of the recipe; may be given again. VALUE is TOML, or plain text.",
)
@click.option("-o", "--output", metavar="FOLDER", help="The same as --set run.output=FOLDER.")
@click.option("--device", help="The same as --set run.device=…: auto, cpu, cuda, cuda:1, …")
def command(recipe: Path, changes: tuple[str, ...], output: str | None, device: str | None) -> None:
    """Train a timm model as the TOML file RECIPE says.

    Labels are hard, semantic softmax over a tree, or label maps pooled over each random crop. After
    every epoch the output folder holds log.jsonl (one line an epoch), last.pt and best.safetensors.
    Interrupted, the same command goes on, and ends with the same numbers. Relative paths start at
    the current directory.
    """
    from labelkit.train import read_recipe

    try:
        loaded = read_recipe(recipe, changes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--set") from error
    loaded = _with_run(loaded, output, device)
    _train(loaded)


def _with_run(recipe: Recipe, output: str | None, device: str | None) -> Recipe:
    """The recipe with another output folder or device, where one was asked for."""
    from msgspec.structs import replace

    given = {"output": output, "device": device}
    return replace(recipe, run=replace(recipe.run, **{k: v for k, v in given.items() if v}))


def _train(recipe: Recipe) -> None:
    from rich.console import Console

    console = Console()
    with console.status("Loading torch and timm, opening the data"):
        from labelkit.train import train
    with _Display(console) as display:
        outcome = train(recipe, on_event=display.show)
    _report(console, recipe, outcome)


class _Display:
    """A line for every epoch and, on a terminal, a bar for the one in progress."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console = console
        self.epochs = 0
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:,.0f} images/s"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.bar = self.bars.add_task("", total=None, loss=0.0, rate=0.0, visible=False)

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def show(self, event: Event) -> None:
        """Show what the library reports."""
        from labelkit.train import EpochRecord, RunStarted

        if isinstance(event, RunStarted):
            self.epochs = event.epochs
            self._print(_beginning(event))
        elif isinstance(event, EpochRecord):
            self.bars.update(self.bar, visible=False)
            self._print(_epoch_line(event, self.epochs))
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

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _beginning(event: RunStarted) -> str:
    train, val = event.images
    line = (
        f"{event.classes}; {train:,} images to train on, {val:,} to evaluate on; "
        f"{event.parameters / 1e6:.2f} M parameters on {event.device}"
    )
    lines = [line]
    if event.data_classes < len(event.classes):
        inner = len(event.classes) - event.data_classes
        lines.append(
            f"Outputs: {event.data_classes:,} classes and {inner:,} inner nodes of the tree"
        )
    if event.folders < event.data_classes:
        lines.append(
            f"Only {event.folders:,} of the {event.data_classes:,} classes have a folder of images"
        )
    if event.measure != "top1":
        lines.append(
            "No top-1: the classes stand on several levels of the tree, each a softmax of its own"
        )
    if event.done == event.epochs:
        lines.append(f"All {event.epochs} epochs are done already")
    elif event.done:
        lines.append(f"Going on after epoch {event.done}")
    return "\n".join(lines)


def _epoch_line(record: EpochRecord, epochs: int) -> str:
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
    return (
        f"epoch {record.epoch}/{epochs}  train loss {record.train_loss:.4f}  val {metrics}  "
        f"{record.seconds:.1f} s, {record.images_per_second:,.0f} images/s"
    )


def _report(console: Console, recipe: Recipe, outcome: Outcome) -> None:
    """The best and the last epoch, what lies where, and how to load it."""
    from rich.table import Table

    table = Table("epoch", "train loss", *outcome.best.metrics)
    for name, record in (("best", outcome.best), ("last", outcome.records[-1])):
        values = (f"{value:.4g}" for value in record.metrics.values())
        table.add_row(f"{name}: {record.epoch}", f"{record.train_loss:.4f}", *values)
    console.print(table)
    weights = outcome.output / "best.safetensors"
    load = f"timm.create_model({recipe.model.name!r}, num_classes={len(outcome.classes)}"
    lines = [
        f"{weights}: the epoch with the best {outcome.measure}; class list in its metadata",
        f"{outcome.output / 'last.pt'}: to go on from; {outcome.output / 'log.jsonl'}: every epoch",
        f"Load it: {load}, checkpoint_path={str(weights)!r})",
    ]
    if outcome.inner:
        lines.append(
            f"{outcome.inner:,} of its outputs are inner nodes of the tree (SemanticTree.inner): "
            "leave them out where you rank classes"
        )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

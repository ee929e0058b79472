"""``labelkit evaluate``: what a trained model gets right, and how bad its mistakes are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.options import (
    FILE,
    batch_size_option,
    device_option,
    json_option,
    open_images,
    output_option,
    overwrite_option,
    quiet_option,
    require_writable,
    source_options,
    worker_count,
    workers_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from labelkit.cli.evaluation_report import Table
    from labelkit.train import FolderEvaluation

EPILOG = """\b
Examples:
  labelkit evaluate runs/photos photos/val
  labelkit evaluate runs/photos/last.pt photos/val --tree tree.json -o report.html
  labelkit evaluate efficientnet-lite0 imagenette/val --among data
  labelkit evaluate runs/photos photos/val --json > evaluation.json
"""
_UNREADABLE_SHOWN = 10


@click.command("evaluate", epilog=EPILOG)
@click.argument("checkpoint")
@click.argument("data", type=click.Path(path_type=Path))
@source_options
@click.option(
    "--among",
    type=click.Choice(["all", "data"]),
    default="all",
    show_default=True,
    help="Rank all classes of the model, or only those that DATA has images of.",
)
@click.option(
    "--classes",
    metavar="LIST",
    help="Evaluate only the images of these classes: a text file, a folder of class folders, or a "
    "named list.",
)
@click.option(
    "--tree",
    type=FILE,
    help="Tree for distances between classes (from build-tree); semantic accuracy is always of the "
    "run's. [default: the run's, if any]",
)
@click.option(
    "--real",
    type=FILE,
    help="Several correct labels per image: ImageNet's real.json, or a JSON object from keys to "
    "class ids. [default: ReaL labels if the images are ImageNet's validation images]",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Lines per table. --json and -o always have all classes.",
)
@batch_size_option
@workers_option
@device_option
@output_option("Page to write, with all classes and confused pairs (.html).", required=False)
@overwrite_option
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    checkpoint: str,
    data: Path,
    *,
    among: Any,  # noqa: ANN401 -- one of the two words of a Literal
    classes: str | None,
    tree: Path | None,
    real: Path | None,
    limit: int,
    batch_size: int | None,
    workers: int | None,
    device: str,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Evaluate CHECKPOINT on DATA, a folder of class folders or another source with labels.

    CHECKPOINT is the folder of a labelkit train run (its best epoch), its best.safetensors or
    last.pt, a teacher's card or name, or a timm model with weights. Folders are matched to classes
    by name; images are prepared as in the run's own evaluation, and on its validation data the
    metrics equal its log. Images that cannot be read are listed and not counted.

    Printed are top-1, top-5 and semantic accuracy, ReaL accuracy, the calibration error, how far
    mistakes are from the label in a tree, the worst classes and the most frequent confusions.
    """
    if output:
        require_writable(output, overwrite=overwrite, suffixes=(".html",))
    from labelkit.cli.options import read_classes
    from labelkit.cli.output import console, print_json
    from labelkit.cli.progress import progress_bar
    from labelkit.hierarchy import SemanticTree

    screen = console(stderr=as_json)
    chosen, _ = read_classes(classes, None)
    source = open_images(data)
    loaded_tree = SemanticTree.load(tree) if tree else None
    with screen.status("Loading the model"):
        from labelkit.train import evaluate_folder, load_classifier

        classifier = load_classifier(checkpoint, device=device, tree=loaded_tree)
    with progress_bar(screen, "Evaluate") as advance:
        found = evaluate_folder(
            classifier,
            source,
            classes=chosen,
            among=among,
            tree=loaded_tree,
            real=real,
            batch_size=batch_size,
            workers=worker_count(workers, classifier.device),
            on_progress=advance,
        )
    if as_json:
        print_json(asdict(found))
    else:
        _print(screen, found, limit)
    if output:
        from labelkit.cli.evaluation_report import write_report
        from labelkit.cli.output import print_lines

        write_report(output, found)
        print_lines(screen, [f"All classes and confused pairs: {output}"])


def _print(screen: Console, found: FolderEvaluation, limit: int) -> None:
    from labelkit.cli.evaluation_report import (
        class_table,
        metric_rows,
        missing_lines,
        pair_table,
        scope,
    )
    from labelkit.cli.output import plain_table, print_lines, print_table

    print_lines(screen, [f"{found.classifier} on {found.data}: {scope(found)}", ""])
    metrics = plain_table("metric", "value", "")
    for row in metric_rows(found):
        metrics.add_row(*row)
    print_table(screen, metrics)
    print_lines(screen, missing_lines(found))
    _print_table(screen, "Worst classes", class_table(found), limit)
    _print_table(screen, "Most frequent confusions", pair_table(found), limit)
    print_lines(screen, _unreadable(found))


def _print_table(screen: Console, title: str, table: Table, limit: int) -> None:
    """The first rows of a table; its names are on the left and its numbers on the right."""
    from labelkit.cli.output import plain_table, print_lines, print_table

    columns, rows = table
    shown = rows[:limit]
    if not shown:
        return
    printed = plain_table()
    for at, column in enumerate(columns):
        numbers = all(row[at][:1].isdigit() for row in shown)
        printed.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in shown:
        printed.add_row(*row)
    of = f", {len(shown):,} of {len(rows):,}" if len(shown) < len(rows) else ""
    print_lines(screen, ["", f"{title}{of}"])
    print_table(screen, printed)


def _unreadable(found: FolderEvaluation) -> Iterator[str]:
    from labelkit.wording import printable

    if not found.unreadable:
        return
    yield ""
    yield f"Unreadable, not counted: {len(found.unreadable):,}"
    for key, reason in [*found.unreadable.items()][:_UNREADABLE_SHOWN]:
        yield f"  {printable(key)}: {printable(reason)}"
    if len(found.unreadable) > _UNREADABLE_SHOWN:
        yield f"  and {len(found.unreadable) - _UNREADABLE_SHOWN:,} more; --json lists all"

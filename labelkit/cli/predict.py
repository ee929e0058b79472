"""``labelkit predict``: the classes of all images in a folder, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from labelkit.cli.options import (
    FILE,
    SOURCE,
    batch_size_option,
    device_option,
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
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from labelkit.train import ImagePrediction

EPILOG = """\b
Examples:
  labelkit predict runs/photos new-photos -o predictions.csv
  labelkit predict efficientnet-lite0 new-photos --top-k 1 -o predictions.csv
"""
_SHOWN = 10


@click.command("predict", epilog=EPILOG)
@click.argument("checkpoint")
@click.argument("data", type=SOURCE)
@source_options
@click.option(
    "--top-k",
    metavar="K",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Classes per image, or all if there are fewer.",
)
@click.option(
    "--tree", type=FILE, help="The tree of a run with semantic softmax. [default: the run's]"
)
@batch_size_option
@workers_option
@device_option
@output_option("Table to write (.csv).")
@overwrite_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    checkpoint: str,
    data: Path,
    *,
    top_k: int,
    tree: Path | None,
    batch_size: int | None,
    workers: int | None,
    device: str,
    output: Path,
    overwrite: bool,
) -> None:
    """Predict the classes of all images in DATA, a folder or any other source.

    CHECKPOINT is the folder of a labelkit train run (its best epoch), its best.safetensors or
    last.pt, a teacher's card or name, or a timm model with weights. Images are prepared as in the
    run's own evaluation.

    The table has a header and one row per image, those of a folder in the order of their keys: key,
    then class_1, name_1, probability_1 for the best class and so on, then unreadable: the reason if
    the image cannot be read, whose other cells are empty. A run whose classes are on several levels
    of a tree gives the best class of each level instead. The table appears when it is complete.
    """
    require_writable(output, overwrite=overwrite, suffixes=(".csv",))
    from labelkit.cli.output import console, print_lines
    from labelkit.cli.progress import progress_bar
    from labelkit.hierarchy import SemanticTree

    screen = console()
    loaded_tree = SemanticTree.load(tree) if tree else None
    with screen.status("Loading the model, counting the images"):
        from labelkit.train import load_classifier, predict_folder, write_predictions

        classifier = load_classifier(checkpoint, device=device, tree=loaded_tree)
        source = open_images(data)
        total = sum(1 for _ in source.in_storage_order())
    with progress_bar(screen, "Predict") as advance:
        predictions = predict_folder(
            classifier,
            source,
            top_k=top_k,
            batch_size=batch_size,
            workers=worker_count(workers, classifier.device),
        )
        summary = _Summary(advance, total)
        write_predictions(output, classifier, summary.watch(predictions), top_k)
    print_lines(screen, summary.lines(output))


class _Summary:
    """Counts predictions on their way to the table."""

    def __init__(self, advance: Callable[[int, int], None], total: int) -> None:
        self.advance, self.total = advance, total
        self.images = self.unreadable = 0
        self.shown: list[ImagePrediction] = []

    def watch(self, predictions: Iterable[ImagePrediction]) -> Iterator[ImagePrediction]:
        """The same predictions."""
        for each in predictions:
            self.images += 1
            if each.unreadable:
                self.unreadable += 1
                self.shown += [each] if len(self.shown) < _SHOWN else []
            self.advance(self.images, max(self.total, self.images))
            yield each

    def lines(self, output: Path) -> Iterator[str]:
        """What was written, and which images could not be read."""
        from labelkit.wording import counted, printable

        yield f"Wrote {printable(str(output))}: {counted(self.images, 'image', 'images')}"
        if not self.unreadable:
            return
        yield f"Unreadable, with the reason in the last column: {self.unreadable:,}"
        for each in self.shown:
            yield f"  {printable(each.key)}: {printable(each.unreadable)}"
        if self.unreadable > len(self.shown):
            yield f"  and {self.unreadable - len(self.shown):,} more"

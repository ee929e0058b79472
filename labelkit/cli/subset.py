"""``labelkit subset``: a benchmark of some classes and images of a folder."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from labelkit.cli.options import (
    FILE,
    SOURCE,
    json_option,
    overwrite_option,
    quiet_option,
    require_writable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.subsets import Subset, SubsetSettings

EPILOG = """\b
Examples:
  labelkit subset DATA --classes 100 --per-class 50 -o balanced.json
  labelkit subset DATA --imbalance 100 -o long-tailed.json
  labelkit subset DATA --maps maps.h5 --classes 50 --choose-classes hard -o hard.json
  labelkit subset DATA --maps maps.h5 --several 2 -o several.json
  labelkit subset VALIDATION --same-classes balanced.json -o balanced-val.json
  labelkit subset DATA --coarsening coarse.json -o coarse-labels.json
  labelkit subset counts.csv --percentiles 40-60 -o classes.txt
"""
_SHOWN = 10
_TABLES = (".csv", ".tsv", ".txt")


class NumberRange(click.ParamType[Any]):
    """Two numbers with a hyphen between, or one."""

    name = "range"

    def convert(
        self,
        value: Any,  # noqa: ANN401 -- click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[float, float]:
        """The two ends of the range."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", str(value))
        if not found:
            self.fail(f"{value!r} is not a range such as 2-4", param, ctx)
        return float(found[1]), float(found[2] or found[1])


class PerClass(click.ParamType[Any]):
    """A number of images, or the word ``smallest``."""

    name = "per class"

    def convert(
        self,
        value: Any,  # noqa: ANN401 -- click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int | Literal["smallest"]:
        """The number, or the word."""
        if str(value) == "smallest":
            return "smallest"
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a number from 1 nor smallest", param, ctx)
        return int(value)


@click.command("subset", epilog=EPILOG)
@click.argument("data", type=SOURCE)
@click.option("--tree", "tree_path", type=FILE, help="Tree of the classes, from build-tree.")
@click.option(
    "--depth",
    metavar="A-B",
    type=NumberRange(),
    help="Classes at these depths of the tree; a root is at 0.",
)
@click.option(
    "--below", metavar="ID", multiple=True, help="Classes below this node of the tree, or it."
)
@click.option("--leaves", is_flag=True, help="Classes without a class of DATA below them.")
@click.option(
    "--min-images", metavar="N", type=click.IntRange(1), default=1, help="Classes with N images."
)
@click.option(
    "--percentiles",
    metavar="A-B",
    type=NumberRange(),
    help="Classes between these percentiles of the numbers of images.",
)
@click.option(
    "--coarsening", type=FILE, help="Label images with coarse classes, from labelkit coarsen."
)
@click.option(
    "--same-classes",
    metavar="CLASSES",
    help="Only the classes of another subset, a class list or a folder; each must have images.",
)
@click.option("--maps", type=FILE, help="Label maps of DATA, for easy, hard and --several.")
@click.option(
    "--several",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    help="Images whose map holds at least N classes, with these as labels.",
)
@click.option(
    "--area",
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True),
    help="For --several: a map holds a class that is strongest in this share of its cells. "
    "[default: 0.1]",
)
@click.option("--classes", metavar="N", type=click.IntRange(1), help="Choose N classes.")
@click.option(
    "--choose-classes",
    type=click.Choice(["random", "largest", "easy", "hard"]),
    default="random",
    show_default=True,
    help="Which N classes; easy and hard by the accuracy of the teacher of --maps.",
)
@click.option(
    "--per-class",
    metavar="N",
    type=PerClass(),
    help="Images of each class, or of the largest of a long tail: a number, or smallest.",
)
@click.option(
    "--imbalance",
    metavar="F",
    type=click.FloatRange(1),
    help="A long tail: the largest class has F times the images of the smallest; 1 is balanced.",
)
@click.option(
    "--choose-images",
    type=click.Choice(["random", "easy", "hard"]),
    default="random",
    show_default=True,
    help="Which N images; easy and hard by the probability of their class in --maps.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed for classes and images chosen at random.",
)
@click.option("--links", is_flag=True, help="Write a folder of class folders with links.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Manifest (.json) or class list (.txt) to write; a folder with --links.",
)
@overwrite_option
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    data: Path,
    *,
    tree_path: Path | None,
    coarsening: Path | None,
    maps: Path | None,
    same_classes: str | None,
    links: bool,
    output: Path,
    overwrite: bool,
    as_json: bool,
    **choices: Any,  # noqa: ANN401 -- the settings, checked by their class
) -> None:
    """Choose classes and images of DATA as a benchmark.

    DATA is a folder of class folders, shards, a manifest, or a table of classes and their numbers
    of images (.csv, .tsv, .txt), for a class list. Filters of classes (--depth to --percentiles)
    come first, then --coarsening, --same-classes, --several, --classes, and last the images of each
    class. Without --per-class and --imbalance, all images of the chosen classes are kept.

    The manifest has the keys and labels of the chosen images, and a digest of both. Commands take
    it in place of DATA. The same command gives the same file; the choice of an image depends on the
    seed and its own key, so that more images per class add to those chosen before.
    """
    _require_output(output, links=links, overwrite=overwrite)
    settings = _settings(choices)
    _require_useful(settings, {"--tree": tree_path, "--maps": maps, "--area": choices["area"]})
    paths = {"tree": tree_path, "coarsening": coarsening, "maps": maps, "classes": same_classes}
    inputs = {name: path for name, path in paths.items() if path is not None}
    subset = _from_table(data, settings, inputs, output)
    if subset is None:
        subset = _from_images(data, settings, inputs, quiet=as_json)
    _write(subset, output, links=links)
    if as_json:
        _print_json(output, subset)
    else:
        _print(output, subset, for_training=same_classes is None)


def _require_output(output: Path, *, links: bool, overwrite: bool) -> None:
    if not links:
        require_writable(output, overwrite=overwrite, suffixes=(".json", ".txt"))
    elif overwrite:
        raise click.UsageError("--overwrite replaces a file, not a folder with --links: remove it")
    elif output.exists():
        raise click.UsageError(f"{output} exists: remove it, or choose another name")


def _require_useful(settings: SubsetSettings, given: dict[str, object]) -> None:
    """Refuse options that lack the one that they need, or that would change nothing."""
    labels = settings.several > 1
    needs = {
        "--tree": (settings.needs_tree, "--depth, --below and --leaves"),
        "--maps": (settings.needs_scores or labels, "easy, hard and --several"),
    }
    for option, (needed, by) in needs.items():
        if needed and given[option] is None:
            raise click.UsageError(f"{by} need {option}")
        if not needed and given[option] is not None:
            raise click.UsageError(f"{option} is only for {by}: add one of them, or leave it out")
    if given["--area"] is not None and not labels:
        raise click.UsageError("--area is only for --several: add it, or leave --area out")
    if settings.class_order != "random" and settings.classes is None:
        raise click.UsageError("--choose-classes is only for --classes N: add it")
    if settings.image_order != "random" and settings.per_class is settings.imbalance is None:
        raise click.UsageError("--choose-images is only for --per-class and --imbalance: add one")


def _settings(choices: dict[str, Any]) -> SubsetSettings:
    from labelkit.subsets import SubsetSettings

    depth = choices.pop("depth")
    whole = None if depth is None else (int(depth[0]), int(depth[1]))
    names = {"choose_classes": "class_order", "choose_images": "image_order"}
    named = {
        names.get(name, name): value
        for name, value in choices.items()
        if (name, value) != ("area", None)
    }
    try:
        return SubsetSettings(depth=whole, **named)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _from_table(
    data: Path, settings: SubsetSettings, inputs: dict[str, Path | str], output: Path
) -> Subset | None:
    """Classes of a table of numbers; None if DATA is another thing."""
    if data.suffix.lower() not in _TABLES:
        return None
    if output.suffix.lower() != ".txt" or inputs.keys() - {"tree"}:
        raise click.UsageError(
            f"{data} names classes, not images: from a table, write a class list (.txt), without "
            "--maps, --coarsening and --same-classes"
        )
    from labelkit.hierarchy import SemanticTree
    from labelkit.subsets import choose_classes, read_class_counts

    tree = SemanticTree.load(inputs["tree"]) if "tree" in inputs else None
    return choose_classes(read_class_counts(data), settings, tree)


def _from_images(
    data: Path, settings: SubsetSettings, inputs: dict[str, Path | str], *, quiet: bool
) -> Subset:
    from labelkit.cli.output import console
    from labelkit.cli.progress import progress_bar
    from labelkit.hierarchy import SemanticTree, load_coarsening, read_class_list
    from labelkit.label_maps import LabelMapFile
    from labelkit.subsets import choose_subset, read_labelled_images

    images = read_labelled_images(data)
    tree = SemanticTree.load(inputs["tree"]) if "tree" in inputs else None
    coarsening = load_coarsening(inputs["coarsening"]) if "coarsening" in inputs else None
    maps = LabelMapFile.open(inputs["maps"]) if "maps" in inputs else None
    classes = read_class_list(inputs["classes"]) if "classes" in inputs else None
    digests = {
        **({"tree": tree.digest} if tree else {}),
        **({"coarsening": coarsening.digest} if coarsening else {}),
        **({"maps": maps.digest} if maps else {}),
        **({"same_classes": classes.digest} if classes else {}),
    }
    choose = partial(
        choose_subset,
        images,
        settings,
        tree=tree,
        coarsening=coarsening,
        same_classes=classes,
        inputs=digests,
    )
    if maps is None:
        return choose()
    with progress_bar(console(stderr=quiet), "Read the label maps") as advance:
        return choose(maps=maps, on_progress=advance)


def _write(subset: Subset, output: Path, *, links: bool) -> None:
    from labelkit.files import replace_file
    from labelkit.hierarchy import ClassList
    from labelkit.subsets import write_links

    if links and subset.manifest is not None:
        write_links(subset.manifest, output)
    elif output.suffix.lower() == ".json" and subset.manifest is not None:
        subset.manifest.save(output)
    else:
        classes = ClassList.of(subset.counts)
        replace_file(output, "".join(f"{each}\n" for each in classes).encode())


def _print_json(output: Path, subset: Subset) -> None:
    from labelkit.cli.output import print_json

    manifest = subset.manifest
    print_json(
        {
            "file": str(output),
            "digest": manifest.digest if manifest else None,
            "settings": dict(manifest.settings) if manifest else None,
            "classes": len(subset.counts),
            "images": sum(subset.counts.values()),
            "labels": sum(map(len, manifest.labels)) if manifest else None,
            "counts": dict(subset.counts),
            "dropped": {reason: list(ids) for reason, ids in subset.dropped.items()},
        }
    )


def _print(output: Path, subset: Subset, *, for_training: bool) -> None:
    from labelkit.cli.output import console, facts, print_heading, print_lines, print_table
    from labelkit.wording import counted, summary

    sizes = sorted(subset.counts.values())
    rows = [
        ("classes", f"{len(sizes):,}"),
        ("images", f"{sum(sizes):,} ({_span(sizes)} per class)"),
    ]
    if subset.manifest is not None:
        rows.append(("digest", subset.manifest.digest[:12]))
        if subset.manifest.has_several_labels:
            labels = sum(map(len, subset.manifest.labels))
            rows.append(("labels", f"{labels:,}, {labels / sum(sizes):.1f} per image"))
    for reason, ids in subset.dropped.items():
        classes = counted(len(ids), "class", "classes")
        rows.append(("left out", f"{classes} {reason}: {summary(ids, _SHOWN)}"))
    screen = console()
    print_heading(screen, "Subset", output)
    print_table(screen, facts(rows))
    print_lines(screen, _next(output, for_training=for_training))


def _span(sizes: list[int]) -> str:
    return f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"


def _next(output: Path, *, for_training: bool) -> Iterator[str]:
    from labelkit.wording import printable

    name = shlex.quote(printable(str(output)))
    if output.suffix.lower() == ".txt":
        yield f"Next: labelkit build-tree {name} -o tree.json"
        return
    if not for_training:
        yield f"Next: labelkit train RECIPE --set data.val={name}"
        return
    yield f"Next: labelkit relabel {name} -o maps.h5"
    yield f"      labelkit subset VALIDATION --same-classes {name} -o val.json"
    yield f"      labelkit train RECIPE --set data.train={name} --set data.val=val.json"

"""``labelkit cluster``: labels without annotation, by k-means over a model's features."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.options import (
    FILE,
    SOURCE,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    require_writable,
    worker_count,
    workers_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.clusters import (
        Clustering,
        FeatureFile,
        LevelAgreement,
        NamedShares,
        SecondNearest,
    )
    from labelkit.sources import ImageSource

EPILOG = """\b
Examples:
  labelkit cluster DATA --clusters 100 -o clusters.json
  labelkit cluster DATA --model vit_small_patch14_dinov2 --tree tree.json -o clusters.json
  labelkit cluster DATA --model runs/photos --features features -o clusters.json
"""
_SHOWN = 10


@click.command("cluster", epilog=EPILOG)
@click.argument("data", type=SOURCE)
@click.option(
    "--model",
    metavar="NAME",
    default="efficientnet-lite0",
    show_default=True,
    help="A card's name or path, a timm model, or the folder of a labelkit train run.",
)
@click.option(
    "--clusters",
    metavar="K",
    type=click.IntRange(1),
    help="[default: as many as DATA has classes]",
)
@click.option("--tree", type=FILE, help="Also compare with coarser classes: a tree of DATA's.")
@click.option(
    "--features",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where features are kept, and found again. [default: OUTPUT.features]",
)
@click.option("--float32", is_flag=True, help="Store features in 32 bits, not in 16.")
@click.option(
    "--no-normalise", is_flag=True, help="Compare features as they are, not scaled to length 1."
)
@click.option(
    "--restarts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Starts of k-means; the best one counts.",
)
@click.option(
    "--passes",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How often a start goes through all images.",
)
@click.option(
    "--engine",
    type=click.Choice(["scikit-learn", "faiss"]),
    default="scikit-learn",
    show_default=True,
    help="What computes k-means.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the random starts.",
)
@click.option(
    "--batch-size",
    type=click.Choice([str(2**power) for power in range(11)]),
    default="32",
    show_default=True,
    help="Images per forward pass.",
)
@workers_option
@device_option
@click.option(
    "--val", type=SOURCE, help="Validation images, to be labelled with the clusters of DATA."
)
@click.option(
    "--val-output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Manifest of the images of --val (.json).",
)
@output_option("Manifest with the clusters as labels to write (.json).")
@overwrite_option
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    data: Path,
    *,
    model: str,
    tree: Path | None,
    features: Path | None,
    val: Path | None,
    val_output: Path | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 -- of the features and of k-means
) -> None:
    """Cluster the images of DATA by a model's pooled features.

    The output is a manifest of images whose classes are the clusters, the largest first: pass it to
    labelkit train as data.train, and that of --val as data.val. After an interruption, the same
    command goes on where it was.
    The features are kept, so that another number of clusters takes no second pass over the images.

    If DATA has class folders, the clusters are compared with these, though k-means never sees them:
    accuracy by the best assignment of clusters to classes, NMI and ARI. With --tree, also with each
    coarser level, and the summary says how often an image's second nearest cluster names a coarser
    class than its own.
    """
    require_writable(output, overwrite=overwrite, suffixes=(".json",))
    if (val is None) != (val_output is None):
        raise click.UsageError("pass both of --val and --val-output, or none")
    if val_output is not None:
        require_writable(val_output, overwrite=overwrite, suffixes=(".json",))
    from labelkit.cli.output import console, print_lines
    from labelkit.clusters import KMeansSettings, cluster_images, label_images
    from labelkit.hierarchy import SemanticTree
    from labelkit.sources import open_source

    screen = console(stderr=as_json)
    loaded = SemanticTree.load(tree) if tree else None
    source = open_source(data)
    settings = KMeansSettings(
        clusters=_clusters(source, options["clusters"]),
        normalise=not options["no_normalise"],
        restarts=options["restarts"],
        passes=options["passes"],
        engine=options["engine"],
        seed=options["seed"],
    )
    folder = features or _folder_of(output)
    file = _features(screen, source, model, folder, options)
    from labelkit.cli.progress import progress_bar

    with progress_bar(screen, "Cluster", "passes") as advance:
        found = cluster_images(source, file, settings, advance)
    found.manifest.save(output)
    if val is not None and val_output is not None:
        others = open_source(val)
        label_images(
            others, _features(screen, others, model, _folder_of(val_output), options), found
        ).save(val_output)
    levels, second = _figures(source, found, loaded)
    if as_json:
        _print_json(output, found, file, levels, second)
    else:
        _print(output, found, file, levels, second)
        print_lines(screen, _next(output, val_output))


def _folder_of(output: Path) -> Path:
    """Where the features of a manifest's images are kept."""
    return output.with_name(f"{output.name}.features")


def _clusters(source: ImageSource, given: int | None) -> int:
    """The number of clusters: the one given, or that of the data set's classes."""
    if given is not None:
        return given
    if source.labels is None:
        raise click.UsageError("--clusters is needed: DATA has no class folders to count")
    return len(source.labels.classes)


def _features(
    screen: Any,  # noqa: ANN401 -- rich's console
    source: ImageSource,
    model: str,
    folder: Path,
    options: dict[str, Any],
) -> FeatureFile:
    from labelkit.cli.progress import progress_bar
    from labelkit.clusters import load_feature_model, make_features

    with screen.status("Loading the model"):
        loaded = load_feature_model(model, device=options["device"])
    with progress_bar(screen, "Make features") as advance:
        return make_features(
            source,
            loaded,
            folder,
            precision="float32" if options["float32"] else "float16",
            batch_size=int(options["batch_size"]),
            workers=worker_count(options["workers"], loaded.device),
            on_progress=advance,
        )


def _figures(
    source: ImageSource,
    found: Clustering,
    tree: Any,  # noqa: ANN401 -- a tree or None
) -> tuple[list[LevelAgreement], SecondNearest | None]:
    """Agreement with the data set's classes, and what second clusters name."""
    from labelkit.clusters import compare_with_classes, second_nearest, with_own_classes

    own = with_own_classes(source, found.manifest.keys)
    if own is None or not (own[1] >= 0).any():
        return [], None
    classes, labels = own
    levels = compare_with_classes(found.first, classes, labels, tree)
    if tree is None:
        return levels, None
    return levels, second_nearest(found.first, found.second, classes, labels, tree)


def _print_json(
    output: Path,
    found: Clustering,
    file: FeatureFile,
    levels: list[LevelAgreement],
    second: SecondNearest | None,
) -> None:
    from labelkit.cli.output import print_json

    print_json(
        {
            "file": str(output),
            "digest": found.manifest.digest,
            "settings": dict(found.manifest.settings),
            "images": len(found.manifest.keys),
            "unreadable": file.state.unreadable,
            "features": str(file.folder),
            "inertia": found.inertia,
            "sizes": list(found.sizes),
            "levels": [asdict(level) for level in levels],
            "second_nearest": second and asdict(second),
        }
    )


def _print(
    output: Path,
    found: Clustering,
    file: FeatureFile,
    levels: list[LevelAgreement],
    second: SecondNearest | None,
) -> None:
    from labelkit.cli.output import console, facts, print_heading, print_lines, print_table
    from labelkit.wording import printable

    sizes = [size for size in found.sizes if size]
    empty = len(found.sizes) - len(sizes)
    rows = [
        ("model", file.state.model),
        ("features", f"{file.state.size:,} per image, in {file.folder}"),
        ("images", f"{len(found.manifest.keys):,}"),
        ("clusters", f"{len(sizes):,} of {sizes[-1]:,} to {sizes[0]:,} images"),
        *([("empty", f"{empty:,} clusters, left out")] if empty else []),
        ("digest", found.manifest.digest[:12]),
    ]
    screen = console()
    print_heading(screen, "Clusters", output)
    print_table(screen, facts(rows))
    if levels:
        screen.print()
        print_table(screen, _table(levels))
    if second is not None:
        screen.print()
        print_lines(screen, [_second(second.second)])
    if file.state.unreadable:
        print_lines(screen, [f"Unreadable, left out: {len(file.state.unreadable):,}"])
        for key, reason in [*file.state.unreadable.items()][:_SHOWN]:
            print_lines(screen, [f"  {printable(key)}: {printable(reason)}"])


def _second(shares: NamedShares) -> str:
    """What the second nearest clusters name, in a sentence."""
    from labelkit.wording import percent

    return (
        f"The second nearest cluster names a coarser class for {percent(shares.coarser)} of the "
        f"images (by chance {percent(shares.coarser_by_chance)}), the image's own for "
        f"{percent(shares.own)}."
    )


def _table(levels: list[LevelAgreement]) -> Any:  # noqa: ANN401 -- rich's table
    from labelkit.cli.output import plain_table

    table = plain_table("compared with", numbers=("classes", "accuracy", "NMI", "ARI"))
    for level in levels:
        figures = level.agreement
        table.add_row(
            "the folders" if level.level == "own" else level.level,
            f"{level.classes:,}",
            f"{100 * figures.accuracy:.1f} %",
            f"{figures.nmi:.3f}",
            f"{figures.ari:.3f}",
        )
    return table


def _next(output: Path, val_output: Path | None) -> Iterator[str]:
    from labelkit.wording import printable

    name = shlex.quote(printable(str(output)))
    val = "" if val_output is None else f" --set data.val={shlex.quote(printable(str(val_output)))}"
    yield f"Next: labelkit train RECIPE --set data.train={name}{val}"

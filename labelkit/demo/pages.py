"""What the demo draws: a picture of every photo, and a page that shows the whole path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from labelkit.geometry import CropBox
from labelkit.inspection import (
    PICTURE_NOTE,
    Commands,
    CropComparisons,
    Curve,
    DataTable,
    Facts,
    Page,
    Paragraph,
    Pictures,
    Section,
    TreePaths,
    classes_per_cell,
    compare_crop,
    draw_label_map,
    label_map_card,
    output_names,
    write_page,
)
from labelkit.wording import file_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labelkit.data import LabelMapDataset
    from labelkit.hierarchy import SemanticTree
    from labelkit.label_maps import LabelMapFile

QUARTERS = (
    CropBox(0.0, 0.0, 0.5, 0.5),
    CropBox(0.5, 0.0, 1.0, 0.5),
    CropBox(0.0, 0.5, 0.5, 1.0),
    CropBox(0.5, 0.5, 1.0, 1.0),
)


def draw_pictures(photos: Path, maps: LabelMapFile, folder: Path) -> Iterator[Path]:
    """Draw one PNG of every label map into ``folder``; yields each path once it is written."""
    folder.mkdir(exist_ok=True)
    names = output_names(maps)
    for key in maps:
        path = folder / f"{key.replace('/', '-').rsplit('.', 1)[0]}.png"
        with Image.open(photos / key) as photo:
            draw_label_map(photo, maps[key], names).save(path)
        yield path


def tree_paths(tree: SemanticTree, maps: LabelMapFile) -> tuple[tuple[str, ...], ...]:
    """The chains of the photos' strongest classes, as far as the tree has them."""
    strongest = {maps.classes[maps[key].classes_by_area()[0][0]] for key in maps}
    known = sorted(strongest & set(tree.classes))
    return tuple(
        tuple(tree.names[node].replace("_", " ") for node in tree.chain(class_id))
        for class_id in known
    )


def write_index(  # noqa: PLR0913 -- the page shows all results
    path: Path,
    *,
    tree: SemanticTree,
    maps: LabelMapFile,
    dataset: LabelMapDataset,
    divergences: Sequence[float],
    commands: Sequence[str],
) -> None:
    """Write the page that shows the tree, the label maps, the training and what to do next."""
    page = Page(
        title="labelkit demo",
        lead="Better labels for the same images: from a class list to a trained student.",
        sections=(
            _tree_section(tree, maps),
            _maps_section(maps, dataset),
            _crops_section(maps, dataset),
            _training_section(divergences),
            Section("What to try next", (Commands(tuple(commands)),)),
        ),
        footer="Photos: scikit-image and scikit-learn. Teacher: EfficientNet-Lite0 (Apache-2.0).",
    )
    write_page(path, page)


def _tree_section(tree: SemanticTree, maps: LabelMapFile) -> Section:
    counts = tuple((str(depth), f"{count:,}") for depth, count in enumerate(tree.counts))
    return Section(
        "A class list becomes a tree",
        (
            Paragraph(
                f"{len(tree.classes):,} classes of {tree.classes.name}, each below its nearest "
                "ancestor in the list. These are the chains of some classes in the photos:"
            ),
            TreePaths(tree_paths(tree, maps)),
            DataTable(("depth", "classes"), counts),
        ),
    )


def _maps_section(maps: LabelMapFile, dataset: LabelMapDataset) -> Section:
    names = output_names(maps)
    size, (form,) = maps.path.stat().st_size / len(maps), maps.forms
    cards = tuple(
        label_map_card(_photo(dataset, key), maps[key], names, caption=key) for key in maps
    )
    return Section(
        "Every photo gets a label map: what is where",
        (
            Facts(
                (
                    (f"{len(maps)}", "photos"),
                    (f"{form.grid[0]}x{form.grid[1]}", "cells"),
                    (f"{form.top_k}", classes_per_cell(form)),
                    (file_size(size), "per photo on disk"),
                )
            ),
            Paragraph(PICTURE_NOTE),
            Pictures(cards),
        ),
    )


def _crops_section(maps: LabelMapFile, dataset: LabelMapDataset) -> Section:
    names = output_names(maps)
    four = "composite/four.jpg"
    cards = [
        compare_crop(_photo(dataset, four), maps[four], box, names, caption=f"a quarter of {four}")
        for box in QUARTERS
    ]
    for key in ("composite/cat-coffee.jpg", "single/motorcycle.jpg"):
        photo = _photo(dataset, key)
        _, box = dataset.crop(dataset.keys.index(key))
        cards.append(compare_crop(photo, maps[key], box, names, caption=f"a random crop of {key}"))
    return Section(
        "Every random crop gets its pooled target",
        (
            Paragraph(
                "A crop often shows something other than the whole image. Its target is the label "
                "map, pooled over the part that the crop shows."
            ),
            CropComparisons(tuple(cards)),
        ),
    )


def _training_section(divergences: Sequence[float]) -> Section:
    return Section(
        "A student learns from these targets",
        (
            Paragraph(
                "A small network, trained from scratch on random crops. It never sees a label of "
                "the whole image, only the pooled target of each crop."
            ),
            Curve(tuple(divergences), "KL divergence of the student from the targets, in nats"),
        ),
    )


def _photo(dataset: LabelMapDataset, key: str) -> Image.Image:
    return dataset.dataset.loader(Path(dataset.dataset.root, key))

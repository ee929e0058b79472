"""Choose the classes and the images of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.manifests import ImageManifest
from labelkit.subsets.class_filters import filter_classes
from labelkit.subsets.difficulty import score_images
from labelkit.subsets.labelled_images import LabelledImages
from labelkit.subsets.map_labels import labels_of_maps
from labelkit.subsets.profile import images_per_class
from labelkit.subsets.seeded_order import seeded_order
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labelkit.hierarchy import ClassList, Coarsening, SemanticTree
    from labelkit.label_maps import LabelMapFile
    from labelkit.subsets.difficulty import ImageScores
    from labelkit.subsets.settings import SubsetSettings


@dataclass(frozen=True)
class Subset:
    """A benchmark.

    Attributes:
        counts: the images of each class, by their main label.
        dropped: the classes of the data set that are left out, by the reason.
        manifest: the images and their labels; None if only classes were chosen.
    """

    counts: Mapping[str, int]
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict[str, "list[str]"])
    manifest: ImageManifest | None = None


def choose_classes(
    counts: Mapping[str, int],
    settings: SubsetSettings,
    tree: SemanticTree | None = None,
) -> Subset:
    """Choose classes by their numbers of images, without the images.

    Args:
        counts: the images of each class.
        settings: what to choose; nothing that depends on the images.
        tree: for filters by depth, node or leaves.

    Raises:
        ValueError: a setting depends on the images or on a tree that is not given.
        ClassListMismatch: a class is not in the tree.
        DatasetError: no class is left, or classes have too few images.
    """
    if settings.needs_scores or settings.several > 1:
        raise ValueError("easy, hard and several need the images, not just their numbers")
    kept, dropped = filter_classes(counts, settings, tree)
    inside = {class_id: counts[class_id] for class_id in kept}
    chosen = _some_classes(inside, settings, {}, dropped)
    return Subset(_numbers({each: inside[each] for each in chosen}, settings), dropped)


def choose_subset(  # noqa: PLR0913 -- what a benchmark depends on
    images: LabelledImages,
    settings: SubsetSettings,
    *,
    tree: SemanticTree | None = None,
    coarsening: Coarsening | None = None,
    maps: LabelMapFile | None = None,
    same_classes: ClassList | None = None,
    inputs: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Subset:
    """Choose classes and images, and label them.

    Filters of classes apply to the images' own classes. A coarsening then replaces these by coarse
    ones, among which classes are chosen. With several labels an image, classes and images are
    chosen by the images' own classes; the other labels may be any that passed the filters.

    Args:
        images: the images by class.
        settings: what to choose.
        tree: for filters by depth, node or leaves.
        coarsening: of the images' classes, for coarse labels.
        maps: of the images, to choose easy or hard ones, or those with several labels.
        same_classes: keep these classes, after the coarsening, such as those of the training images
            for validation.
        inputs: what was read, for the manifest's settings.
        on_progress: called with (done, total) while maps are read.

    Raises:
        ValueError: a setting needs a tree or maps, and there are none.
        ClassListMismatch: a class is not in the tree, the coarsening or the maps' class list.
        LabelMapError: a row of the maps is damaged.
        DatasetError: no class or image is left, classes have too few images, or one of
            ``same_classes`` has none.
    """
    kept, dropped = filter_classes(images.counts, settings, tree)
    images = LabelledImages(images.root, {each: images.keys[each] for each in kept})
    scores, labels = _from_maps(images, settings, maps, on_progress)
    if coarsening is not None:
        images, labels = _coarse(images, coarsening, labels, dropped)
    if same_classes is not None:
        images = _only(images, same_classes, dropped)
    if labels is not None:
        labels = _among(images, labels)
        images = _with_several(images, labels, settings)
    accuracy: dict[str, float] = {}
    if scores is not None:
        accuracy = {each: scores.accuracy(keys) for each, keys in images.keys.items()}
    chosen = _some_classes(images.counts, settings, accuracy, dropped)
    images = LabelledImages(images.root, {each: images.keys[each] for each in chosen})
    numbers = _numbers(images.counts, settings)
    keys = {
        each: _image_order(images.keys[each], settings, scores)[: numbers[each]] for each in numbers
    }
    record = {**(inputs or {}), **settings.as_record()}
    return Subset(numbers, dropped, _manifest(replace(images, keys=keys), labels, record))


def _from_maps(
    images: LabelledImages,
    settings: SubsetSettings,
    maps: LabelMapFile | None,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[ImageScores | None, Mapping[str, Sequence[str]] | None]:
    """The scores and the labels that the settings need.

    Raises:
        ValueError: there are no maps to get them from.
    """
    several = settings.several > 1
    if maps is None:
        if settings.needs_scores or several:
            raise ValueError("easy, hard and several need label maps of the images")
        return None, None
    scores = score_images(maps, images, on_progress) if settings.needs_scores else None
    labels = labels_of_maps(maps, images, settings.area, on_progress) if several else None
    return scores, labels


def _numbers(counts: Mapping[str, int], settings: SubsetSettings) -> dict[str, int]:
    return images_per_class(counts, settings.per_class, settings.imbalance, settings.seed)


def _coarse(
    images: LabelledImages,
    coarsening: Coarsening,
    labels: Mapping[str, Sequence[str]] | None,
    dropped: dict[str, list[str]],
) -> tuple[LabelledImages, Mapping[str, Sequence[str]] | None]:
    """Images by coarse class, and their labels as coarse ones."""
    unknown = [each for each in images.keys if each not in coarsening.tree.classes.index]
    if unknown:
        raise ClassListMismatch(
            f"classes that the coarsening's tree of {coarsening.tree.classes} lacks: "
            f"{summary(unknown)}. Make it from a tree of the folder: labelkit build-tree, then "
            "labelkit coarsen"
        )
    onto = {each: coarsening.classes[at] for each, at in coarsening.by_id.items()}
    without = [each for each in images.keys if each not in onto]
    if without:
        dropped["in no coarse class"] = without
    grouped: dict[str, list[str]] = {each: [] for each in coarsening.classes}
    for each, keys in images.keys.items():
        if each in onto:
            grouped[onto[each]] += keys
    coarse = LabelledImages(
        images.root, {each: tuple(sorted(keys)) for each, keys in grouped.items() if keys}
    )
    if labels is None:
        return coarse, None
    moved = {
        key: tuple(dict.fromkeys(onto[each] for each in labels[key] if each in onto))
        for keys in coarse.keys.values()
        for key in keys
    }
    return coarse, moved


def _only(
    images: LabelledImages, classes: ClassList, dropped: dict[str, list[str]]
) -> LabelledImages:
    """The images of these classes.

    Raises:
        DatasetError: one of them has no images.
    """
    if missing := [each for each in classes if each not in images.keys]:
        raise DatasetError(
            f"{len(missing):,} classes of {classes} have no images here, or were filtered out: "
            f"{summary(missing)}"
        )
    if others := [each for each in images.keys if each not in classes.index]:
        dropped[f"not in {classes.name}"] = others
    kept = {each: keys for each, keys in images.keys.items() if each in classes.index}
    return LabelledImages(images.root, kept)


def _among(
    images: LabelledImages, labels: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """The labels of each image that are classes of these images."""
    return {
        key: tuple(each for each in labels[key] if each in images.keys)
        for keys in images.keys.values()
        for key in keys
    }


def _with_several(
    images: LabelledImages, labels: Mapping[str, Sequence[str]], settings: SubsetSettings
) -> LabelledImages:
    """The images that have enough labels.

    Raises:
        DatasetError: there are none.
    """
    kept = {
        each: tuple(key for key in keys if len(labels[key]) >= settings.several)
        for each, keys in images.keys.items()
    }
    kept = {each: keys for each, keys in kept.items() if keys}
    if not kept:
        raise DatasetError(
            f"no image holds {settings.several} of the classes in at least {settings.area:g} of "
            "its map's cells each: lower --area, or --several"
        )
    return LabelledImages(images.root, kept)


def _some_classes(
    counts: Mapping[str, int],
    settings: SubsetSettings,
    accuracy: Mapping[str, float],
    dropped: dict[str, list[str]],
) -> list[str]:
    """The chosen classes, in the order of ``counts``.

    Raises:
        DatasetError: there are fewer classes than wanted.
    """
    fewest = settings.per_class if isinstance(settings.per_class, int) else 1
    fewest = max(1, int(fewest / (settings.imbalance or 1)))
    enough = [each for each in counts if counts[each] >= fewest]
    if len(enough) < len(counts):
        dropped[f"fewer than {fewest:,} images to choose from"] = [
            each for each in counts if counts[each] < fewest
        ]
    if not enough:
        raise DatasetError(
            f"no class has {fewest:,} images: the largest has {max(counts.values()):,}"
        )
    wanted = len(enough) if settings.classes is None else settings.classes
    if wanted > len(enough):
        raise DatasetError(
            f"{wanted:,} classes are wanted, but only {len(enough):,} are left with at least "
            f"{fewest:,} images. Choose fewer classes, or weaker filters"
        )
    if wanted == len(enough):
        return enough
    order = seeded_order(enough, settings.seed)
    match settings.class_order:
        case "largest":
            order.sort(key=lambda each: -counts[each])
        case "easy":
            order.sort(key=lambda each: -accuracy[each])
        case "hard":
            order.sort(key=lambda each: accuracy[each])
        case "random":
            pass
    chosen = set(order[:wanted])
    out = [each for each in enough if each not in chosen]
    dropped[f"not among the {wanted:,} chosen ({settings.class_order})"] = out
    return [each for each in enough if each in chosen]


def _image_order(
    keys: Sequence[str], settings: SubsetSettings, scores: ImageScores | None
) -> list[str]:
    """The images of a class, those to choose first."""
    order = seeded_order(keys, settings.seed)
    if settings.image_order != "random" and scores is not None:
        sign = -1 if settings.image_order == "easy" else 1
        order.sort(key=lambda key: sign * scores.probability[key])
    return order


def _manifest(
    images: LabelledImages, labels: Mapping[str, Sequence[str]] | None, record: Mapping[str, Any]
) -> ImageManifest:
    """The chosen images with their labels."""
    own = {key: (each,) for each, keys in images.keys.items() for key in keys}
    named = own if labels is None else {key: labels[key] for key in own}
    classes = dict.fromkeys(images.keys) | dict.fromkeys(sorted({*chain(*named.values())}))
    place = {each: number for number, each in enumerate(sorted(classes))}
    keys = tuple(sorted(own))
    numbers = tuple(tuple(place[each] for each in named[key]) for key in keys)
    return ImageManifest(images.root, tuple(place), keys, numbers, record)

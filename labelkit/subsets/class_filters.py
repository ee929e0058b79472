"""Which classes of a data set: by their place in a tree, and by their number of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy import SemanticTree
    from labelkit.subsets.settings import SubsetSettings


def filter_classes(
    counts: Mapping[str, int], settings: SubsetSettings, tree: SemanticTree | None = None
) -> tuple[list[str], dict[str, list[str]]]:
    """The classes that pass all filters, and those that do not, by the filter that stopped them.

    Args:
        counts: the images of each class.
        settings: the filters.
        tree: with all classes; needed for filters by depth, node or leaves.

    Raises:
        ValueError: a filter needs a tree, and there is none.
        ClassListMismatch: a class, or a node to stay below, is not in the tree.
        DatasetError: no class passes.
    """
    kept = list(counts)
    dropped: dict[str, list[str]] = {}
    for name, passing in _tree_filters(kept, settings, tree).items():
        kept = _apply(name, kept, passing, dropped)
    enough = {class_id for class_id in kept if counts[class_id] >= settings.min_images}
    kept = _apply(f"fewer than {settings.min_images:,} images", kept, enough, dropped)
    if settings.percentiles is not None:
        low, high = np.percentile([counts[each] for each in kept], settings.percentiles).tolist()
        inside = {class_id for class_id in kept if low <= counts[class_id] <= high}
        kept = _apply(f"not between {low:,.0f} and {high:,.0f} images", kept, inside, dropped)
    return kept, dropped


def _apply(
    name: str, kept: list[str], passing: set[str], dropped: dict[str, list[str]]
) -> list[str]:
    """The classes that pass; the others are recorded under the filter's name.

    Raises:
        DatasetError: none passes.
    """
    out = [class_id for class_id in kept if class_id not in passing]
    if len(out) == len(kept):
        raise DatasetError(
            f"no class is left: all {len(kept):,} are {name}. Choose a weaker filter"
        )
    if out:
        dropped[name] = out
    return [class_id for class_id in kept if class_id in passing]


def _tree_filters(
    classes: list[str], settings: SubsetSettings, tree: SemanticTree | None
) -> dict[str, set[str]]:
    """The classes that pass each filter by tree."""
    if not settings.needs_tree:
        return {}
    if tree is None:
        raise ValueError("depth, below and leaves need a tree")
    _require_nodes(tree, classes, "the data set has classes")
    place = {class_id: tree.classes.index[class_id] for class_id in classes}
    filters: dict[str, set[str]] = {}
    if settings.depth is not None:
        low, high = settings.depth
        passing = {each for each, at in place.items() if low <= tree.depth[at] <= high}
        name = f"at depth {low}" if low == high else f"at depth {low} to {high}"
        if not passing:
            depths = [int(tree.depth[at]) for at in place.values()]
            raise DatasetError(
                f"no class is {name}: the classes are at {min(depths)} to "
                f"{max(depths)}, counted from 0 at a root"
            )
        filters[f"not {name}"] = passing
    if settings.below:
        _require_nodes(tree, settings.below, "below (--below) names nodes")
        tops = {tree.classes.index[each] for each in settings.below}
        passing = {each for each in classes if tops.intersection(tree.chain(each).tolist())}
        filters[f"not below {summary(settings.below)}"] = passing
    if settings.leaves:
        above = {int(above) for at in place.values() for above in tree.chain(int(at))[:-1]}
        filters["above other classes"] = {each for each, at in place.items() if at not in above}
    return filters


def _require_nodes(tree: SemanticTree, ids: list[str] | tuple[str, ...], what: str) -> None:
    unknown = [each for each in ids if each not in tree.classes.index]
    if unknown:
        raise ClassListMismatch(
            f"{what} that the tree of {tree.classes} lacks: {summary(unknown)}. Build the tree "
            "from the folder: labelkit build-tree FOLDER -o tree.json (--inner-levels all adds "
            "the nodes above the classes)"
        )

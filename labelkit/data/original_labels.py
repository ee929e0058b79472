"""A data set's own labels as classes of a label-map file, matched by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelkit.errors import ClassListMismatch, DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMapFile


def original_labels(maps: LabelMapFile, names: Sequence[str] | None) -> NDArray[np.int64]:
    """The file's class of each of a data set's class indices.

    Args:
        maps: the file.
        names: the id of each class index.

    Raises:
        ValueError: the ids are not known; a list is never guessed from its length.
        ClassListMismatch: an id is no class of the file.
    """
    if names is None:
        raise ValueError(
            "the data set's own labels are part of the target, and it does not say what its class "
            "indices stand for: give their ids in order, classes=[...]"
        )
    places = maps.classes.index
    unknown = [name for name in names if name not in places]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise ClassListMismatch(
            f"{maps.path} is over {maps.classes}, which lacks the data set's own labels "
            f"{', '.join(unknown[:3])}{more}. Make maps over the data set's own classes: labelkit "
            f"relabel DATA --classes DATA -o MAPS. {ids_for_names(maps.classes)}"
        )
    return np.array([places[name] for name in names], np.int64)


def ids_for_names(classes: ClassList) -> str:
    """The way out where class folders have plain names, and ``classes`` are ids: one sentence."""
    return (
        f"Classes are ids such as {classes[0]} there: if the folders have plain names, say which "
        "noun each one is, labelkit match-names DATA -o names.tsv, and relabel with --classes DATA "
        "--names names.tsv (docs/loops.md)"
    )


def own_class(places: NDArray[np.int64], label: Any, key: str) -> int:  # noqa: ANN401
    """The file's class of one image's own label.

    Args:
        places: from ``original_labels``.
        label: the data set's class index, -1 or None for none.
        key: the image's, for the message.

    Raises:
        DatasetError: there is no label, or it is none of the data set's classes.
    """
    try:
        index = -1 if label is None else int(label)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DatasetError(
            f"{key!r} comes with the label {str(label)!r:.80}, expected a class index"
        ) from error
    if index == -1:
        raise DatasetError(
            f"{key!r} comes without a class index, which its target needs: give it one, or a label "
            "map and options that do without its own label"
        )
    if not 0 <= index < len(places):
        raise DatasetError(
            f"{key!r} comes with the class index {index}, and the data set has {len(places)} "
            "classes: name them all in order, classes=[...]"
        )
    return int(places[index])

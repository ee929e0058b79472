"""A data set's own labels as classes of a label-map file, matched by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import ClassListMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
            "relabel DATA --classes DATA -o MAPS"
        )
    return np.array([places[name] for name in names], np.int64)

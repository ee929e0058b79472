"""A data set's original labels as classes of a label-map file, matched by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.hierarchy import hint_for_plain_names
from labelkit.image_folders import is_hidden
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.label_maps import LabelMapFile


class OriginalLabels:
    """The file's class for each of a data set's class indices.

    Args:
        maps: the file.
        names: the id of each class index.
        own: the data set's names of its class indices, if it has any: there must be as many.

    Attributes:
        classes: the file's class (N,), int64, of each of the N class indices; -1 for a hidden
            folder, which is no class.

    Raises:
        ValueError: the ids are not known, as a class list is never guessed from its length; or
            there are not as many as classes of the data set.
        ClassListMismatch: an id is not a class of the file.
    """

    def __init__(
        self, maps: LabelMapFile, names: Sequence[str] | None, own: Sequence[str] | None = None
    ) -> None:
        if names is None:
            raise ValueError(
                "the targets contain the original labels, but the data set does not say which "
                "classes its indices mean: pass their ids in order, classes=[...]"
            )
        if own is not None and len(names) != len(own):
            raise ValueError(
                f"classes has {len(names)} ids, but the data set has {len(own)} classes: pass the "
                "id of each in order. With a coarsening, repeat the coarse class of each folder: "
                "label = coarse.for_folders(FOLDER), "
                "classes=[coarse.classes[label(at)] for at in range(len(dataset.classes))]"
            )
        places = maps.classes.index
        unknown = [name for name in names if name not in places and not is_hidden(name)]
        if unknown:
            raise ClassListMismatch(
                f"the classes of {maps.path}, {maps.classes}, do not include the original labels "
                f"{summary(unknown)}. Make maps over the data set's own classes: "
                "labelkit relabel DATA --classes DATA -o MAPS; for maps over the classes of a "
                "coarsening, pass the coarse class of each folder as classes=[...]; or choose "
                "options that need no original labels. "
                f"{hint_for_plain_names(maps.classes)}"
            )
        self.classes = np.array([places.get(name, -1) for name in names], np.int64)

    def class_of(self, label: Any, key: str) -> int:  # noqa: ANN401 -- the data set's
        """The file's class of one image's original label.

        Args:
            label: the data set's class index; -1 or None for none.
            key: the image's, for the message.

        Raises:
            DatasetError: there is no label, or it is not one of the data set's classes.
        """
        try:
            index = -1 if label is None else int(label)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DatasetError(
                f"{key!r} has the label {str(label)!r:.80}, expected a class index"
            ) from error
        if index == -1:
            raise DatasetError(
                f"{key!r} has no class index, which its target needs: give it one, or a label map "
                "and options that do not use its original label"
            )
        if not 0 <= index < len(self.classes):
            raise DatasetError(
                f"{key!r} has the class index {index}, but the data set has {len(self.classes)} "
                "classes: name all of them in order, classes=[...]"
            )
        if self.classes[index] == -1:
            raise DatasetError(
                f"{key!r} is in a hidden folder, which is no class: use "
                "labelkit.data.ClassFolders, which skips names that start with a dot, or delete "
                "the folder"
            )
        return int(self.classes[index])

"""Several labels an image: the classes that its label map holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.subsets.difficulty import require_classes, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from labelkit.label_maps import LabelMapFile
    from labelkit.subsets.labelled_images import LabelledImages


def labels_of_maps(
    file: LabelMapFile,
    images: LabelledImages,
    area: float = 0.1,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[str, ...]]:
    """The classes of each image: its own first, then those that its map holds, the largest first.

    A map holds a class that is the most probable in at least a share of its cells. Of several maps
    of an image, the one of the smallest zoom counts.

    Args:
        file: maps of the images.
        images: the images by class.
        area: the least share of the cells.
        on_progress: called with (done, total).

    Returns:
        Key -> class ids.

    Raises:
        ClassListMismatch: a class is not in the file's list.
        DatasetError: an image has no map.
        LabelMapError: a row is damaged.
    """
    require_classes(file, images)
    owners = [(key, owner) for owner, keys in images.keys.items() for key in keys]
    rows = rows_of(file, [key for key, _ in owners])
    zooms = [form.zoom for form in file.forms]
    whole = zooms.index(min(zooms))
    found: dict[str, tuple[str, ...]] = {}
    for done, ((key, owner), row) in enumerate(zip(owners, rows, strict=True), start=1):
        shares = file.maps_at(row)[whole].classes_by_area()
        held = [
            file.classes[label]
            for label, share in shares
            if share >= area and label < len(file.classes)  # the number after them is *other*
        ]
        found[key] = (owner, *(each for each in held if each != owner))
        if on_progress:
            on_progress(done, len(owners))
    return found

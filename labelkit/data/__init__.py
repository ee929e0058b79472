"""Images, crops that know where they lie, and the data set that joins them with label maps.

Listing and opening images needs no torch; it is loaded with the first crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.data.images import EXTENSIONS, list_images, open_image, read_image
from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.data.crop_tracking import CropTracker, track_crop
    from labelkit.data.label_map_dataset import LabelMapDataset

__all__ = [
    "EXTENSIONS",
    "CropTracker",
    "LabelMapDataset",
    "list_images",
    "open_image",
    "read_image",
    "track_crop",
]

__getattr__ = lazy_names(
    __name__,
    {
        "CropTracker": "crop_tracking",
        "LabelMapDataset": "label_map_dataset",
        "track_crop": "crop_tracking",
    },
)

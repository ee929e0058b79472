"""Images, crops that know where they lie, and the data set that joins them with label maps.

Listing and opening images needs no torch; it is loaded with the first crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.data.images import EXTENSIONS, list_images, open_image, read_image
from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.data.collate import collate_sparse
    from labelkit.data.crop_tracking import CropTracker, follow_crop, track_crop
    from labelkit.data.label_map_dataset import LabelMapDataset
    from labelkit.data.label_map_iterable import LabelMapIterable
    from labelkit.data.mixing import mix, require_soft_mixing
    from labelkit.data.target_options import TargetOptions

__all__ = [
    "EXTENSIONS",
    "CropTracker",
    "LabelMapDataset",
    "LabelMapIterable",
    "TargetOptions",
    "collate_sparse",
    "follow_crop",
    "list_images",
    "mix",
    "open_image",
    "read_image",
    "require_soft_mixing",
    "track_crop",
]

__getattr__ = lazy_names(
    __name__,
    {
        "CropTracker": "crop_tracking",
        "LabelMapDataset": "label_map_dataset",
        "LabelMapIterable": "label_map_iterable",
        "TargetOptions": "target_options",
        "collate_sparse": "collate",
        "follow_crop": "crop_tracking",
        "mix": "mixing",
        "require_soft_mixing": "mixing",
        "track_crop": "crop_tracking",
    },
)

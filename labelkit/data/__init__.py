"""Images, crops that know where they lie, and the data set that joins them with label maps."""

from labelkit.data.crop_tracking import CropTracker
from labelkit.data.images import EXTENSIONS, list_images, read_image
from labelkit.data.label_map_dataset import LabelMapDataset, track_crop

__all__ = [
    "EXTENSIONS",
    "CropTracker",
    "LabelMapDataset",
    "list_images",
    "read_image",
    "track_crop",
]

from .collate import collate_sparse as collate_sparse
from .crops import (
    CropTracker as CropTracker,
    follow_crop as follow_crop,
    track_crop as track_crop,
)
from .images import (
    EXTENSIONS as EXTENSIONS,
    list_images as list_images,
    open_image as open_image,
    read_image as read_image,
)
from .label_map_dataset import LabelMapDataset as LabelMapDataset
from .label_map_iterable import LabelMapIterable as LabelMapIterable
from .mixing import mix as mix, require_soft_mixing as require_soft_mixing
from .original_labels import ids_for_names as ids_for_names
from .target_options import TargetOptions as TargetOptions

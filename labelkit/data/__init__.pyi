from .class_folders import ClassFolders as ClassFolders
from .crops import (
    CropTracker as CropTracker,
    follow_crop as follow_crop,
    track_crop as track_crop,
)
from .dataset import LabelMapDataset as LabelMapDataset, collate_sparse as collate_sparse
from .images import (
    EXTENSIONS as EXTENSIONS,
    list_images as list_images,
    open_image as open_image,
    read_image as read_image,
    require_regular as require_regular,
)
from .mixing import mix as mix, require_soft_mixing as require_soft_mixing
from .packing import PackedBatch as PackedBatch
from .rows import RowFinder as RowFinder
from .stream import LabelMapIterable as LabelMapIterable
from .target_options import TargetOptions as TargetOptions
from .targets import CropTargets as CropTargets

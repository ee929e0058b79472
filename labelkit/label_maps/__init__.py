"""Label maps: the file, its one reader and one writer, and pooling over a crop. Loads no torch."""

from labelkit.label_maps.label_map import Background, LabelMap, SparseTarget
from labelkit.label_maps.pooling import pool
from labelkit.label_maps.reader import LabelMapFile
from labelkit.label_maps.writer import LabelMapWriter, Shard

__all__ = [
    "Background",
    "LabelMap",
    "LabelMapFile",
    "LabelMapWriter",
    "Shard",
    "SparseTarget",
    "pool",
]

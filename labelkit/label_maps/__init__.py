"""Label maps: the file, its one reader and one writer, and pooling over a crop. Loads no torch."""

from labelkit.label_maps.form import MapForm
from labelkit.label_maps.joining import merge
from labelkit.label_maps.label_map import Background, LabelMap, LabelMaps
from labelkit.label_maps.packing import write_raw
from labelkit.label_maps.pooling import pool, pool_by_zoom
from labelkit.label_maps.reader import LabelMapFile
from labelkit.label_maps.writer import LabelMapWriter, Shard
from labelkit.targets import SparseTarget

__all__ = [
    "Background",
    "LabelMap",
    "LabelMapFile",
    "LabelMapWriter",
    "LabelMaps",
    "MapForm",
    "Shard",
    "SparseTarget",
    "merge",
    "pool",
    "pool_by_zoom",
    "write_raw",
]

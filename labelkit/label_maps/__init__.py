"""Label maps: the file, its one reader and one writer, and pooling over a crop.

Loads torch only for the names that need it: ``MapBatch`` and ``pool_batch``.
"""

from typing import TYPE_CHECKING

from labelkit.label_maps.form import MapForm
from labelkit.label_maps.joining import merge
from labelkit.label_maps.label_map import Background, LabelMap, LabelMaps
from labelkit.label_maps.packing import write_raw
from labelkit.label_maps.pooling import pool, pool_by_zoom
from labelkit.label_maps.pooling_tokens import pool_tokens
from labelkit.label_maps.reader import LabelMapFile
from labelkit.label_maps.writer import LabelMapWriter, Shard
from labelkit.lazy import lazy_names
from labelkit.targets import SparseTarget, SparseTargets, TokenTarget

if TYPE_CHECKING:
    from labelkit.label_maps.pooling_batch import MapBatch, pool_batch

__all__ = [
    "Background",
    "LabelMap",
    "LabelMapFile",
    "LabelMapWriter",
    "LabelMaps",
    "MapBatch",
    "MapForm",
    "Shard",
    "SparseTarget",
    "SparseTargets",
    "TokenTarget",
    "merge",
    "pool",
    "pool_batch",
    "pool_by_zoom",
    "pool_tokens",
    "write_raw",
]

__getattr__ = lazy_names(
    __name__,
    {"MapBatch": "pooling_batch", "pool_batch": "pooling_batch"},
)

"""Label maps: the file, its one reader and one writer, and pooling over a crop.

Loads torch only for the names that need it: batches of maps, and their pooling.
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
    from labelkit.label_maps.map_batch import MapBatch, ProbabilityBatch
    from labelkit.label_maps.pooling_batch import pool_batch, pool_batch_by_zoom

__all__ = [
    "Background",
    "LabelMap",
    "LabelMapFile",
    "LabelMapWriter",
    "LabelMaps",
    "MapBatch",
    "MapForm",
    "ProbabilityBatch",
    "Shard",
    "SparseTarget",
    "SparseTargets",
    "TokenTarget",
    "merge",
    "pool",
    "pool_batch",
    "pool_batch_by_zoom",
    "pool_by_zoom",
    "pool_tokens",
    "write_raw",
]

__getattr__ = lazy_names(
    __name__,
    {
        "MapBatch": "map_batch",
        "ProbabilityBatch": "map_batch",
        "pool_batch": "pooling_batch",
        "pool_batch_by_zoom": "pooling_batch",
    },
)

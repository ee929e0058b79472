from .form import MapForm as MapForm
from .form_checks import check_maps as check_maps
from .joining import merge as merge
from .label_map import Background as Background, LabelMap as LabelMap, LabelMaps as LabelMaps
from .map_batch import MapBatch as MapBatch, ProbabilityBatch as ProbabilityBatch
from .pooling import pool as pool, pool_by_zoom as pool_by_zoom
from .pooling_batch import pool_batch as pool_batch, pool_batch_by_zoom as pool_batch_by_zoom
from .pooling_tokens import pool_tokens as pool_tokens
from .reader import LabelMapFile as LabelMapFile
from .writer import LabelMapWriter as LabelMapWriter, Shard as Shard

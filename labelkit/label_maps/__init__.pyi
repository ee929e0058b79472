from .calibration import Calibration as Calibration, log_zoom as log_zoom
from .file.begun import BegunShard as BegunShard, Row as Row
from .file.claims import Claims as Claims, Owner as Owner
from .file.codec import RecordCodec as RecordCodec, check_maps as check_maps
from .file.layout import first_difference as first_difference
from .file.leftover import remove_leftover as remove_leftover
from .file.merge import merge as merge
from .file.plan import Shard as Shard
from .file.reader import DamagedRow as DamagedRow, LabelMapFile as LabelMapFile
from .file.rename import rename as rename
from .file.writer import LabelMapWriter as LabelMapWriter
from .label_map import (
    Background as Background,
    LabelMap as LabelMap,
    LabelMaps as LabelMaps,
    MapForm as MapForm,
)
from .pooling.batch import (
    MapBatch as MapBatch,
    ProbabilityBatch as ProbabilityBatch,
    pool_batch as pool_batch,
    pool_batch_by_zoom as pool_batch_by_zoom,
)
from .pooling.crop import (
    pool as pool,
    pool_by_zoom as pool_by_zoom,
    zooms_ascend as zooms_ascend,
)
from .pooling.tokens import pool_tokens as pool_tokens

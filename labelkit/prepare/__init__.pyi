from .manifest import (
    MANIFEST as MANIFEST,
    PrepareManifest as PrepareManifest,
    load_manifest as load_manifest,
)
from .opening import SourceKind as SourceKind
from .preparing import (
    PrepareResult as PrepareResult,
    plan_preparation as plan_preparation,
    prepare as prepare,
)
from .published import (
    PUBLISHED_COUNTS as PUBLISHED_COUNTS,
    CountDifference as CountDifference,
    PublishedCounts as PublishedCounts,
    Release as Release,
    compare_counts as compare_counts,
    recognized_release as recognized_release,
)
from .records import ClassRecord as ClassRecord, ShardRecord as ShardRecord
from .settings import PrepareSettings as PrepareSettings, ResizeMode as ResizeMode, Split as Split

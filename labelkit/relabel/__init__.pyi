from .agreement import (
    ClassAgreement as ClassAgreement,
    FolderAgreement as FolderAgreement,
    folder_agreement as folder_agreement,
)
from .committing import Receipt as Receipt
from .fidelity import (
    Configuration as Configuration,
    Fidelity as Fidelity,
    default_configurations as default_configurations,
    default_sizes as default_sizes,
    measure_fidelity as measure_fidelity,
)
from .local import RelabelResult as RelabelResult, open_writer as open_writer, relabel as relabel
from .maps import CalibrationSample as CalibrationSample, MapMaker as MapMaker, Settings as Settings
from .ray_engine import ActorWork as ActorWork, RayEngine as RayEngine
from .recommendation import Recommendation as Recommendation, recommend as recommend
from .recomputing import MapDifference as MapDifference, named_teachers as named_teachers
from .shards import ShardMaker as ShardMaker
from .sharing import Share as Share
from .stages import Stages as Stages
from .verification import Verification as Verification, verify as verify

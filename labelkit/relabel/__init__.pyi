from .agreement import (
    ClassAgreement as ClassAgreement,
    FolderAgreement as FolderAgreement,
    folder_agreement as folder_agreement,
)
from .committing import Receipt as Receipt
from .devices import DeviceJob as DeviceJob, Helpers as Helpers, helpers as helpers
from .enlarging import size_for_small_images as size_for_small_images
from .estimating import Estimate as Estimate, estimate as estimate
from .fidelity import (
    Configuration as Configuration,
    Fidelity as Fidelity,
    default_configurations as default_configurations,
    default_sizes as default_sizes,
    measure_fidelity as measure_fidelity,
)
from .local import open_writer as open_writer, relabel as relabel
from .maps import MapMaker as MapMaker
from .ray_engine import ActorWork as ActorWork, RayEngine as RayEngine
from .recommendation import Recommendation as Recommendation, recommend as recommend
from .recomputing import MapDifference as MapDifference, named_teachers as named_teachers
from .request import (
    asked_teacher as asked_teacher,
    finished_file as finished_file,
    request_digest as request_digest,
)
from .result import RelabelResult as RelabelResult
from .settings import CalibrationSample as CalibrationSample, Settings as Settings
from .shards import ShardMaker as ShardMaker
from .sharing import Share as Share
from .stages import Stages as Stages
from .trial import SomeImages as SomeImages
from .verification import Verification as Verification, verify as verify

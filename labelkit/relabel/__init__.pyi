from .agreement import (
    ClassAgreement as ClassAgreement,
    FolderAgreement as FolderAgreement,
    folder_agreement as folder_agreement,
)
from .fidelity import (
    Configuration as Configuration,
    Fidelity as Fidelity,
    default_configurations as default_configurations,
    default_sizes as default_sizes,
    measure_fidelity as measure_fidelity,
)
from .local import RelabelResult as RelabelResult, relabel as relabel
from .maps import CalibrationSample as CalibrationSample, Settings as Settings
from .recommendation import Recommendation as Recommendation, recommend as recommend
from .recomputing import MapDifference as MapDifference, named_teachers as named_teachers
from .verification import Verification as Verification, verify as verify

from .calibration import (
    CalibrationError as CalibrationError,
    calibration_error as calibration_error,
)
from .hierarchical import (
    HierarchicalDistance as HierarchicalDistance,
    mean_hierarchical_distance as mean_hierarchical_distance,
)
from .multi_label import (
    MultiLabelAccuracy as MultiLabelAccuracy,
    multi_label_accuracy as multi_label_accuracy,
    real_labels as real_labels,
)
from .partitions import (
    PartitionAgreement as PartitionAgreement,
    assign_clusters as assign_clusters,
    compare_partitions as compare_partitions,
)
from .semantic import SemanticAccuracy as SemanticAccuracy, semantic_accuracy as semantic_accuracy
from .top_k import TopKAccuracy as TopKAccuracy, top_k_accuracy as top_k_accuracy

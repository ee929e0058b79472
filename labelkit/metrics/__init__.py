"""Accuracies and distances; every one is a function for a batch and a class for many.

``compute()`` sums over the processes of a distributed run, so all of them must call it.
"""

from labelkit.metrics.calibration import CalibrationError, calibration_error
from labelkit.metrics.hierarchical import HierarchicalDistance, mean_hierarchical_distance
from labelkit.metrics.multi_label import MultiLabelAccuracy, multi_label_accuracy, real_labels
from labelkit.metrics.semantic import SemanticAccuracy, semantic_accuracy
from labelkit.metrics.top_k import TopKAccuracy, top_k_accuracy

__all__ = [
    "CalibrationError",
    "HierarchicalDistance",
    "MultiLabelAccuracy",
    "SemanticAccuracy",
    "TopKAccuracy",
    "calibration_error",
    "mean_hierarchical_distance",
    "multi_label_accuracy",
    "real_labels",
    "semantic_accuracy",
    "top_k_accuracy",
]

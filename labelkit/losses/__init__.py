"""Soft, sparse, semantic and hierarchical losses, and distillation."""

from labelkit.losses.distillation import DistillationLoss, TopKLogits
from labelkit.losses.hierarchical import HierarchicalCrossEntropy
from labelkit.losses.levels import TreeLevels
from labelkit.losses.semantic_distillation import SemanticDistillationLoss
from labelkit.losses.semantic_softmax import SemanticSoftmaxLoss
from labelkit.losses.soft_target import SoftTargetCrossEntropy

__all__ = [
    "DistillationLoss",
    "HierarchicalCrossEntropy",
    "SemanticDistillationLoss",
    "SemanticSoftmaxLoss",
    "SoftTargetCrossEntropy",
    "TopKLogits",
    "TreeLevels",
]

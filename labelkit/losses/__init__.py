"""Soft, sparse and semantic losses."""

from labelkit.losses.levels import TreeLevels
from labelkit.losses.semantic_distillation import SemanticDistillationLoss
from labelkit.losses.semantic_softmax import SemanticSoftmaxLoss
from labelkit.losses.soft_target import SoftTargetCrossEntropy

__all__ = [
    "SemanticDistillationLoss",
    "SemanticSoftmaxLoss",
    "SoftTargetCrossEntropy",
    "TreeLevels",
]

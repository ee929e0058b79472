from .binary import TreeBinaryCrossEntropy as TreeBinaryCrossEntropy
from .distillation import DistillationLoss as DistillationLoss, TopKLogits as TopKLogits
from .hierarchical import HierarchicalCrossEntropy as HierarchicalCrossEntropy
from .levels import TreeLevels as TreeLevels
from .semantic_distillation import SemanticDistillationLoss as SemanticDistillationLoss
from .semantic_softmax import SemanticSoftmaxLoss as SemanticSoftmaxLoss
from .soft_target import SoftTargetCrossEntropy as SoftTargetCrossEntropy

"""Accuracies, flat and on the tree; every one is a function for a batch and a class for many."""

from labelkit.metrics.semantic import SemanticAccuracy, semantic_accuracy
from labelkit.metrics.top_k import TopKAccuracy, top_k_accuracy

__all__ = ["SemanticAccuracy", "TopKAccuracy", "semantic_accuracy", "top_k_accuracy"]

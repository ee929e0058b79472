"""Class lists, WordNet, taxonomies and the semantic tree. Loads no tensors."""

from labelkit.hierarchy.class_list import ClassList

__all__ = ["ClassList"]

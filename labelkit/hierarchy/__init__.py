"""Class lists, WordNet, taxonomies and the semantic tree. Loads no tensors.

Class lists need nothing but the standard library; numpy is loaded with the first tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.hierarchy.class_list import ClassList
    from labelkit.hierarchy.class_sources import NAMED_LISTS, identify, read_class_list
    from labelkit.hierarchy.taxonomy import Taxonomy
    from labelkit.hierarchy.taxonomy_files import read_taxonomy
    from labelkit.hierarchy.tree import SemanticTree
    from labelkit.hierarchy.tree_file import is_tree_file
    from labelkit.hierarchy.wordnet.noun_graph import class_names

__all__ = [
    "NAMED_LISTS",
    "ClassList",
    "SemanticTree",
    "Taxonomy",
    "class_names",
    "identify",
    "is_tree_file",
    "read_class_list",
    "read_taxonomy",
]

__getattr__ = lazy_names(
    __name__,
    {
        "NAMED_LISTS": "class_sources",
        "ClassList": "class_list",
        "SemanticTree": "tree",
        "Taxonomy": "taxonomy",
        "class_names": "wordnet.noun_graph",
        "identify": "class_sources",
        "is_tree_file": "tree_file",
        "read_class_list": "class_sources",
        "read_taxonomy": "taxonomy_files",
    },
)

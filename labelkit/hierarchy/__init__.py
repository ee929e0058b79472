"""Class lists, WordNet, taxonomies and the semantic tree. Loads no tensors.

Class lists need nothing but the standard library; numpy is loaded with the first tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.hierarchy.class_list import ClassList
    from labelkit.hierarchy.class_sources import NAMED_LISTS, identify, read_class_list
    from labelkit.hierarchy.distances import (
        distance_table,
        hierarchical_distance,
        lowest_common_ancestor,
    )
    from labelkit.hierarchy.granularity import Coarsening
    from labelkit.hierarchy.projection import Projection, project
    from labelkit.hierarchy.taxonomy import Taxonomy
    from labelkit.hierarchy.taxonomy_files import read_taxonomy
    from labelkit.hierarchy.tree import SemanticTree
    from labelkit.hierarchy.tree_file import is_tree_file
    from labelkit.hierarchy.wordnet.copies import open_noun_graph
    from labelkit.hierarchy.wordnet.name_file import ClassNames, read_name_file, write_name_file
    from labelkit.hierarchy.wordnet.names import NameMatch, match_names
    from labelkit.hierarchy.wordnet.noun_graph import class_names

__all__ = [
    "NAMED_LISTS",
    "ClassList",
    "ClassNames",
    "Coarsening",
    "NameMatch",
    "Projection",
    "SemanticTree",
    "Taxonomy",
    "class_names",
    "distance_table",
    "hierarchical_distance",
    "identify",
    "is_tree_file",
    "lowest_common_ancestor",
    "match_names",
    "open_noun_graph",
    "project",
    "read_class_list",
    "read_name_file",
    "read_taxonomy",
    "write_name_file",
]

__getattr__ = lazy_names(
    __name__,
    {
        "lowest_common_ancestor": "distances",
        "hierarchical_distance": "distances",
        "distance_table": "distances",
        "project": "projection",
        "Projection": "projection",
        "Coarsening": "granularity",
        "NAMED_LISTS": "class_sources",
        "ClassList": "class_list",
        "ClassNames": "wordnet.name_file",
        "SemanticTree": "tree",
        "Taxonomy": "taxonomy",
        "class_names": "wordnet.noun_graph",
        "open_noun_graph": "wordnet.copies",
        "NameMatch": "wordnet.names",
        "match_names": "wordnet.names",
        "read_name_file": "wordnet.name_file",
        "write_name_file": "wordnet.name_file",
        "identify": "class_sources",
        "is_tree_file": "tree_file",
        "read_class_list": "class_sources",
        "read_taxonomy": "taxonomy_files",
    },
)

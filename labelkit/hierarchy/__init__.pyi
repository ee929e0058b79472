from .class_list import (
    ClassList as ClassList,
    advice_on_indices as advice_on_indices,
    are_wnids as are_wnids,
    hint_for_plain_names as hint_for_plain_names,
)
from .class_sources import (
    NAMED_LISTS as NAMED_LISTS,
    definitions as definitions,
    identify as identify,
    read_class_list as read_class_list,
)
from .coarsening import (
    Coarsening as Coarsening,
    coarsen as coarsen,
    coarsen_to_ancestors as coarsen_to_ancestors,
    coarsen_to_depth as coarsen_to_depth,
)
from .coarsening_file import (
    load_coarsening as load_coarsening,
    save_coarsening as save_coarsening,
)
from .distances import (
    DistanceKind as DistanceKind,
    distance_table as distance_table,
    hierarchical_distance as hierarchical_distance,
    lowest_common_ancestor as lowest_common_ancestor,
)
from .node_table import NodeTable as NodeTable
from .projection import Projection as Projection, project as project
from .taxonomy import Rule as Rule, Taxonomy as Taxonomy
from .taxonomy_files.edge_order import EdgeOrder as EdgeOrder
from .taxonomy_files.reading import read_taxonomy as read_taxonomy
from .tree import SemanticTree as SemanticTree, paper_level_weights as paper_level_weights
from .tree_file import is_tree_file as is_tree_file
from .wordnet.copies import open_wordnet as open_wordnet
from .wordnet.graph import class_names as class_names
from .wordnet.name_file import (
    ClassNames as ClassNames,
    NameChoice as NameChoice,
    accept_first as accept_first,
    decide as decide,
    read_name_choices as read_name_choices,
    read_name_file as read_name_file,
    write_name_file as write_name_file,
)
from .wordnet.names import (
    NameMatch as NameMatch,
    match_names as match_names,
    settled as settled,
)

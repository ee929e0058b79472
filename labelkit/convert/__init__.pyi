from .formats import (
    TREE_FORMATS as TREE_FORMATS,
    export_tree as export_tree,
    import_tree as import_tree,
)
from .published import read_published as read_published, write_published as write_published
from .relabel_export import (
    ExportResult as ExportResult,
    export_relabel_folder as export_relabel_folder,
)
from .relabel_format import FolderRecord as FolderRecord, folder_record as folder_record
from .relabel_import import (
    Pairing as Pairing,
    RelabelFolder as RelabelFolder,
    import_relabel_folder as import_relabel_folder,
    list_maps as list_maps,
    pair_by_suffix as pair_by_suffix,
    pair_with_images as pair_with_images,
)
from .table import read_csv_tree as read_csv_tree, write_csv_tree as write_csv_tree

"""Trees and label maps to and from other projects' formats.

Trees: ``.pth``, GraphML, DOT, CSV and networkx. Label maps: ReLabel's folders of ``.pt`` files, and
one image's as ``.npz``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.convert.formats import READABLE, WRITABLE, export_tree, import_tree
    from labelkit.convert.graphs import read_graphml, to_networkx, write_dot, write_graphml
    from labelkit.convert.npz import read_npz
    from labelkit.convert.one_map import ImageMaps
    from labelkit.convert.published import read_published, write_published
    from labelkit.convert.relabel_export import Exported, export_relabel_folder
    from labelkit.convert.relabel_import import Reading, import_relabel_folder
    from labelkit.convert.relabel_listing import list_maps, pair_by_suffix, pair_with_images
    from labelkit.convert.relabel_record import folder_record
    from labelkit.convert.table import read_csv_tree, write_csv_tree

__all__ = [
    "READABLE",
    "WRITABLE",
    "Exported",
    "ImageMaps",
    "Reading",
    "export_relabel_folder",
    "export_tree",
    "folder_record",
    "import_relabel_folder",
    "import_tree",
    "list_maps",
    "pair_by_suffix",
    "pair_with_images",
    "read_csv_tree",
    "read_graphml",
    "read_npz",
    "read_published",
    "to_networkx",
    "write_csv_tree",
    "write_dot",
    "write_graphml",
    "write_published",
]

__getattr__ = lazy_names(
    __name__,
    {
        "READABLE": "formats",
        "WRITABLE": "formats",
        "Exported": "relabel_export",
        "ImageMaps": "one_map",
        "Reading": "relabel_import",
        "export_relabel_folder": "relabel_export",
        "export_tree": "formats",
        "folder_record": "relabel_record",
        "import_relabel_folder": "relabel_import",
        "import_tree": "formats",
        "list_maps": "relabel_listing",
        "pair_by_suffix": "relabel_listing",
        "pair_with_images": "relabel_listing",
        "read_csv_tree": "table",
        "read_graphml": "graphs",
        "read_npz": "npz",
        "read_published": "published",
        "to_networkx": "graphs",
        "write_csv_tree": "table",
        "write_dot": "graphs",
        "write_graphml": "graphs",
        "write_published": "published",
    },
)

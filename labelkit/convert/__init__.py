"""Trees to and from other projects' formats: ``.pth``, GraphML, DOT, CSV and networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.convert.formats import READABLE, WRITABLE, export_tree, import_tree
    from labelkit.convert.graphs import read_graphml, to_networkx, write_dot, write_graphml
    from labelkit.convert.published import read_published, write_published
    from labelkit.convert.table import read_csv_tree, write_csv_tree

__all__ = [
    "READABLE",
    "WRITABLE",
    "export_tree",
    "import_tree",
    "read_csv_tree",
    "read_graphml",
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
        "export_tree": "formats",
        "import_tree": "formats",
        "read_csv_tree": "table",
        "read_graphml": "graphs",
        "read_published": "published",
        "to_networkx": "graphs",
        "write_csv_tree": "table",
        "write_dot": "graphs",
        "write_graphml": "graphs",
        "write_published": "published",
    },
)

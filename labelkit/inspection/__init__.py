"""Look at what was made: summaries, pictures and HTML pages. Loads no torch.

Each part is imported when it is first asked for: words for a terminal need no pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.inspection.blocks import (
        Bar,
        Commands,
        CropComparison,
        CropComparisons,
        Curve,
        Facts,
        Page,
        Paragraph,
        Picture,
        Pictures,
        Section,
        Table,
        TreePaths,
    )
    from labelkit.inspection.cards import compare_crop, label_map_card
    from labelkit.inspection.curve import curve_svg
    from labelkit.inspection.drawing import draw_label_map
    from labelkit.inspection.lookup import find_classes, find_label_map, open_photo, search_classes
    from labelkit.inspection.page import render_page, write_page
    from labelkit.inspection.presence import ClassShare, class_shares
    from labelkit.inspection.report import label_map_report
    from labelkit.inspection.summary import (
        FrequentClass,
        LabelMapSummary,
        open_artifact,
        summarize,
    )
    from labelkit.inspection.tree_page import write_tree_page
    from labelkit.inspection.tree_summary import TreeLevel, TreeRoot, TreeSummary, summarize_tree

__all__ = [
    "Bar",
    "ClassShare",
    "Commands",
    "CropComparison",
    "CropComparisons",
    "Curve",
    "Facts",
    "FrequentClass",
    "LabelMapSummary",
    "Page",
    "Paragraph",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "TreeLevel",
    "TreePaths",
    "TreeRoot",
    "TreeSummary",
    "class_shares",
    "compare_crop",
    "curve_svg",
    "draw_label_map",
    "find_classes",
    "find_label_map",
    "label_map_card",
    "label_map_report",
    "open_artifact",
    "open_photo",
    "render_page",
    "search_classes",
    "summarize",
    "summarize_tree",
    "write_page",
    "write_tree_page",
]

__getattr__ = lazy_names(
    __name__,
    {
        "class_shares": "presence",
        "compare_crop": "cards",
        "curve_svg": "curve",
        "draw_label_map": "drawing",
        "find_classes": "lookup",
        "find_label_map": "lookup",
        "label_map_card": "cards",
        "label_map_report": "report",
        "open_artifact": "summary",
        "open_photo": "lookup",
        "render_page": "page",
        "search_classes": "lookup",
        "summarize": "summary",
        "summarize_tree": "tree_summary",
        "write_page": "page",
        "write_tree_page": "tree_page",
        "Bar": "blocks",
        "ClassShare": "presence",
        "Commands": "blocks",
        "CropComparison": "blocks",
        "CropComparisons": "blocks",
        "Curve": "blocks",
        "Facts": "blocks",
        "FrequentClass": "summary",
        "LabelMapSummary": "summary",
        "Page": "blocks",
        "Paragraph": "blocks",
        "Picture": "blocks",
        "Pictures": "blocks",
        "Section": "blocks",
        "Table": "blocks",
        "TreeLevel": "tree_summary",
        "TreePaths": "blocks",
        "TreeRoot": "tree_summary",
        "TreeSummary": "tree_summary",
    },
)

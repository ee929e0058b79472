"""Look at what was made: summaries, pictures and HTML pages. Loads no torch."""

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

from .blocks import (
    Bar as Bar,
    Commands as Commands,
    CropComparison as CropComparison,
    CropComparisons as CropComparisons,
    Curve as Curve,
    Facts as Facts,
    Page as Page,
    Paragraph as Paragraph,
    Picture as Picture,
    Pictures as Pictures,
    Section as Section,
    Table as Table,
    TreePaths as TreePaths,
)
from .cards import compare_crop as compare_crop, label_map_card as label_map_card
from .curve import curve_svg as curve_svg
from .drawing import draw_label_map as draw_label_map
from .lookup import (
    find_classes as find_classes,
    find_label_map as find_label_map,
    open_photo as open_photo,
    search_classes as search_classes,
)
from .page import render_page as render_page, write_page as write_page
from .presence import ClassShare as ClassShare, class_shares as class_shares
from .report import label_map_report as label_map_report
from .summary import (
    FrequentClass as FrequentClass,
    LabelMapSummary as LabelMapSummary,
    open_artifact as open_artifact,
    summarize as summarize,
)
from .tree_page import write_tree_page as write_tree_page
from .tree_summary import (
    TreeLevel as TreeLevel,
    TreeRoot as TreeRoot,
    TreeSummary as TreeSummary,
    summarize_tree as summarize_tree,
)

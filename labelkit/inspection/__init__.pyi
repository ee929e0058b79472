from .curves import draw_curves as draw_curves, write_curves as write_curves
from .drawing import (
    PALETTE as PALETTE,
    class_colours as class_colours,
    draw_label_map as draw_label_map,
    hexadecimal as hexadecimal,
)
from .lookup import (
    find_classes as find_classes,
    find_label_map as find_label_map,
    open_artifact as open_artifact,
    open_photo as open_photo,
    output_names as output_names,
    search_classes as search_classes,
)
from .other import other_index as other_index, shown_name as shown_name
from .page import (
    Commands as Commands,
    CropComparisons as CropComparisons,
    Curve as Curve,
    DataTable as DataTable,
    Facts as Facts,
    Page as Page,
    Paragraph as Paragraph,
    Pictures as Pictures,
    Scatter as Scatter,
    Section as Section,
    TreePaths as TreePaths,
    write_page as write_page,
)
from .presence import class_shares as class_shares, stored_presence as stored_presence
from .report import (
    AREA_NOTE as AREA_NOTE,
    PICTURE_NOTE as PICTURE_NOTE,
    compare_crop as compare_crop,
    label_map_card as label_map_card,
    label_map_report as label_map_report,
)
from .subtrees import (
    drawn_children as drawn_children,
    sorted_children as sorted_children,
)
from .summary import (
    LabelMapSummary as LabelMapSummary,
    TreeSummary as TreeSummary,
    classes_per_cell as classes_per_cell,
    summarize_label_maps as summarize_label_maps,
    summarize_tree as summarize_tree,
)
from .tree_page import write_tree_page as write_tree_page

from .card import (
    TeacherCard as TeacherCard,
    card_names as card_names,
    class_list_of as class_list_of,
    find_card as find_card,
    read_card as read_card,
)
from .checking import (
    Check as Check,
    check as check,
    count_flops as count_flops,
    read_families as read_families,
)
from .grid_head import DenseModel as DenseModel, SplitModel as SplitModel
from .loading import (
    load_teacher as load_teacher,
    move_teacher as move_teacher,
    weights_digest as weights_digest,
    wrap_model as wrap_model,
)
from .merging import DEFAULT_MERGE as DEFAULT_MERGE, Merge as Merge
from .projection import (
    LogitsProjection as LogitsProjection,
    project_teachers as project_teachers,
    teacher_id as teacher_id,
)
from .shipped_weights import weight_file as weight_file
from .teacher import EXACT_GAP as EXACT_GAP, Teacher as Teacher, resize_grid as resize_grid

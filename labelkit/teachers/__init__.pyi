from .card import (
    TeacherCard as TeacherCard,
    Weights as Weights,
    card_names as card_names,
    read_card as read_card,
)
from .loading import (
    load_teacher as load_teacher,
    random_teacher as random_teacher,
    wrap_model as wrap_model,
)
from .split import DenseModel as DenseModel, SplitModel as SplitModel
from .teacher import EXACT_GAP as EXACT_GAP, Teacher as Teacher, resize_grid as resize_grid

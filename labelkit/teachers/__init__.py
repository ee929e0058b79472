"""Teachers: classifiers that answer with class scores on a grid."""

from labelkit.teachers.card import TeacherCard, Weights, card_names, read_card
from labelkit.teachers.loading import load_teacher, random_teacher, wrap_model
from labelkit.teachers.split import DenseModel, SplitModel
from labelkit.teachers.teacher import EXACT_GAP, Teacher, resize_grid

__all__ = [
    "EXACT_GAP",
    "DenseModel",
    "SplitModel",
    "Teacher",
    "TeacherCard",
    "Weights",
    "card_names",
    "load_teacher",
    "random_teacher",
    "read_card",
    "resize_grid",
    "wrap_model",
]

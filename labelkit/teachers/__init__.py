"""Teachers: classifiers that answer with class scores on a grid."""

from labelkit.teachers.card import TeacherCard, Weights, card_names, read_card
from labelkit.teachers.loading import load_teacher
from labelkit.teachers.teacher import EXACT_GAP, Teacher, resize_grid

__all__ = [
    "EXACT_GAP",
    "Teacher",
    "TeacherCard",
    "Weights",
    "card_names",
    "load_teacher",
    "read_card",
    "resize_grid",
]

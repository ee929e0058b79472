"""The whole path on photos that come with packages: tree, label maps, pictures, a student."""

from labelkit.demo.pages import draw_pictures, tree_paths, write_index
from labelkit.demo.photos import write_photos
from labelkit.demo.student import STUDENT, crop_dataset, train_student

__all__ = [
    "STUDENT",
    "crop_dataset",
    "draw_pictures",
    "train_student",
    "tree_paths",
    "write_index",
    "write_photos",
]

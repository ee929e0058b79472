from .pages import (
    draw_pictures as draw_pictures,
    tree_paths as tree_paths,
    write_index as write_index,
)
from .photos import write_photos as write_photos
from .student import (
    STUDENT as STUDENT,
    crop_dataset as crop_dataset,
    train_student as train_student,
)

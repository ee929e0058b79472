from .class_counts import read_class_counts as read_class_counts
from .difficulty import ImageScores as ImageScores, score_images as score_images
from .labelled_images import (
    LabelledImages as LabelledImages,
    read_labelled_images as read_labelled_images,
)
from .links import write_links as write_links
from .map_labels import labels_of_maps as labels_of_maps
from .profile import images_per_class as images_per_class
from .settings import SubsetSettings as SubsetSettings
from .subset import (
    Subset as Subset,
    choose_classes as choose_classes,
    choose_subset as choose_subset,
)

"""A data set's original labels, found among the classes of a label-map file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labelkit.data.original_labels import OriginalLabels
from labelkit.errors import ClassListMismatch
from labelkit.hierarchy import ClassList
from tests.label_maps.support.small_files import make

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.label_maps import LabelMapFile


@pytest.fixture
def maps(tmp_path: Path) -> LabelMapFile:
    """A file whose classes are ids, as a teacher's are."""
    ids = ClassList.of([f"n{number:08}" for number in range(20)], "teacher's")
    return make(tmp_path / "maps.h5", ["a.jpg"], classes=ids)


def test_ids_are_found_in_the_data_sets_order(maps: LabelMapFile) -> None:
    assert OriginalLabels(maps, ["n00000007", "n00000002"]).classes.tolist() == [7, 2]


def test_plain_names_are_refused_with_what_to_do_next(maps: LabelMapFile) -> None:
    """Maps of an ImageNet teacher need the synset of each name."""
    message = (
        r"labels church, fish\. .*ids such as n00000000.*match-names CLASSES.*--names names\.tsv"
    )
    with pytest.raises(ClassListMismatch, match=message):
        OriginalLabels(maps, ["church", "fish"])


def test_there_is_an_id_for_each_class_of_the_data_set(maps: LabelMapFile) -> None:
    """Two coarse classes for three folders would give the first two of them a wrong class."""
    folders = ["church", "dog", "fish"]
    with pytest.raises(ValueError, match=r"classes has 2 ids, .* 3 classes: .*for_folders"):
        OriginalLabels(maps, ["n00000007", "n00000002"], folders)
    ids = ["n00000007", "n00000002", "n00000002"]
    assert OriginalLabels(maps, ids, folders).classes.tolist() == [7, 2, 2]

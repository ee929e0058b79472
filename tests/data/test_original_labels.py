"""A data set's own labels, found among the classes of a label-map file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labelkit.data.original_labels import original_labels
from labelkit.errors import ClassListMismatch
from labelkit.hierarchy import ClassList
from tests.label_maps.small_files import make

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.label_maps import LabelMapFile


@pytest.fixture
def maps(tmp_path: Path) -> LabelMapFile:
    """A file over ids, as a teacher's own classes are."""
    ids = ClassList.of([f"n{number:08}" for number in range(20)], "teacher's")
    return make(tmp_path / "maps.h5", ["a.jpg"], classes=ids)


def test_ids_are_found_in_the_data_sets_order(maps: LabelMapFile) -> None:
    assert original_labels(maps, ["n00000007", "n00000002"]).tolist() == [7, 2]


def test_plain_names_get_a_way_out_that_leads_somewhere(maps: LabelMapFile) -> None:
    """Those of an ImageNet teacher are made with the nouns of the names."""
    way = r"labels church, fish\. .*ids such as n00000000.*match-names DATA.*--names names\.tsv"
    with pytest.raises(ClassListMismatch, match=way):
        original_labels(maps, ["church", "fish"])

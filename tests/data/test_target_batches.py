"""The targets of a batch, as a data loader asks for them, are those of its samples."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, TargetOptions
from labelkit.targets import SparseTargets
from tests.data.maps_of_photos import CELLS, CENTRE, FORM, C, write_maps

OPTIONS = [
    {},
    {"original": 0.3, "temperature": 2.0},
    {"label": "global-multi", "absent": "zeros"},
    {"label": "local-single"},
    {"label": "original"},
    {"method": "probability"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("form", [FORM, CELLS], ids=["image", "cell"])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_batch_holds_the_samples_one_by_one(photos, tmp_path, options, form, sparse):
    maps = write_maps(tmp_path / "maps.h5", photos[1][:3], form)
    dataset = LabelMapDataset(
        ImageFolder(photos[0]),
        maps,
        v2.Compose([v2.RandomResizedCrop(48), v2.PILToTensor()]),
        options=TargetOptions(**options),
        sparse=sparse,
        missing="hard",
    )
    for positions in ([0, 1, 2, 3], [2, 0, 2], [1]):
        torch.manual_seed(0)
        batch = dataset.__getitems__(positions)
        torch.manual_seed(0)
        for (image, target), position in zip(batch, positions, strict=True):
            same_image, same = dataset[position]
            assert torch.equal(image, same_image)
            pair = [target, same]
            if sparse:
                pair = [SparseTargets(*(part[None] for part in each)).dense(C) for each in pair]
            torch.testing.assert_close(*pair, rtol=0, atol=1e-6)


class Numbered(LabelMapDataset):
    """A user's own samples, with their number."""

    def __getitem__(self, position):
        """One more element."""
        return (*super().__getitem__(position), position)


def test_what_a_users_class_yields_is_what_a_loader_yields(photos, maps):
    loader = DataLoader(Numbered(ImageFolder(photos[0]), maps, CENTRE), 4)
    ((images, targets, numbers),) = loader
    assert numbers.tolist() == [0, 1, 2, 3]
    assert len(images) == len(targets) == 4

"""The data set yields the soft target of exactly the crop that the pipeline took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset
from labelkit.errors import DatasetError, LabelMapError
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapWriter, MapForm
from tests.label_maps.support.random_maps import random_maps
from tests.oracles.pooling import pooled_logits, pooled_target

CROP = v2.RandomResizedCrop(64, scale=(0.08, 1.0), antialias=True)
PIPELINE = v2.Compose(
    [CROP, v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
)


CELLS = MapForm(top_k=4, grid=(15, 15))
SMALL = MapForm(selection="image", top_k=3, grid=(7, 7), background=9, patterns=2, zoom=1)
LARGE = MapForm(selection="image", top_k=5, grid=(14, 14), background=20, patterns=1, zoom=2)


def write_maps(path, keys, *forms):
    classes = ClassList.of([f"class {n}" for n in range(50)])
    forms = forms or (CELLS,)
    writer = LabelMapWriter(
        path, classes=classes, keys=keys, forms=forms, source={}, shard_rows=100
    )
    (shard,) = writer.pending()
    rng = np.random.default_rng(3)
    writer.commit(shard, [random_maps(rng, len(keys), form, 50) for form in forms], {})
    writer.finalize().close()
    return path


@pytest.fixture
def dataset(photos, tmp_path):
    folder, keys = photos
    return LabelMapDataset(ImageFolder(folder), write_maps(tmp_path / "maps.h5", keys), PIPELINE)


def key_of(dataset, position):
    path, _ = dataset.dataset.samples[position]
    return Path(path).relative_to(dataset.dataset.root).as_posix()


def crop_taken(path, seed):
    """Replay the pipeline's random draw."""
    torch.manual_seed(seed)
    with Image.open(path) as photo:
        top, left, height, width = CROP.get_params(photo, CROP.scale, CROP.ratio)
        return CropBox.from_pixels(left, top, width, height, (photo.height, photo.width))


@pytest.mark.parametrize("form", [CELLS, LARGE], ids=["cell", "image"])
def test_every_target_equals_the_oracle_for_the_crop_taken(photos, tmp_path, form):
    """Pool the dense map with RoIAlign, compare all probabilities."""
    folder, keys = photos
    maps = write_maps(tmp_path / "maps.h5", keys, form)
    dataset = LabelMapDataset(ImageFolder(folder), maps, PIPELINE)
    for seed in range(25):
        for position, (path, _) in enumerate(dataset.dataset.samples):
            torch.manual_seed(seed)
            image, target = dataset[position]
            box = crop_taken(path, seed)
            expected = pooled_target(dataset.maps[key_of(dataset, position)], box, 50)
            assert image.shape == (3, 64, 64)
            assert target.dtype == torch.float32
            torch.testing.assert_close(target, expected, rtol=0, atol=1e-5)
            assert target.sum().item() == pytest.approx(1, abs=1e-5)


def test_maps_of_several_sizes_are_mixed_by_the_zoom_of_the_crop(photos, tmp_path):
    folder, keys = photos
    maps = write_maps(tmp_path / "maps.h5", keys, SMALL, LARGE)
    dataset = LabelMapDataset(ImageFolder(folder), maps, PIPELINE)
    for seed in range(10):
        for position, (path, _) in enumerate(dataset.dataset.samples):
            torch.manual_seed(seed)
            _, target = dataset[position]
            box = crop_taken(path, seed)
            small, large = (
                pooled_logits(each, box, 50)
                for each in dataset.maps.maps(key_of(dataset, position))
            )
            area = (box.right - box.left) * (box.bottom - box.top)
            share = min(0.5 * np.log2(1 / area), 1)  # 0 for the whole image, 1 from a quarter of it
            expected = torch.softmax((1 - share) * small + share * large, dim=0)
            torch.testing.assert_close(target, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("zooms", [(2, 1), (1, 1), (0, 2)], ids=str)
def test_maps_whose_zooms_do_not_ascend_are_refused(photos, tmp_path, zooms):
    folder, keys = photos
    forms = [structs.replace(SMALL, zoom=zoom) for zoom in zooms]
    maps = write_maps(tmp_path / "maps.h5", keys, *forms)
    with pytest.raises(LabelMapError, match="expected positive, ascending zooms"):
        LabelMapDataset(ImageFolder(folder), maps, PIPELINE)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_yield_what_the_main_process_yields(photos, tmp_path, context):
    """A deterministic pipeline, so that every process takes the same crop."""
    folder, keys = photos
    pipeline = v2.Compose([v2.Resize(80), v2.CenterCrop(64), v2.PILToTensor()])
    maps = write_maps(tmp_path / "maps.h5", keys)
    dataset = LabelMapDataset(ImageFolder(folder), maps, pipeline)
    loader = DataLoader(dataset, 2, num_workers=2, multiprocessing_context=context)
    here = DataLoader(dataset, 2)
    for (images, targets), (same_images, same_targets) in zip(loader, here, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(targets, same_targets)


def test_plain_torch_cross_entropy_takes_the_targets(dataset):
    images, targets = next(iter(DataLoader(dataset, 4)))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(50))
    loss = torch.nn.functional.cross_entropy(model(images), targets)
    loss.backward()
    assert torch.isfinite(loss)


def test_an_image_without_a_map_is_named_when_the_data_set_is_created(photos, tmp_path):
    folder, keys = photos
    maps = write_maps(tmp_path / "maps.h5", keys[:3])
    with pytest.raises(LabelMapError, match=r"1 of 4 images \(things/rocket.jpg\)"):
        LabelMapDataset(ImageFolder(folder), maps, PIPELINE)


def test_a_transform_inside_the_inner_data_set_is_refused(photos, tmp_path):
    folder, keys = photos
    maps = write_maps(tmp_path / "maps.h5", keys)
    with pytest.raises(ValueError, match="pass the transform to LabelMapDataset"):
        LabelMapDataset(ImageFolder(folder, transform=PIPELINE), maps, PIPELINE)


def test_a_pipeline_that_cannot_be_followed_is_refused_also_when_set_later(photos, tmp_path):
    folder, keys = photos
    maps = write_maps(tmp_path / "maps.h5", keys)
    with pytest.raises(ValueError, match="RandAugment"):
        LabelMapDataset(ImageFolder(folder), maps, v2.RandAugment())
    dataset = LabelMapDataset(ImageFolder(folder), maps)
    with pytest.raises(ValueError, match="RandAugment"):
        dataset.transform = v2.RandAugment()
    LabelMapDataset(ImageFolder(folder), maps, v2.RandAugment(), untraced="ignore")


def test_a_data_set_without_paths_is_refused(tmp_path, photos):
    maps = write_maps(tmp_path / "maps.h5", photos[1])
    with pytest.raises(ValueError, match="has no samples"):
        LabelMapDataset([1, 2], maps, PIPELINE)


def test_an_unreadable_image_is_named_and_not_replaced(dataset, photos):
    (photos[0] / "animals" / "cat.jpg").write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"animals/cat\.jpg cannot be read"):
        dataset[0]

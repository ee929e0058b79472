"""Automatic augmentation, erasing and repeated augmentation, as a recipe sets them."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms.v2 import functional as VF

from labelkit.errors import RecipeError
from labelkit.train import build_task, read_recipe
from labelkit.train.augmentation import TimmRandAugment
from labelkit.train.data import EpochSampler
from tests.train.support import recipe_text, save_maps
from tests.train.test_loop import numbers, run

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from labelkit.train import Task

GEOMETRIC = ("randaugment", "trivialaugment", "autoaugment", "rand-m9-mstd0.5-inc1")


def task_of(folder: Path, photos: Path, labels: str, *changes: str) -> Task:
    (folder / "recipe.toml").write_text(recipe_text(photos, labels))
    return build_task(read_recipe(folder / "recipe.toml", changes))


def crop_of(task: Task, seed: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return task.train_set[0]


@pytest.mark.parametrize("name", ["3-augment", *GEOMETRIC])
def test_every_augmentation_changes_pixels_and_follows_from_torchs_generator(
    tmp_path: Path, photos: Path, name: str
) -> None:
    plain = task_of(tmp_path, photos, 'kind = "hard"')
    task = task_of(tmp_path, photos, 'kind = "hard"', f"data.augment={name}")
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    crops = [crop_of(task, seed)[0] for seed in range(4)]
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    random.seed(3)
    for seed, crop in enumerate(crops):
        assert crop.shape == (3, 32, 32)
        assert torch.equal(crop_of(task, seed)[0], crop)
    assert any(not torch.equal(crop_of(plain, at)[0], crop) for at, crop in enumerate(crops))


def test_timms_augmentation_gives_timms_pixels() -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8))
    hints = {"translate_const": 14, "img_mean": (124, 116, 104)}
    timms = rand_augment_transform("rand-m9-mstd0.5-inc1", hints)
    ours = TimmRandAugment("rand-m9-mstd0.5-inc1", 32, (0.485, 0.456, 0.406))
    for number in range(5):
        torch.manual_seed(number)
        found = ours(VF.to_image(photo))
        torch.manual_seed(number)
        seed = int(torch.randint(2**31, ()))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        assert np.array_equal(VF.to_pil_image(found), timms(photo))


@pytest.mark.parametrize("name", GEOMETRIC)
def test_pooled_targets_refuse_what_shifts_a_crop(tmp_path: Path, photos: Path, name: str) -> None:
    """A target of the whole image does not depend on the crop, so any augmentation will do."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    labels = f'kind = "label-maps"\nmaps = "{maps}"'
    change = f"data.augment={name}"
    with pytest.raises(RecipeError, match=r"rotates, shears and shifts.*Use 3-augment.*global-m"):
        task_of(tmp_path, photos, labels, change)
    whole = task_of(tmp_path, photos, labels, change, "labels.label=global-multi")
    plain = task_of(tmp_path, photos, labels, "labels.label=global-multi")
    assert torch.equal(crop_of(whole)[1], crop_of(plain)[1])


def test_pooled_targets_take_colours_and_erasing(tmp_path: Path, photos: Path) -> None:
    """The tracker itself accepts the pipeline, and the target is that of the crop."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    labels = f'kind = "label-maps"\nmaps = "{maps}"'
    task = task_of(tmp_path, photos, labels, "data.augment=3-augment", "data.erasing=1")
    plain = task_of(tmp_path, photos, labels)
    assert torch.equal(crop_of(task)[1], crop_of(plain)[1])
    assert not torch.equal(crop_of(task)[0], crop_of(plain)[0])


def test_erasing_fills_one_rectangle_with_noise(tmp_path: Path, photos: Path) -> None:
    plain = crop_of(task_of(tmp_path, photos, 'kind = "hard"'))
    erased = crop_of(task_of(tmp_path, photos, 'kind = "hard"', "data.erasing=1"))
    changed = (plain[0] != erased[0]).all(0)
    rows, columns = changed.any(1).sum(), changed.any(0).sum()
    assert changed.sum() == rows * columns > 0
    assert 0.5 < float(erased[0][:, changed].std()) < 1.5
    assert plain[1] == erased[1]


def test_repeated_augmentation_shows_fewer_images_more_often() -> None:
    """Of 100 images an epoch shows 32 three times and four once, with a new seed each time."""
    sampler = EpochSampler(100, 7, shuffle=True, repeats=3, apart=4)
    draws = list(sampler)
    assert len(sampler) == len(draws) == len({seed for _, seed in draws}) == 100
    often = Counter(position for position, _ in draws).values()
    assert Counter(often) == {3: 32, 1: 4}
    for start in range(0, 96, 12):  # batches of 12: four images, thrice
        positions = [position for position, _ in draws[start : start + 12]]
        assert positions[:4] == positions[4:8] == positions[8:]
        assert len(set(positions)) == 4
    sampler.epoch = 1
    assert list(sampler) != draws
    once = EpochSampler(100, 7, shuffle=True)
    assert sorted(position for position, _ in once) == list(range(100))


def test_a_run_with_all_of_it_repeats_with_workers(tmp_path: Path, photos: Path) -> None:
    text = recipe_text(photos, epochs=1)
    changes = ["data.augment=rand-m5-n1", "data.erasing=0.5", "data.repeats=3", "mix.mixup=0.5"]
    alone = run(tmp_path, text, *changes, name="alone")
    assert numbers(run(tmp_path, text, *changes, "data.workers=2", name="two")) == numbers(alone)


WRONG = {
    "random": "data: augment is 'random', expected one of 3-augment, randaugment, ",
    "rand-q5": "data.augment is 'rand-q5', which timm does not understand .* such as rand-m9-",
}


@pytest.mark.parametrize("name", WRONG)
def test_unknown_augmentations_are_refused(tmp_path: Path, photos: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=WRONG[name]):
        task_of(tmp_path, photos, 'kind = "hard"', f"data.augment={name}")

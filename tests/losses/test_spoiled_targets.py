"""Soft targets after timm's own mixers: the loss says so once where they are spoiled."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from timm.data import Mixup
from timm.data.mixup import FastCollateMixup

from labelkit.losses import SoftTargetCrossEntropy

B, C = 8, 20
SMOOTHED = {"mixup_alpha": 0.8, "num_classes": C, "multi_label": True}
SINGLE = {"mixup_alpha": 0.8, "num_classes": C}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(B, 3, 8, 8, generator=generator), torch.rand(B, C).softmax(1)


def collated(mixer: FastCollateMixup) -> torch.Tensor:
    images, targets = batch()
    samples = [
        ((image * 255).byte(), target) for image, target in zip(images, targets, strict=True)
    ]
    return mixer(samples)[1]


def test_timms_smoothing_of_soft_targets_is_noticed_once():
    """0.1 / 2 is added to each of 20 classes: 0.9 + 1."""
    loss, logits = SoftTargetCrossEntropy(), torch.zeros(B, C)
    targets = Mixup(**SMOOTHED)(*batch())[1]
    with pytest.warns(UserWarning, match=r"sums to 1\.9, expected 1: .*label_smoothing=0") as seen:
        loss(logits, targets)
    assert seen[0].filename == __file__
    for _ in range(8):
        loss(logits, targets)


def test_a_collate_that_makes_every_target_class_0_is_noticed():
    with pytest.warns(UserWarning, match="all 8 soft targets .* are class 0: .*multi_label"):
        SoftTargetCrossEntropy()(torch.zeros(B, C), collated(FastCollateMixup(**SINGLE)))
    with pytest.warns(UserWarning, match=r"sums to 1\.9"):
        SoftTargetCrossEntropy()(torch.zeros(B, C), collated(FastCollateMixup(**SMOOTHED)))


def test_a_row_for_each_class_of_each_sample_is_explained():
    targets = Mixup(**SINGLE)(*batch())[1]
    assert targets.shape == (B * C, C)
    with pytest.raises(ValueError, match=r"\(160, 20\).* multi_label=True and label_smoothing=0"):
        SoftTargetCrossEntropy()(torch.zeros(B, C), targets)


def test_single_labels_are_explained():
    with pytest.raises(ValueError, match=r"torch\.nn\.functional\.cross_entropy"):
        SoftTargetCrossEntropy()(torch.zeros(B, C), torch.zeros(B, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_whole_targets_pass_in_silence(dtype: torch.dtype):
    """Mixed as they should be, in half precision, of fewer classes, or of one class by chance."""
    loss, wide = SoftTargetCrossEntropy(), torch.randn(B, 11_221).softmax(1)
    one = torch.zeros(B, C)
    one[:, 0] = 1
    third = one.roll(3, dims=1)
    mixed = Mixup(**SMOOTHED, label_smoothing=0.0)(*batch())[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for targets in (batch()[1], mixed, wide, one[:4], third, batch()[1] / 2):
            SoftTargetCrossEntropy()(torch.zeros(targets.shape), targets.to(dtype))
            found = loss(torch.zeros(targets.shape), targets.to(dtype))
            assert found.isfinite()


def test_the_loss_has_no_state_and_a_copy_speaks_for_itself():
    loss = SoftTargetCrossEntropy()
    assert loss.state_dict() == {}
    targets = Mixup(**SMOOTHED)(*batch())[1]
    with pytest.warns(UserWarning, match="sums to"):
        copy.deepcopy(loss)(torch.zeros(B, C), targets)
    with pytest.warns(UserWarning, match="sums to"):
        loss(torch.zeros(B, C), targets)

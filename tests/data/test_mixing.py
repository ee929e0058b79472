"""Mixed soft targets are ``share * target + (1 - share) * partner``, with the share of the pixels.

Image n of a batch fills channel n, so the channels of a mixed image give its parts.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.data import Mixup
from timm.data.mixup import FastCollateMixup
from torchvision.transforms import v2

from labelkit.data import mix, require_soft_mixing
from labelkit.losses import SoftTargetCrossEntropy
from labelkit.targets import SparseProbabilities

B, C, E = 8, 20, 3


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- timm draws from the global generator


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Images, each marked by one channel, and soft targets."""
    images = torch.eye(B)[:, :, None, None].repeat(1, 1, 32, 40)
    targets = torch.rand(B, C, generator=torch.Generator().manual_seed(0)).softmax(1)
    return images, targets


def sparse() -> SparseProbabilities:
    generator = torch.Generator().manual_seed(1)
    classes = torch.randint(0, C, (B, E), generator=generator)
    excess = torch.rand(B, E, generator=generator) / E
    return SparseProbabilities(classes, excess, (1 - excess.sum(1)) / C)


TORCHVISION = {
    "CutMix": v2.CutMix(),
    "MixUp": v2.MixUp(num_classes=C),
    "either": v2.RandomChoice([v2.CutMix(num_classes=C), v2.MixUp(alpha=0.4)]),
    "sometimes": v2.RandomApply([v2.CutMix()], p=0.5),
    "both": v2.Compose([v2.CutMix(), v2.MixUp()]),
    "never": v2.Identity(),
}
TIMM = {
    f"{mode} {name}": Mixup(mode=mode, num_classes=C, label_smoothing=0.0, **options)
    for mode in ("batch", "pair", "elem")
    for name, options in {
        "mixup": {"mixup_alpha": 0.8},
        "cutmix": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0},
        "both": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "prob": 0.8},
        "minmax": {"cutmix_minmax": (0.2, 0.8)},
    }.items()
}
ALL = TORCHVISION | TIMM


def shares_of(images: torch.Tensor) -> torch.Tensor:
    """The share of each image in each mixed image (B, B), measured in pixels."""
    return images.mean((2, 3))


@pytest.mark.parametrize("name", ALL)
def test_dense_targets_are_mixed_as_the_pixels_are(name):
    change = 0.0
    for seed in range(6):
        seed_all(seed)
        images, targets = batch()
        mixed, result = mix(ALL[name], images, targets)
        assert result.shape == (B, C)
        torch.testing.assert_close(result, shares_of(mixed) @ targets)
        change += float((result - targets).abs().max())
    assert (change > 0) == (name != "never")


@pytest.mark.parametrize("name", ALL)
def test_sparse_targets_are_mixed_as_dense_ones(name):
    for seed in range(6):
        seed_all(seed)
        dense_images, expected = mix(ALL[name], batch()[0], sparse().dense(C))
        seed_all(seed)
        images, result = mix(ALL[name], batch()[0], sparse())
        assert torch.equal(images, dense_images)
        assert result.classes.shape[1] <= (4 if name == "both" else 2) * E
        torch.testing.assert_close(result.dense(C), expected)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_timms_formula(mode):
    """In each of timm's modes, image n is mixed with image B-1-n."""
    mixer = Mixup(mode=mode, mixup_alpha=1.0, num_classes=C, label_smoothing=0.0)
    seed_all(3)
    images, targets = batch()
    mixed, result = mix(mixer, images, targets)
    share = shares_of(mixed).diagonal()[:, None]
    torch.testing.assert_close(result, share * targets + (1 - share) * targets.flip(0))
    assert len(share.unique()) == {"batch": 1, "pair": B // 2, "elem": B}[mode]


@pytest.mark.parametrize("of", [lambda: batch()[1], sparse], ids=["dense", "sparse"])
def test_label_smoothing_moves_targets_towards_the_uniform_distribution(of):
    """As timm smooths class indices; its multi_label smoothing moves them towards one half."""
    seed_all(4)
    _, plain = mix(Mixup(num_classes=C, label_smoothing=0.0), batch()[0], of())
    seed_all(4)
    _, smooth = mix(Mixup(num_classes=C), batch()[0], of())
    if isinstance(plain, SparseProbabilities):
        plain, smooth = plain.dense(C), smooth.dense(C)
    torch.testing.assert_close(smooth, 0.9 * plain + 0.1 / C)
    torch.testing.assert_close(smooth.sum(1), torch.ones(B))


def test_a_one_hot_target_is_mixed_as_timm_mixes_its_index():
    labels = torch.arange(B) * 2
    mixer = Mixup(cutmix_alpha=1.0, num_classes=C)
    seed_all(6)
    images, expected = mixer(batch()[0], labels)
    seed_all(6)
    mixed, result = mix(mixer, batch()[0], torch.nn.functional.one_hot(labels, C).float())
    assert torch.equal(mixed, images)
    torch.testing.assert_close(result, expected)


def test_the_mixer_is_not_changed():
    mixer = Mixup(num_classes=C)
    choice = v2.RandomChoice([v2.CutMix(num_classes=C)])
    for each in (mixer, choice):
        mix(each, *batch())
        mix(each, batch()[0], sparse())
    assert (mixer.num_classes, mixer.multi_label, mixer.label_smoothing) == (C, False, 0.1)
    assert choice.transforms[0].num_classes == C


def test_timms_mixer_can_be_switched_off():
    mixer = Mixup(num_classes=C, label_smoothing=0.0)
    mixer.mixup_enabled = False
    images, targets = mix(mixer, *batch())
    assert torch.equal(images, batch()[0])
    torch.testing.assert_close(targets, batch()[1])


@pytest.mark.parametrize(
    "mixer", [Mixup(num_classes=C + 1), v2.Compose([v2.CutMix(num_classes=9)])]
)
def test_another_number_of_classes_raises(mixer):
    message = r"was built for \d+ classes, but the targets have 20"
    with pytest.raises(ValueError, match=message):
        mix(mixer, *batch())
    with pytest.raises(ValueError, match=message):
        require_soft_mixing(mixer, C)


@pytest.mark.parametrize(
    "mixer",
    [Mixup(num_classes=C - 3), Mixup(num_classes=C + 3), v2.MixUp(num_classes=9)],
    ids=["fewer", "more", "torchvision's"],
)
def test_sparse_targets_over_another_number_of_classes_raise(mixer):
    """Their rows do not sum to one over the mixer's classes, or they list others."""
    expected = rf"was built for {mixer.num_classes} classes, which does not match the targets"
    with pytest.raises(ValueError, match=expected):
        mix(mixer, batch()[0], sparse())


def test_a_small_rest_is_enough_to_notice_another_number_of_classes():
    targets = SparseProbabilities(
        torch.zeros(B, 1).long(), torch.full((B, 1), 1 - C * 1e-5), torch.full((B,), 1e-5)
    )
    mix(Mixup(num_classes=C), batch()[0], targets)
    with pytest.raises(ValueError, match=r"a row sums to 1\.0098, expected 1"):
        mix(Mixup(), batch()[0], targets)


def test_sparse_targets_in_half_precision_match_their_number_of_classes():
    """Their rows sum to one only up to rounding."""
    for kind in (torch.float16, torch.bfloat16):
        targets = SparseProbabilities(
            sparse().classes, sparse().excess.to(kind), sparse().rest.to(kind)
        )
        mix(Mixup(num_classes=C), batch()[0], targets)
        with pytest.raises(ValueError, match="does not match the targets"):
            mix(Mixup(num_classes=2 * C), batch()[0], targets)


def test_anything_but_a_batch_of_soft_targets_is_refused():
    images, targets = batch()
    for two in ((targets, targets), [targets, targets]):
        with pytest.raises(TypeError, match=r"of type (tuple|list), .*turn tokens off"):
            mix(v2.CutMix(), images, two)
    with pytest.raises(ValueError, match=r"torch.int64 of shape \(8,\), .*call the mixer directly"):
        mix(v2.CutMix(num_classes=C), images, torch.arange(B))


@pytest.mark.parametrize("mixer", [FastCollateMixup(num_classes=C), SoftTargetCrossEntropy()])
def test_other_mixers_are_refused(mixer):
    with pytest.raises(TypeError, match="cannot mix soft targets"):
        mix(mixer, *batch())


def test_timms_mixers_corrupt_soft_targets_without_mix():
    """The reason for ``mix``: shapes and sums are silently wrong."""
    images, targets = batch()
    plain = Mixup(num_classes=C)
    assert plain(images, targets)[1].shape == (B * C, C)
    with pytest.raises(ValueError, match=r"treats soft targets as class indices"):
        require_soft_mixing(plain, C)
    halves = Mixup(num_classes=C, multi_label=True)
    assert halves(images, targets)[1].sum(1).mean() == pytest.approx(0.9 + 0.05 * C)
    with pytest.raises(ValueError, match="no longer sum to one"):
        require_soft_mixing(halves, C)
    for kind in (Mixup, FastCollateMixup):
        require_soft_mixing(kind(num_classes=C, multi_label=True, label_smoothing=0), C)
    require_soft_mixing(TORCHVISION["either"], C)


@pytest.mark.parametrize("targets", [batch()[1], sparse()], ids=["dense", "sparse"])
def test_a_batch_that_timm_cannot_mix_is_refused_with_what_to_do(targets):
    """Timm's own AssertionError says no more than "should be even"."""
    odd = (
        SparseProbabilities(*(part[:7] for part in targets))
        if isinstance(targets, SparseProbabilities)
        else targets[:7]
    )
    mixer = Mixup(mixup_alpha=0.8, num_classes=C)
    with pytest.raises(ValueError, match=r"pairs of images, .* has 7: .*drop_last=True"):
        mix(mixer, batch()[0][:7], odd)
    mix(v2.MixUp(num_classes=C), batch()[0][:7], odd)
    with pytest.raises(ValueError, match="8 images and 7 targets"):
        mix(mixer, batch()[0], odd)
    with pytest.raises(ValueError, match="cannot mix: One of mixup_alpha > 0"):
        mix(Mixup(mixup_alpha=0.0, num_classes=C), batch()[0], targets)

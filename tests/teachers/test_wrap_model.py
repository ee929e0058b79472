"""Teachers from a user's modules, and the errors for models that cannot be teachers."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from torch import nn

from labelkit.errors import TeacherError
from labelkit.hierarchy import ClassList
from labelkit.teachers import (
    EXACT_GAP,
    DenseModel,
    SplitModel,
    TeacherCard,
    check,
    load_teacher,
    wrap_model,
)
from tests.teachers.support import random_teacher

CLASSES = ClassList.of(["a", "b", "c"])
CARD = TeacherCard(
    model="my net",
    classes="",
    size=32,
    native_size=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bilinear",
    name="mine",
)


class Small(nn.Module):
    """A convolution and a linear head after average pooling."""

    def __init__(self, channels: int = 3, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 8, stride=8)
        self.head = nn.Linear(8, classes)

    def forward_features(self, x):
        """Features (B, 8, H, W)."""
        return self.conv(x).relu()

    def forward_head(self, x):
        """Scores (B, C)."""
        return self.head(x.mean(dim=(2, 3)))

    def forward(self, x):
        """Scores (B, C)."""
        return self.forward_head(self.forward_features(x))


class Dense(Small):
    """A model that computes its map itself."""

    def logits_map(self, x):
        """Scores (B, C, H, W)."""
        return self.head(self.conv(x).relu().permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("kind", [Small, Dense])
def test_a_users_module_becomes_a_teacher(kind):
    model = kind()
    assert isinstance(model, SplitModel)
    assert isinstance(model, DenseModel) == (kind is Dense)
    teacher = wrap_model(model, CLASSES, CARD, device="cpu")
    assert not model.training
    assert teacher.logits_map(torch.zeros(2, 3, 32, 48)).shape == (2, 3, 4, 6)
    assert teacher.gap(32) < EXACT_GAP
    assert teacher.describe()["weights_sha256"] == teacher.weights_digest


def test_both_protocols_give_the_same_map():
    dense = Dense()
    split = Small()
    split.load_state_dict(dense.state_dict())
    image = torch.randn(2, 3, 32, 32)
    maps = [wrap_model(m, CLASSES, CARD, device="cpu").logits_map(image) for m in (dense, split)]
    assert torch.allclose(*maps, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 3, 8, stride=8), "Conv2d has neither forward_features and forward_head"),
        (Small(channels=1), "does not take images of 3 channels and 32x32 pixels"),
        (Small(classes=4), r"map of shape \[1, 4, 4, 4\], expected \(1, 3, H, W\)"),
        (timm.create_model("deit_tiny_patch16_224", num_classes=3), "try --size 32"),
    ],
)
def test_a_module_that_does_not_fit_is_refused(model, message):
    with pytest.raises(TeacherError, match=message):
        wrap_model(model, CLASSES, CARD, device="cpu")


def test_scores_that_are_not_finite_are_refused():
    model = Small()
    with torch.no_grad():
        model.head.bias[1] = float("nan")
    with pytest.raises(TeacherError, match="not finite for a grey image"):
        wrap_model(model, CLASSES, CARD, device="cpu")
    teacher = random_teacher("test_resnet", size=64)
    with torch.no_grad():
        teacher.model.get_parameter("conv1.0.weight").fill_(float("inf"))
    with pytest.raises(TeacherError, match="not finite for noise images"):
        teacher.gap(64)


def test_a_model_without_a_classifier_is_refused():
    with pytest.raises(TeacherError, match="is not a classifier: it returns features"):
        random_teacher("sam2_hiera_tiny")


def test_a_model_for_grey_images_is_refused(monkeypatch):
    """None of timm's models is one today, but a model that users register may be."""
    model = timm.create_model("test_resnet", in_chans=1)
    model.pretrained_cfg = {"input_size": (1, 160, 160)}
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: model)
    with pytest.raises(TeacherError, match="takes images of 1 channels"):
        random_teacher("test_resnet")


def test_the_error_for_a_wrong_size_names_the_native_size():
    with pytest.raises(TeacherError, match=r"does not take images .* 100x100 .*try --size 224"):
        random_teacher("maxvit_tiny_tf_224", size=100).gap(100)


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_force_makes_an_approximate_map_with_a_class_token_model(name):
    """A constant map would have no gap, so its patch tokens must differ by position."""
    with pytest.raises(TeacherError, match="predicts from its class token"):
        random_teacher(name, size=96).gap(96)
    teacher = random_teacher(name, size=96, force=True)
    logits = teacher.logits_map(torch.randn(1, 3, 96, 96))
    assert logits.shape == (1, 1000, 6, 6)
    assert logits.std(dim=(2, 3)).mean() > 0.1
    found = check(teacher)
    assert not found.exact
    assert found.reason.startswith("forced")
    assert teacher.describe()["forced"] is True


class Tokens(Small):
    """A prefix token before the grid's tokens, and no position embeddings."""

    num_prefix_tokens = 1

    def forward_features(self, x):
        """Tokens (B, 1 + H*W, 8)."""
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1], tokens], dim=1)

    def forward_head(self, x):
        """Scores (B, C)."""
        return self.head(x[:, 1:].mean(dim=1))


def test_an_image_of_one_colour_does_not_look_like_a_class_token_model():
    """Without position embeddings all its tokens are equal, whatever the head reads."""
    teacher = wrap_model(Tokens(), CLASSES, CARD, device="cpu")
    assert teacher.logits_map(torch.ones(1, 3, 32, 32)).shape == (1, 3, 4, 4)
    assert teacher.gap(32) < EXACT_GAP


class Nonlinear(Small):
    """A head that is not linear, on features that hardly differ between positions."""

    def forward_head(self, x):
        """Scores (B, C)."""
        return self.head(x.mean(dim=(2, 3)).square())


def test_the_gap_shows_a_nonlinear_head_even_if_features_hardly_differ():
    model = Nonlinear()
    with torch.no_grad():
        model.conv.weight.mul_(1e-4)
        model.conv.bias.fill_(1)
        model.head.weight.mul_(10)
    assert wrap_model(model, CLASSES, CARD, device="cpu").gap(32) > 100 * EXACT_GAP


def test_lower_precision_is_recorded_and_nearly_equal():
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    lower = load_teacher("efficientnet-lite0", device="cpu", precision="bfloat16")
    assert "precision" not in teacher.describe()
    assert lower.describe() == teacher.describe() | {"precision": "bfloat16"}
    image = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    full, rounded = teacher.logits_map(image), lower.logits_map(image)
    assert rounded.dtype == torch.float32
    assert 0 < (full - rounded).abs().mean() < 0.05 * full.std()
    assert lower.gap(96) == teacher.gap(96)
    assert dataclasses.replace(lower, precision="float32").describe() == teacher.describe()


@pytest.mark.parametrize("name", ["vit_medium_patch16_gap_256", "gmlp_ti16_224", "test_maxvit"])
def test_a_model_built_for_one_size_can_be_built_for_another(name):
    teacher = random_teacher(name, size=96)
    assert teacher.card.size == 96
    assert teacher.gap(96) < EXACT_GAP


@pytest.mark.filterwarnings("ignore::UserWarning")  # from timm, while it resamples
def test_weights_from_a_file_are_fitted_to_another_size(tmp_path):
    """A file contains windows of the native size; timm's function for the model resamples them."""
    model = timm.create_model("test_maxvit")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    (tmp_path / "mine.toml").write_text(
        'model = "test_maxvit"\nclasses = "imagenet-1k"\nsize = 96\nnative_size = 160\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\ninterpolation = 'bicubic'\n"
        '[weights]\nfile = "w.pth"\n'
    )
    teacher = load_teacher(str(tmp_path / "mine.toml"), device="cpu")
    assert teacher.gap(96) < EXACT_GAP
    native = load_teacher(str(tmp_path / "mine.toml"), device="cpu", size=160)
    assert native.gap(160) < EXACT_GAP
    kept = native.model.get_parameter("head.fc.weight")
    assert torch.equal(kept, model.get_parameter("head.fc.weight"))

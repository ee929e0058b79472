"""Teachers from cards: maps agree with the model, and wrong cards and weights are refused."""

from __future__ import annotations

import os
import shutil

import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data
from torchvision.transforms.v2 import functional as VF

from labelkit.errors import ClassListError, DeviceError, TeacherError
from labelkit.hierarchy import read_class_list
from labelkit.teachers import EXACT_GAP, load_teacher, resize_grid
from labelkit.teachers.card import read_card
from labelkit.teachers.loading import compile_features

COMPILER = shutil.which(os.environ.get("CXX", "g++"))
CARD = """
model = "{model}"
classes = "classes.txt"
size = 64
native_size = 64
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bilinear"
"""


@pytest.fixture(scope="module")
def lite0():
    return load_teacher("efficientnet-lite0", device="cpu")


def scramble(model):
    """Random weights and statistics, so that no mistake cancels out."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator) * 0.05
            tensor.add_(noise.abs() if name.endswith(("running_var", "weight")) else noise)
    return model


def write_card(folder, model, suffix):
    """A card with a thousand made-up classes and random weights."""
    torch.manual_seed(0)
    net = scramble(timm.create_model(model))
    if suffix == ".pth":
        torch.save(net.state_dict(), folder / "weights.pth")
    else:
        save_file(net.state_dict(), folder / "weights.safetensors")
    (folder / "classes.txt").write_text("\n".join(f"c{n}" for n in range(1000)))
    path = folder / "mine.toml"
    path.write_text(CARD.format(model=model) + f'[weights]\nfile = "weights{suffix}"\n')
    return str(path)


@pytest.mark.parametrize("size", [224, 320])
def test_the_mean_of_the_map_equals_the_models_logits(lite0, size):
    """With real weights, at the native size and at a larger one."""
    assert lite0.gap(size) < EXACT_GAP
    grid = lite0.logits_map(torch.randn(1, 3, size, size)).shape
    assert grid == (1, 1000, size // 32, size // 32)


@pytest.mark.skipif(not COMPILER, reason="no C++ compiler here")
def test_compiled_features_are_equal_for_batches_of_any_length(tmp_path):
    """One compilation serves all lengths, and the teacher describes itself as the same one."""
    path = write_card(tmp_path, "test_resnet", ".pth")
    plain = load_teacher(path, device="cpu")
    teacher = load_teacher(path, device="cpu", compiled=True)
    assert teacher.gap(64) < EXACT_GAP
    images = torch.randn(5, 3, 64, 64)
    with torch.compiler.set_stance("fail_on_recompile"):
        for count in (5, 1, 2, 4):
            expected, found = (each.logits_map(images[:count]) for each in (plain, teacher))
            assert torch.allclose(found, expected, atol=1e-3 * float(expected.std()))
            assert not torch.equal(found, expected)
    assert teacher.describe() == plain.describe()


class Tiny(torch.nn.Module):
    """The smallest model with features and a head."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)

    def forward_features(self, images):
        """Features (B, 4, H, W)."""
        return self.layer(images) * 2

    def forward_head(self, features):
        """Scores (B, 4)."""
        return features.mean(dim=(2, 3))


def test_without_a_working_compiler_the_error_says_what_to_do(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    features = compile_features(Tiny(), "tiny")
    refused = pytest.raises(TeacherError, match=r"tiny cannot be compiled .*omit --compile")
    with config.patch(force_disable_caches=True), refused:
        features(torch.randn(2, 3, 8, 8))
    assert not config.force_disable_caches  # else later compilations are slow and warn


@pytest.mark.skipif(not COMPILER, reason="no C++ compiler here")
def test_images_that_the_model_does_not_take_raise_the_models_error():
    with pytest.raises(RuntimeError, match="to have 3 channels"):
        compile_features(Tiny(), "tiny")(torch.randn(2, 5, 8, 8))


def test_real_weights_know_a_cat(lite0):
    photo = VF.pil_to_tensor(VF.to_pil_image(data.chelsea()))
    image = VF.resize(photo, [320, 320], antialias=True)[None]
    logits = resize_grid(lite0.logits_map(lite0.normalize(image)), (15, 15))
    assert logits.shape == (1, 1000, 15, 15)
    egyptian_cat = read_class_list("imagenet-1k").index["n02124075"]
    assert int(logits.mean(dim=(2, 3)).argmax()) == egyptian_cat
    assert lite0.classes.index["n02124075"] == egyptian_cat


def test_normalize_uses_the_cards_mean_and_std(lite0):
    image = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 1)[None, :, None, :]
    assert lite0.normalize(image).flatten().tolist() == [-1, 1] * 3


def test_a_misspelled_name_gets_a_suggestion():
    with pytest.raises(TeacherError, match=r"Did you mean .*efficientnet-lite0"):
        load_teacher("efficientnet-lite")
    with pytest.raises(TeacherError, match="resnet50"):
        load_teacher("resnet5O")


def test_a_timm_name_whose_class_list_is_unknown_is_refused_not_guessed():
    with pytest.raises(TeacherError, match=r"class list of .* is not known for certain"):
        load_teacher("convnext_tiny.in12k")


def test_a_class_token_model_is_refused_with_a_suggestion(tmp_path):
    name = "test_vit"
    net = timm.create_model(name)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    (tmp_path / "mine.toml").write_text(
        CARD.format(model=name).replace("classes.txt", "imagenet-1k")
        + '[weights]\nfile = "w.pth"\n'
    )
    teacher = load_teacher(str(tmp_path / "mine.toml"), device="cpu")
    with pytest.raises(TeacherError, match="no spatial grid"):
        teacher.logits_map(torch.zeros(1, 3, 160, 160))


@pytest.mark.parametrize("model", ["resnet18", "regnetx_002", "mobilenetv2_035", "test_resnet"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_users_card_with_a_weight_file_is_exact(tmp_path, model, suffix):
    path = write_card(tmp_path, model, suffix)
    teacher = load_teacher(path, device="cpu")
    assert teacher.classes.name
    assert teacher.gap(96) < EXACT_GAP


def test_a_model_with_features_last_gives_a_grid(tmp_path):
    """Some models have (B, H, W, D) features; the grid must not be read from the wrong axes."""
    teacher = load_teacher(write_card(tmp_path, "test_mambaout", ".safetensors"), device="cpu")
    assert teacher.logits_map(torch.zeros(2, 3, 96, 160)).shape == (2, 1000, 3, 5)


def test_the_gap_shows_a_hidden_layer_after_the_pool(tmp_path):
    teacher = load_teacher(write_card(tmp_path, "test_mambaout", ".pth"), device="cpu")
    assert teacher.gap(96) > EXACT_GAP


def test_a_normalisation_after_the_pool_is_exact(tmp_path):
    teacher = load_teacher(write_card(tmp_path, "test_convnext", ".pth"), device="cpu")
    assert teacher.gap(96) < EXACT_GAP


def test_a_class_list_of_another_length_is_refused(tmp_path):
    path = write_card(tmp_path, "test_resnet", ".pth")
    (tmp_path / "classes.txt").write_text("a\nb\nc")
    with pytest.raises(TeacherError, match=r"do not fit ResNet: .*class list in the card"):
        load_teacher(path)


def test_a_model_that_was_fine_tuned_on_other_classes_is_accepted(tmp_path):
    """The card's class list determines the number of scores."""
    path = write_card(tmp_path, "test_resnet", ".safetensors")
    net = scramble(timm.create_model("test_resnet", num_classes=10))
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "classes.txt").write_text("\n".join(f"c{n}" for n in range(10)))
    teacher = load_teacher(path, device="cpu")
    assert teacher.logits_map(torch.randn(1, 3, 96, 96)).shape[1] == 10


def test_weights_of_another_model_are_refused(tmp_path):
    path = write_card(tmp_path, "test_resnet", ".pth")
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(TeacherError, match="weights of mine do not fit"):
        load_teacher(path)


def test_a_pickle_with_code_is_refused(tmp_path):
    """Weights load as plain tensors only: nothing in the file is executed."""
    path = write_card(tmp_path, "test_resnet", ".pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "weights.pth")
    with pytest.raises(TeacherError, match="cannot be read as plain weights"):
        load_teacher(path)
    for junk in (b"", b"junk", b"PK\x03\x04junk"):
        (tmp_path / "weights.pth").write_bytes(junk)
        with pytest.raises(TeacherError, match="cannot be read as plain weights"):
            load_teacher(path)


def test_damaged_safetensors_are_refused(tmp_path):
    path = write_card(tmp_path, "test_resnet", ".safetensors")
    (tmp_path / "weights.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(TeacherError, match="cannot be read as plain weights"):
        load_teacher(path)


def test_a_layout_that_does_not_fit_the_model_is_refused(tmp_path):
    path = write_card(tmp_path, "test_resnet", ".pth")
    text = (tmp_path / "mine.toml").read_text() + 'layout = "efficientnet-lite-pytorch"\n'
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TeacherError, match="does not have the layout efficientnet-lite-pytorch"):
        load_teacher(path)


def test_a_package_that_is_not_installed_is_named(tmp_path):
    path = write_card(tmp_path, "test_resnet", ".pth")
    text = (tmp_path / "mine.toml").read_text() + 'package = "no_such.package"\n'
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TeacherError, match=r"needs the package no_such\.package"):
        load_teacher(path)


def test_a_card_that_is_not_utf8_text_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TeacherError, match="teacher card"):
        read_card(tmp_path / "mine.toml")
    with pytest.raises(TeacherError, match="teacher card"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = 3", r"Expected `str`, got `int`"),
        ('model = "resnet18"', "missing required field"),
        ("[[[", "teacher card"),
        (CARD.format(model="resnet18") + "sizes = 3", "unknown field `sizes`"),
        (CARD.format(model="resnet18").replace("64", "8"), ">= 16"),
    ],
)
def test_the_error_names_a_cards_wrong_field(tmp_path, text, message):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TeacherError, match=message):
        read_card(tmp_path / "mine.toml")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(TeacherError, match="no such teacher card"):
        load_teacher(str(tmp_path / "none.toml"))
    path = write_card(tmp_path, "test_resnet", ".pth")
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(TeacherError, match=r"no weights at .*weights\.pth"):
        load_teacher(path)


def test_a_missing_class_list_is_named(tmp_path):
    path = write_card(tmp_path, "test_resnet", ".pth")
    (tmp_path / "classes.txt").unlink()
    with pytest.raises((ClassListError, FileNotFoundError), match=r"classes\.txt"):
        load_teacher(path)


def test_an_unknown_device_is_refused():
    for name in ("tpu9", "meta", "cuda:99"):
        with pytest.raises(DeviceError, match=f"torch cannot use the device '{name}'"):
            load_teacher("efficientnet-lite0", device=name)


def test_the_digest_depends_on_the_weights_only(tmp_path, lite0):
    again = load_teacher("efficientnet-lite0", device="cpu")
    assert again.weights_digest == lite0.weights_digest
    one = load_teacher(write_card(tmp_path, "test_resnet", ".pth"), device="cpu")
    two = load_teacher(write_card(tmp_path, "test_resnet", ".safetensors"), device="cpu")
    assert one.weights_digest == two.weights_digest != lite0.weights_digest

"""Teacher weights load as training scripts save them; what is refused says how to save it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from labelkit.errors import TeacherError
from labelkit.teachers import load_teacher
from labelkit.teachers.grid_head import head_map, read_features
from labelkit.teachers.teacher import size_errors

CARD = """
model = "test_resnet"
classes = "classes.txt"
size = 64
native_size = 64
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bilinear"
"""


@pytest.fixture(scope="module")
def model():
    """A model with random weights, statistics included."""
    torch.manual_seed(14)
    net = timm.create_model("test_resnet", num_classes=3)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return net.eval()


def other_weights(model):
    """Weights that must not be taken: all zero."""
    return {name: torch.zeros_like(value) for name, value in model.state_dict().items()}


def prefixed(state, prefix):
    return OrderedDict((prefix + name, value) for name, value in state.items())


def card(folder, weights):
    (folder / "classes.txt").write_text("a\nb\nc")
    (folder / "card.toml").write_text(f"{CARD}[weights]\n{weights}\n")
    return str(folder / "card.toml")


def load(folder, content, name="w.pth"):
    torch.save(content, folder / name)
    return load_teacher(card(folder, f'file = "{name}"'), device="cpu")


FORMS = {
    "DDP": lambda m: prefixed(m.state_dict(), "module."),
    "compiled": lambda m: prefixed(m.state_dict(), "_orig_mod."),
    "DDP of compiled": lambda m: prefixed(m.state_dict(), "module._orig_mod."),
    "Lightning of compiled": lambda m: {
        "state_dict": prefixed(m.state_dict(), "model._orig_mod."),
        "pytorch-lightning_version": "2.5", "loops": {}, "hyper_parameters": {"lr": 0.1},
    },
    "Lightning with a weighted loss": lambda m: {
        "state_dict": {**prefixed(m.state_dict(), "model."), "criterion.weight": torch.ones(3)}
    },
    "compiled blocks": lambda m: {
        name.replace("layer1.", "layer1._orig_mod."): value
        for name, value in m.state_dict().items()
    },
    "timm with EMA": lambda m: {
        "arch": "test_resnet", "epoch": 9, "metric": np.float64(81.5),
        "args": Namespace(lr=0.1, output=None), "state_dict": other_weights(m),
        "state_dict_ema": m.state_dict(),
    },
    "torchvision's references with EMA": lambda m: {
        "model": other_weights(m), "model_ema": AveragedModel(m).state_dict(), "args": Namespace(),
    },
    "the tutorial": lambda m: {"epoch": 3, "model_state_dict": m.state_dict(), "loss": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["w.pth.tar", "last.ckpt"])
def test_weights_load_as_trainers_save_them(tmp_path, model, form, name):
    teacher = load(tmp_path, FORMS[form](model), name)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(teacher.logits(image), model(image), atol=1e-5)


def test_a_lightning_checkpoint_loads(tmp_path, model):
    """As Lightning's own ``save_checkpoint`` writes it."""
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.save_hyperparameters({"lr": 0.1, "best": np.float32(3)})
            self.model = model

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu"
    )
    trainer.strategy.connect(Module())
    trainer.save_checkpoint(tmp_path / "w.ckpt")
    assert load_teacher(card(tmp_path, 'file = "w.ckpt"'), device="cpu")


def test_safetensors_load_whatever_their_name(tmp_path, model):
    for name in ("W.SAFETENSORS", "w.pth"):
        save_file(prefixed(model.state_dict(), "module."), tmp_path / name)
        assert load_teacher(card(tmp_path, f'file = "{name}"'), device="cpu")


class Config:
    """A type of the user's own program."""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"state_dict": {}, "cfg": Config()}, r"contains tests\.teachers\.test_weights\.Config"),
        ({"output": Path()}, r"contains pathlib\.PosixPath"),
        (torch.nn.Linear(2, 2), r"contains torch\.nn\.modules\.linear\.Linear"),
        ({"epoch": 3, "weights": {"a": 1}}, "a dict of epoch, weights"),
        ([1, 2], "it holds a list"),
    ],
)
def test_a_refusal_names_the_type_and_the_line_that_saves_weights(tmp_path, content, reason):
    with pytest.raises(TeacherError, match=reason) as caught:
        load(tmp_path, content)
    assert str(caught.value).endswith('torch.save(model.state_dict(), "weights.pth")')


def test_keys_are_summarised(tmp_path, model):
    state = model.state_dict()
    with pytest.raises(TeacherError, match=rf"all {len(state)} keys start with `student.`"):
        load(tmp_path, prefixed(state, "student."))
    some = {**state, "extra.weight": torch.ones(1)}
    del some["conv1.0.weight"]
    with pytest.raises(TeacherError, match=r"1 key missing \(conv1.0.weight\); 1 unexp"):
        load(tmp_path, some)
    wide = {**state, "fc.weight": torch.ones(5, 64), "fc.bias": torch.ones(5)}
    with pytest.raises(TeacherError, match=r"fc\.weight has shape \[5, 64\], expected \[3, "):
        load(tmp_path, wide)
    resnet18 = timm.create_model("resnet18").state_dict()
    with pytest.raises(TeacherError, match=r"and [0-9]+ more") as caught:
        load(tmp_path, resnet18)
    assert len(str(caught.value)) < 500


def test_one_flipped_bit_in_a_weight_is_refused(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    weight = model.state_dict()["fc.weight"].numpy().tobytes()
    content[content.find(weight) + 3] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(TeacherError, match="cannot be read as plain weights: it is damaged"):
        load_teacher(card(tmp_path, 'file = "w.pth"'), device="cpu")


@pytest.mark.parametrize("package", ["this", "this.x", "evil", "evil.inner", "torch.nn", "../evil"])
def test_only_an_installed_distributions_top_level_package_is_looked_up(
    tmp_path, monkeypatch, package
):
    """Finding a package must not import one: ``this`` prints, ``evil`` leaves a file behind."""
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    path = card(tmp_path, f'file = "w.pth"\npackage = "{package}"')
    with pytest.raises(TeacherError, match="which no installed distribution has at its top level"):
        load_teacher(path, device="cpu")
    assert "this" not in sys.modules
    assert not (tmp_path / "ran").exists()


def test_an_installed_package_is_found_without_importing_it(tmp_path):
    """Lightning's folder, found by its import name."""
    with pytest.raises(TeacherError, match=r"no weights at .*/lightning/none\.pth"):
        load_teacher(card(tmp_path, 'file = "none.pth"\npackage = "lightning"'), device="cpu")


def test_too_little_memory_is_called_that(tmp_path, model):
    """Neither the size nor the head is to blame; torch's own error for an exabyte."""
    teacher = load(tmp_path, model.state_dict())
    with (
        pytest.raises(TeacherError, match="not enough memory for images of 64x64 pixels"),
        size_errors(teacher.card, 64),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize(
    "failure",
    [
        lambda: torch.empty(1 << 60, dtype=torch.uint8),
        lambda: (_ for _ in ()).throw(RuntimeError("DataLoader worker (pid 7) is killed by ...")),
    ],
    ids=["no memory", "a killed worker"],
)
def test_a_head_is_not_blamed_for_the_machine(model, failure):
    """Torch raises for a killed worker wherever the main process happens to be."""
    features = read_features(torch.randn(1, 64, 2, 2), model, (64, 64), "test_resnet")
    with pytest.raises(RuntimeError, match=r"memory|killed"):
        head_map(model, lambda _: next(iter(failure())), features.vectors, features, forced=False)

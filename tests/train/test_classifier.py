"""A classifier is loaded from what a run left, or refused with what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from labelkit.errors import LabelkitError, TrainingError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.train import evaluate_folder, load_classifier, predict_folder, read_recipe, train
from tests.train.support import recipe_text, save_tree

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A run on a tree, whose file is ``tree.json`` beside it."""
    root = tmp_path_factory.mktemp("run")
    labels = f'kind = "semantic-softmax"\ntree = "{save_tree(root / "tree.json")}"'
    (root / "r.toml").write_text(recipe_text(photos, labels, epochs=1))
    train(read_recipe(root / "r.toml", [f"run.output={root / 'run'}"]))
    return root / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def changed(
    path: Path, change: Callable[[dict[str, str], dict[str, torch.Tensor]], object]
) -> None:
    """Write a run's exported weights again, with other metadata or weights."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no dict
    change(metadata, weights)
    save_file(weights, path, metadata)


def test_a_folder_its_files_and_exported_weights_alone_give_one_model(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    """Loading leaves torch's random state as it was."""
    shutil.copy(run / "best.safetensors", tmp_path / "alone.safetensors")
    state = torch.random.get_rng_state()
    sources = (run, run / "best.safetensors", run / "last.pt", tmp_path / "alone.safetensors")
    loaded = [load_classifier(source, device="cpu") for source in sources]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {str(each).split(", ")[1] for each in loaded} == {"epoch 1"}
    first, *others = [list(predict_folder(each, photos / "val")) for each in loaded]
    assert all(each == first for each in others)


def test_a_folder_without_exported_weights_gives_the_last_epoch(copy: Path) -> None:
    (copy / "best.safetensors").unlink()
    assert str(load_classifier(copy, device="cpu")) == f"{copy / 'last.pt'}, epoch 1"


def test_a_tree_that_is_gone_can_be_passed(copy: Path, run: Path, photos: Path) -> None:
    path = copy / "best.safetensors"
    changed(
        path,
        lambda metadata, _: metadata.update(
            recipe=metadata["recipe"].replace(str(run.parent / "tree.json"), "gone.json")
        ),
    )
    with pytest.raises(TrainingError, match=r"tree 'gone\.json', which is not there .* --tree"):
        load_classifier(path, device="cpu")
    tree = SemanticTree.load(run.parent / "tree.json")
    found = evaluate_folder(load_classifier(path, device="cpu", tree=tree), photos / "val")
    assert found.metrics == evaluate_folder(load_classifier(run), photos / "val").metrics


@pytest.mark.parametrize("file", ["best.safetensors", "last.pt"])
def test_a_tree_that_has_changed_is_refused(run: Path, file: str) -> None:
    """The classes are the same, in the same order, but not the parents."""
    path = run.parent / "tree.json"
    before = path.read_bytes()
    classes = SemanticTree.load(path).classes
    edges = [("apple", "thing"), ("leaf", "nothing"), ("sky", "nothing")]
    try:
        SemanticTree.build(classes, Taxonomy.from_edges(edges)).save(path)
        with pytest.raises(TrainingError, match="is not the tree that"):
            load_classifier(run / file, device="cpu")
    finally:
        path.write_bytes(before)


def test_weights_that_are_not_finite_are_refused(copy: Path) -> None:
    path = copy / "best.safetensors"
    changed(path, lambda _, weights: weights["fc.bias"].fill_(torch.nan))
    with pytest.raises(TrainingError, match=r"are not finite \(fc\.bias\)"):
        load_classifier(path, device="cpu")


def test_logits_that_are_not_finite_name_the_images(copy: Path, photos: Path) -> None:
    """Finite weights that overflow."""
    path = copy / "best.safetensors"
    changed(path, lambda _, weights: weights["fc.weight"].fill_(3e38))
    classifier = load_classifier(path, device="cpu")
    with pytest.raises(TrainingError, match=r"not finite for apple/000\.png"):
        evaluate_folder(classifier, photos / "val")
    with pytest.raises(TrainingError, match=r"not finite for apple/000\.png"):
        list(predict_folder(classifier, photos / "val"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, _: m.pop("classes"), "metadata lacks classes"),
        (lambda m, _: m.update(classes='["a"]'), "class list does not match its digest"),
        (lambda m, _: m.update(classes='["a", 1]'), "another version of labelkit, or damaged"),
        (lambda m, _: m.update(recipe="{}"), "another version of labelkit, or damaged"),
        (lambda m, _: m.update(epoch="one"), "another version of labelkit, or damaged"),
        (lambda _, w: w.pop("fc.bias"), r"do not fit test_resnet.*Missing.*fc\.bias"),
        (lambda _, w: w.update(more=torch.ones(1)), "do not fit test_resnet.*Unexpected.*more"),
    ],
)
def test_exported_weights_that_were_changed_are_refused(
    copy: Path, change: Callable[[dict[str, str], dict[str, torch.Tensor]], object], message: str
) -> None:
    changed(copy / "best.safetensors", change)
    with pytest.raises(TrainingError, match=message):
        load_classifier(copy, device="cpu")


@pytest.mark.parametrize("file", ["best.safetensors", "last.pt"])
def test_a_damaged_file_is_refused_with_what_to_pass(copy: Path, file: str) -> None:
    content = (copy / file).read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:20] + b"\xff" * 40 + content[60:]):
        (copy / file).write_bytes(damaged)
        with pytest.raises(TrainingError) as error:
            load_classifier(copy / file, device="cpu")
        assert "start again" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no such file, folder or model"),
        (".", r"no best\.safetensors and no last\.pt"),
        ("r.toml", r"teacher card .*r\.toml.*expected the folder of a labelkit train run"),
        ("log.jsonl", r"log.jsonl is not a PyTorch file.*Pass last\.pt"),
    ],
)
def test_something_else_is_refused_with_what_is_expected(
    run: Path, tmp_path: Path, name: str, message: str
) -> None:
    shutil.copy(run.parent / "r.toml", tmp_path)
    shutil.copy(run / "log.jsonl", tmp_path)
    with pytest.raises((LabelkitError, FileNotFoundError), match=message):
        load_classifier(tmp_path / name, device="cpu")


def test_the_student_s_own_weights_are_used_not_timm_s(tmp_path: Path, photos: Path) -> None:
    """A recipe with ``pretrained`` loads without a network, too."""
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=1))
    train(read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"]))
    path = tmp_path / "run" / "best.safetensors"
    before = list(predict_folder(load_classifier(path, device="cpu"), photos / "val"))
    changed(
        path,
        lambda metadata, _: metadata.update(
            recipe=metadata["recipe"].replace('"pretrained":false', '"pretrained":true')
        ),
    )
    assert list(predict_folder(load_classifier(path, device="cpu"), photos / "val")) == before


def test_a_teacher_is_a_classifier_of_its_class_list(photos: Path) -> None:
    """EfficientNet-Lite0's published preprocessing: 256 px, then the centre 224."""
    from labelkit.teachers import load_teacher

    classifier = load_classifier("efficientnet-lite0", device="cpu")
    assert len(classifier.classes) == 1000
    image = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
    pixels = classifier.transform(image)
    assert pixels.shape == (3, 224, 224)
    assert classifier.transform.transforms[1].size == [256]
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    expected = teacher.logits(pixels[None])
    assert torch.allclose(classifier.logits(pixels[None], ["a"]), expected, atol=1e-4)
    with pytest.raises(LabelkitError, match="apple, leaf, sky"):
        evaluate_folder(classifier, photos / "val")


def test_a_run_s_class_list_gives_the_indices(run: Path) -> None:
    classifier = load_classifier(run, device="cpu")
    assert classifier.classes == ClassList.of(["thing", "sky", "nothing", "leaf", "apple"])

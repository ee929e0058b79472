"""Features on the disk: what they are, and that an interruption changes nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labelkit.clusters import FeatureFile, FeatureModel, load_feature_model, make_features
from labelkit.errors import DatasetError, TeacherError
from labelkit.sources import open_source
from tests.clusters import support
from tests.clusters.support import use_small_chunks, write_card
from tests.train.support import draw_folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen images of three colours, and a card."""
    root = tmp_path_factory.mktemp("features")
    draw_folders(root, train=5, val=1)
    write_card(root / "card")
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> FeatureModel:
    return load_feature_model(folder / "card" / "tiny.toml", device="cpu")


@pytest.fixture
def small_chunks():
    before = support.labelkit.clusters.feature_file.CHUNK
    use_small_chunks(4)
    yield
    use_small_chunks(before)


def test_features_are_what_the_classifier_sees(folder: Path, model: FeatureModel, tmp_path: Path):
    """Caught at the input of the last layer, one image at a time, in an ordinary forward pass."""
    images = folder / "train"
    file = make_features(images, model, tmp_path / "f", precision="float32", batch_size=4)
    seen: list[torch.Tensor] = []
    hook = model.model.get_classifier().register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0][0])
    )
    for key in open_source(images).keys:
        image = model.transform(Image.open(images / key).convert("RGB"))
        with torch.no_grad():
            model.model(image[None])
    hook.remove()
    expected = torch.stack(seen).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(file.rows(), expected, atol=1e-5)


def test_half_precision_rounds_and_takes_half_the_disk(
    folder: Path, model: FeatureModel, tmp_path: Path
):
    full = make_features(folder / "train", model, tmp_path / "full", precision="float32")
    half = make_features(folder / "train", model, tmp_path / "half")
    np.testing.assert_array_equal(half.rows(), full.rows().astype(np.float16))
    sizes = [(tmp_path / name / "features.bin").stat().st_size for name in ("half", "full")]
    assert sizes == [15 * model.length * 2, 15 * model.length * 4]


@pytest.mark.usefixtures("small_chunks")
def test_a_killed_run_goes_on_where_it_was(folder: Path, model: FeatureModel, tmp_path: Path):
    images, card = folder / "train", folder / "card" / "tiny.toml"
    command = [sys.executable, "-m", "tests.clusters.support", str(images), str(card)]
    run = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=Path(__file__).parents[2])
    state = tmp_path / "killed" / "features.json"
    for _ in range(600):
        if state.exists() and state.read_text().count('"', state.read_text().find("chunks")) >= 6:
            break
        time.sleep(0.1)
    run.kill()
    run.wait()
    rows = tmp_path / "killed" / "features.bin"
    assert rows.stat().st_size == 8 * model.length * 2
    with rows.open("ab") as file:
        file.write(b"torn")  # a chunk that was being written
    calls: list[int] = []
    resumed = make_features(
        images, model, tmp_path / "killed", batch_size=2, on_progress=lambda n, _: calls.append(n)
    )
    assert calls == [8, 12, 15]  # what is kept comes first, so that rates do not count it
    whole = make_features(images, model, tmp_path / "whole", batch_size=2)
    assert resumed.digest == whole.digest
    assert rows.read_bytes() == (tmp_path / "whole" / "features.bin").read_bytes()


@pytest.mark.usefixtures("small_chunks")
def test_unreadable_images_are_recorded_and_left_out(model: FeatureModel, tmp_path: Path):
    images = draw_folders(tmp_path / "data", train=3, val=1) / "train"
    for key in ("apple/000.png", "sky/002.png"):
        (images / key).write_bytes(b"not an image")
    file = make_features(images, model, tmp_path / "f", batch_size=4)
    assert sorted(file.state.unreadable) == ["apple/000.png", "sky/002.png"]
    keys = open_source(images).keys
    rows = file.readable_rows(keys)
    assert [keys[at] for at in rows.positions] == [
        k for k in keys if k not in file.state.unreadable
    ]
    assert not file.rows()[0].any()
    np.testing.assert_array_equal(rows[0:3], file.rows()[1:4])


def test_all_images_unreadable_is_an_error(model: FeatureModel, tmp_path: Path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"none of the images can be read, such as a/1\.png"):
        make_features(tmp_path / "data", model, tmp_path / "f")


@pytest.fixture
def made(folder: Path, model: FeatureModel, tmp_path: Path) -> FeatureFile:
    return make_features(folder / "train", model, tmp_path / "f")


def test_another_model(folder: Path, made: FeatureFile, tmp_path: Path):
    other = load_feature_model(write_card(tmp_path / "card", seed=1), device="cpu")
    with pytest.raises(DatasetError, match="features of another model or preprocessing"):
        make_features(folder / "train", other, made.folder)


def test_other_images(folder: Path, model: FeatureModel, made: FeatureFile):
    with pytest.raises(DatasetError, match="features of another number of images: 15, not 3"):
        make_features(folder / "val", model, made.folder)


def test_another_precision(folder: Path, model: FeatureModel, made: FeatureFile):
    with pytest.raises(DatasetError, match="in another precision: float16, not float32"):
        make_features(folder / "train", model, made.folder, precision="float32")


def test_damaged_rows(folder: Path, model: FeatureModel, made: FeatureFile):
    path = made.folder / "features.bin"
    content = bytearray(path.read_bytes())
    content[77] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match="is damaged in rows 0 to 15"):
        make_features(folder / "train", model, made.folder)


def test_a_folder_of_other_files(folder: Path, model: FeatureModel):
    with pytest.raises(DatasetError, match="holds other files"):
        make_features(folder / "train", model, folder / "train")


def test_a_batch_size_must_divide_a_chunk(folder: Path, model: FeatureModel, tmp_path: Path):
    with pytest.raises(ValueError, match="expected a divisor of 1024"):
        make_features(folder / "train", model, tmp_path / "f", batch_size=48)


def test_features_too_large_for_half_precision_are_refused(model: FeatureModel, tmp_path: Path):
    file = make_features(draw_folders(tmp_path / "d", train=1, val=1), model, tmp_path / "f")
    with pytest.raises(DatasetError, match="not finite in float16: pass --float32"):
        file.append(np.full((1, model.length), 1e6, np.float32), {})


def test_a_timm_model_needs_no_class_list():
    """As self-supervised models, which have no classifier; here with random weights."""
    from labelkit.clusters.feature_model import timm_feature_model

    vit = timm_feature_model("test_vit", pretrained=False, device="cpu")
    assert vit.features(torch.zeros(2, 3, vit.size, vit.size)).shape == (2, vit.length)
    with pytest.raises(TeacherError, match="timm cannot build test_vit"):
        timm_feature_model("test_vit.no_such_tag", device="cpu")

"""A manifest as a source of images: its keys and labels, over images of any kind."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import pytest

from labelkit.errors import DatasetError
from labelkit.manifests import ImageManifest
from labelkit.sources import open_source
from tests.command import labelkit
from tests.subsets.support import draw


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a tar of five images, and a manifest of three over each."""
    monkeypatch.chdir(tmp_path)
    draw(Path("images"), {"cat": 3, "dog": 2})
    with tarfile.open("images.tar", "w") as tar:
        for path in sorted(Path("images").rglob("*.png"), reverse=True):
            tar.add(path, path.relative_to("images"))
    for name in ("images", "images.tar"):
        images = open_source(name)
        keys = tuple(key for key in images.keys if "000" not in key)
        manifest = ImageManifest(Path(name), ("x", "y"), keys, ((1,), (0, 1), (0,)))
        manifest.save(f"{name}.json")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_keys_labels_and_files_are_those_of_the_manifest():
    source = open_source("images.json")
    assert source.keys == [key for key in open_source("images").keys if "000" not in key]
    assert source.labels is not None
    assert (source.labels.classes, source.labels.numbers) == (["x", "y"], [1, 0, 0])
    assert source.file("cat/001.png") == Path.cwd() / "images" / "cat" / "001.png"
    assert source.find("cat\\001.png") == "cat/001.png"
    assert source.find("cat/000.png") is None
    with pytest.raises(FileNotFoundError, match="does not name an image"):
        source.file("cat/000.png")
    assert pickle.loads(pickle.dumps(source)).keys == source.keys  # noqa: S301


@pytest.mark.usefixtures("folder")
def test_images_may_be_in_a_tar():
    source = open_source("images.tar.json")
    assert sorted(source.in_storage_order()) == source.keys
    assert len(source.keys) == 3
    assert source.file("dog/001.png").read() == Path("images/dog/001.png").read_bytes()
    run = labelkit("subset", "images.tar", "--per-class", "1", "-o", "few.json")
    assert run.code == 0, run.err
    assert len(open_source("few.json").keys) == 2


@pytest.mark.usefixtures("folder")
def test_images_that_are_gone_are_named():
    Path("images/cat/001.png").unlink()
    with pytest.raises(DatasetError, match=r"names 1 images .* does not have: cat/001.png"):
        open_source("images.json")
    Path("images").rename("elsewhere")
    with pytest.raises(DatasetError, match=r"which is not there\. Correct the path"):
        open_source("images.json")


@pytest.mark.usefixtures("folder")
def test_a_manifest_has_no_columns():
    from labelkit.sources import Columns

    with pytest.raises(DatasetError, match="has no columns"):
        open_source("images.json", Columns(key="name"))

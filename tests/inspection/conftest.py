"""A label-map file by the real writer and a tree by the real builder, both with known content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, definitions, read_class_list
from labelkit.inspection import write_tree_page
from labelkit.label_maps import LabelMap, LabelMaps, LabelMapWriter, MapForm
from tests.inspection.browser import BINARY, Browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLASSES = ClassList.of(["n02123045", "n02084071", "n03147509", "plain_thing", "other"], "five")
KEYS = ["a/cat.jpg", "a/dog.jpg", "b/cup one.jpg"]
GRID = (4, 6)
FORM = MapForm(top_k=2, grid=GRID)
SOURCE = {"teacher": {"name": "test-teacher", "mean": [0.5, 0.5, 0.5]}, "size": 96}


def left_half(strong: int, weak: int, background: int = 4) -> LabelMap:
    """``strong`` with logit 12 in the left half of the grid; no certain class in the right half."""
    index = np.zeros((2, *GRID), np.uint16)
    score = np.zeros((2, *GRID), np.float32)
    index[0], index[1] = strong, weak
    score[0], score[1] = 12.0, 2.0
    index[0, :, 3:], index[1, :, 3:] = background, strong
    score[0, :, 3:], score[1, :, 3:] = -20.0, -25.0
    return LabelMap(index, score)


def together(rows: list[LabelMap]) -> LabelMaps:
    """Several maps as one batch."""
    return LabelMaps(np.stack([row.index for row in rows]), np.stack([row.score for row in rows]))


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows (a tabby, a dog, a cup, each on the left) and one unreadable image."""
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    keys = [*KEYS, "b/torn.jpg"]
    writer = LabelMapWriter(
        path, classes=CLASSES, keys=keys, forms=[FORM], source=SOURCE, shard_rows=10
    )
    rows = [left_half(0, 1), left_half(1, 0), left_half(2, 3)]
    writer.commit(writer.shards[0], [together(rows)], {"b/torn.jpg": "truncated file"})
    writer.finalize().close()
    return path


@pytest.fixture(scope="session")
def tree_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two roots: animal > (cat > (tabby cat, crane), crane), and thing."""
    edges = {"thing": None, "cat": "animal", "tabby": "cat", "c1": "cat", "c2": "animal"}
    names = {"tabby": "tabby_cat", "c1": "crane", "c2": "crane"}
    taxonomy = Taxonomy.from_parents(edges, names=names, title="house")
    classes = ClassList.of(["thing", "animal", "cat", "tabby", "c1", "c2"], "six")
    path = tmp_path_factory.mktemp("tree") / "tree.json"
    SemanticTree.build(classes, taxonomy).save(path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of ``maps``: noise with the grid's aspect ratio."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    for key in KEYS:
        (folder / key).parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(folder / key)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if BINARY is None:
        pytest.skip("no chromium, google-chrome or chrome in PATH: cannot show the page")
    with Browser.start(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="session")
def imagenet() -> SemanticTree:
    return SemanticTree.build(read_class_list("imagenet-22k"), Taxonomy.wordnet())


@pytest.fixture(scope="session")
def imagenet_page(imagenet, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "tree.html"
    write_tree_page(path, imagenet, definitions(imagenet.classes))
    return path

"""The same photos in every kind of source."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

from PIL import Image
from skimage import data

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PHOTOS = {
    "animals/cat.jpg": data.chelsea,
    "animals/grey.png": data.camera,
    "things/coffee.png": data.coffee,
    "things/rocket.jpg": data.rocket,
}
KEYS = list(PHOTOS)
NUMBERS = {"animals": 1, "things": 0}


def draw_photos(root: Path) -> Path:
    """Four small photos in two class folders."""
    for key, pixels in PHOTOS.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels()).resize((64, 48)).save(root / key)
    return root


def pack(tar: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar of these members."""
    with tarfile.open(tar, "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return tar


def packed(members: Iterable[tuple[str, bytes]]) -> bytes:
    """The same as bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_tar(photos: Path, to: Path) -> str:
    """As ``tar -cf`` writes it."""
    with tarfile.open(to / "photos.tar", "w") as file:
        file.add(photos, ".")
    return str(to / "photos.tar")


def make_nested(photos: Path, to: Path) -> str:
    """One tar for each class inside a tar, as ImageNet comes."""
    inner = [
        (f"{folder}.tar", packed((key.split("/")[1], (photos / key).read_bytes()) for key in keys))
        for folder, keys in (("animals", KEYS[:2]), ("things", KEYS[2:]))
    ]
    return str(pack(to / "nested.tar", inner))


def make_shards(photos: Path, to: Path) -> str:
    """Two shards as webdataset's own writer makes them, with the class beside each image."""
    import webdataset

    folder = to / "shards"
    folder.mkdir()
    with webdataset.ShardWriter(f"{folder}/s-%03d.tar", maxcount=2, verbose=0) as sink:
        for key in KEYS:
            stem, _, ending = key.rpartition(".")
            content = (photos / key).read_bytes()
            label = NUMBERS[key.split("/")[0]]
            sink.write({"__key__": stem, ending: content, "cls": label})
    return f"{folder}/s-{{000..001}}.tar"


def make_saved(photos: Path, to: Path) -> str:
    """As Hugging Face's ``save_to_disk`` writes it."""
    _hugging_face(photos).save_to_disk(to / "saved", num_shards=2)
    return str(to / "saved")


def make_parquet(photos: Path, to: Path) -> str:
    """Two files with small row groups, as on Hugging Face's hub."""
    dataset = _hugging_face(photos)
    (to / "parquet").mkdir()
    for number in range(2):
        part = dataset.shard(2, number, contiguous=True)
        part.to_parquet(to / "parquet" / f"train-{number:05}-of-00002.parquet", batch_size=1)
    return str(to / "parquet")


def make_list(photos: Path, to: Path) -> str:
    """A table of paths."""
    rows = [f"{photos}/{key},{key},{key.split('/')[0]}" for key in reversed(KEYS)]
    (to / "list.csv").write_text("\n".join(["path,key,label", *rows, ""]))
    return str(to / "list.csv")


def make_plain_list(photos: Path, to: Path) -> str:
    """One path a line, in the folder that they start from."""
    del to
    (photos / "photos.txt").write_text("\n".join(KEYS))
    return str(photos / "photos.txt")


def make_parquet_list(photos: Path, to: Path) -> str:
    """Paths in a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = [str(photos / key) for key in KEYS]
    pq.write_table(pa.table({"file": paths, "key": KEYS}), to / "paths.parquet")
    return str(to / "paths.parquet")


KINDS = {
    "tar": make_tar,
    "nested": make_nested,
    "shards": make_shards,
    "saved": make_saved,
    "parquet": make_parquet,
    "list": make_list,
    "plain list": make_plain_list,
    "parquet list": make_parquet_list,
}
WITH_KEY_COLUMN = {"saved", "parquet", "list", "parquet list"}


def _hugging_face(photos: Path):
    from datasets import ClassLabel, Dataset, Features, Image as Pictures, Value

    features = Features(
        {
            "key": Value("string"),
            "image": Pictures(),
            "label": ClassLabel(names=["things", "animals"]),
        }
    )
    rows = [
        {
            "key": key,
            "image": {"bytes": (photos / key).read_bytes(), "path": key.split("/")[1]},
            "label": NUMBERS[key.split("/")[0]],
        }
        for key in KEYS
    ]
    return Dataset.from_list(rows, features=features)


def described(content: object) -> bytes:
    """JSON, as beside the images of a WebDataset."""
    return json.dumps(content).encode()

"""Make the golden files that show calibrations and *other*, and the targets of all golden files.

    python -m tests.label_maps.make_golden FOLDER

How the files of ``label_maps/golden`` were made. They are frozen: this makes them again elsewhere.
What is expected of them comes from the reader in ``docs/label-map-files.md``, from torchvision's
RoIAlign and from ``tests/oracles/calibration.py``, none of which knows labelkit's own reader or
pooling.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np
import torch
from scipy.special import softmax

from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import (
    Background,
    Calibration,
    LabelMapFile,
    LabelMaps,
    LabelMapWriter,
    MapForm,
)
from tests.label_maps.support.page_reader import page_reader
from tests.oracles.calibration import calibrated_logits
from tests.oracles.pooling import roi_align_means

GOLDEN = Path(__file__).parents[2] / "label_maps" / "golden"
KEYS = ["a/1.jpg", "a/é.png", "b/日本.webp"]
CLASSES = ClassList.of([*(f"n{n:08d}" for n in range(299)), "é 299"], "golden")
BOXES = [
    CropBox(0.0, 0.0, 1.0, 1.0),
    CropBox(0.11, 0.2, 0.72, 0.93),
    CropBox(0.31, 0.42, 0.38, 0.47),
    CropBox(0.05, 0.55, 0.93, 0.83),
    CropBox(0.62, 0.07, 0.99, 0.41),
]
FACTS = {"images": 64, "crops": 4, "seed": 7, "divergence": (0.566, 0.359)}
IMAGE = MapForm(selection="image", top_k=4, grid=(4, 5), background=12, patterns=1, zoom=1.0)
CELL = MapForm(top_k=3, grid=(3, 4), background=5, zoom=1.0)
FINE = MapForm(selection="image", top_k=3, grid=(5, 6), scores="float16", zoom=2.0)
SURE = MapForm(top_k=3, grid=(3, 4), background=5, log_sum_exp=True, zoom=1.0)

FILES: dict[str, tuple[tuple[MapForm, ...], bool, Calibration | None]] = {
    "calibrated": (
        (IMAGE,),
        False,
        Calibration(scale=(0.512, 0.31), compression=0.8, mixing=((0, 0),), classes=300, **FACTS),
    ),
    "calibrated-two-forms": (
        (CELL, FINE),
        False,
        Calibration(
            scale=(-0.25, 0.125), compression=0.5, mixing=((0, 0), (0.4, -2.5)), classes=300
        ),
    ),
    "other-image": (
        (IMAGE,),
        True,
        Calibration(scale=(1.5, -0.2), compression=1.0, mixing=((0, 0),), classes=301, **FACTS),
    ),
    "other-cell": ((SURE,), True, None),
}


def random_maps(rng: np.random.Generator, form: MapForm, *, other: bool) -> LabelMaps:
    """The maps of all keys."""
    outputs, count = len(CLASSES) + other, len(KEYS)
    cells = form.grid if form.selection == "cell" else ()
    chosen = np.stack([rng.permutation(outputs - 1) for _ in range(count)])
    index = np.sort(chosen[:, : form.top_k], axis=1)
    score = rng.normal(3, 4, (count, form.top_k, *form.grid)).astype(np.float32)
    if other:
        index[:, -1] = outputs - 1
    if cells:
        sorted_entries = form.top_k - other
        index = np.broadcast_to(index[:, :, None, None], (count, form.top_k, *cells)).copy()
        index[:, :sorted_entries] = rng.permuted(index[:, :sorted_entries], axis=1)
        score[:, :sorted_entries] = -np.sort(-score[:, :sorted_entries], axis=1)
    background = None
    if form.background:
        classes = np.sort(chosen[:, form.top_k : form.top_k + form.background], axis=1)
        shared = (count, form.patterns)
        background = Background(
            classes,
            rng.normal(-1, 2, classes.shape).astype(np.float32),
            rng.normal(-3, 1, count).astype(np.float32),
            rng.normal(0, 1, (*shared, form.background)).astype(np.float32) if shared[1] else None,
            rng.normal(0, 1, (*shared, *form.grid)).astype(np.float32) if shared[1] else None,
        )
    lse = rng.normal(9, 1, (count, *form.grid)).astype(np.float32) if form.log_sum_exp else None
    return LabelMaps(index, score, background, lse)


def write(folder: Path, name: str, seed: int) -> LabelMapFile:
    """One golden file."""
    forms, other, calibration = FILES[name]
    writer = LabelMapWriter(
        folder / f"{name}.h5",
        classes=CLASSES,
        keys=[*KEYS, "torn.jpg"],
        forms=forms,
        source={"teacher": {"name": "none"}},
        made_with={"labelkit": "0.1.0"},
        other=other,
    )
    rng = np.random.default_rng(seed)
    maps = [random_maps(rng, form, other=other) for form in forms]
    (shard,) = writer.pending()
    writer.commit(shard, maps, {"torn.jpg": "cut off"})
    return writer.finalize(calibration)


def arrays_of(file: LabelMapFile) -> dict[str, np.ndarray]:
    """Every array of every map, named row.form.part."""
    found = {}
    for row, key in enumerate(KEYS):
        for form, label_map in enumerate(file.maps(key)):
            parts = asdict(label_map)
            del parts["calibration"]
            background = parts.pop("background") or {}
            parts |= {f"background.{name}": part for name, part in background.items()}
            found |= {f"{row}.{form}.{name}": part for name, part in parts.items()}
    return {name: np.asarray(part) for name, part in found.items() if part is not None}


def digest_of(file: LabelMapFile) -> str:
    """The file's digest, as SPEC.md describes it."""
    header = file.header
    digest = hashlib.sha256((header.classes_digest + header.content).encode())
    digest.update(b"other" if header.other else b"")
    if file.calibration:
        (a, b), k = file.calibration.scale, file.calibration.compression
        digest.update(np.array([a, b, k, *sum(file.calibration.mixing, ())], "<f8").tobytes())
    return digest.hexdigest()


def targets_of(path: Path, calibration: Calibration | None) -> np.ndarray:
    """The target of every key and box (3, 5, O), without labelkit's reader and pooling."""
    read = page_reader()
    targets = []
    for key in KEYS:
        maps = [torch.from_numpy(logits) for logits, _ in read(path, key)]
        for box in BOXES:
            means = [roi_align_means(each, box)[:, 0, 0].numpy() for each in maps]
            logits = calibrated_logits(means, box, calibration) if calibration else means[0]
            targets.append(softmax(logits.astype(np.float64)))
    return np.array(targets, np.float32).reshape(len(KEYS), len(BOXES), -1)


def main(folder: Path) -> None:
    """Make all files; nothing is overwritten."""
    expected, targets = {}, {}
    for seed, name in enumerate(FILES):
        with write(folder, name, seed) as file:
            np.savez_compressed(folder / f"{name}.npz", **arrays_of(file))
            expected[name] = {
                "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(),
                "digest": digest_of(file),
                "forms": msgspec.to_builtins(file.forms),
            }
            targets[name] = targets_of(file.path, file.calibration)
    for path in sorted(GOLDEN.glob("*.h5")):
        with LabelMapFile.open(path) as file:
            if path.stem not in FILES and len(file.forms) == 1:
                targets[path.stem] = targets_of(path, None)
    with (folder / "expected.json").open("x", encoding="utf-8") as output:
        output.write(json.dumps(expected, indent=1) + "\n")
    np.savez_compressed(folder / "targets.npz", **targets)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

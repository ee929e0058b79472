"""A data set that yields, for every random crop, the soft target of just that crop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from labelkit.data.crop_tracking import require_trackable, track_crop
from labelkit.errors import DatasetError, LabelMapError
from labelkit.label_maps import LabelMapFile, pool, pool_by_zoom

if TYPE_CHECKING:
    import os
    from collections.abc import Sized

    from numpy.typing import NDArray
    from torchvision.transforms import v2

    from labelkit.geometry import CropBox
    from labelkit.hierarchy import ClassList


class LabelMapDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images of a folder data set with targets pooled from label maps over the crop taken.

    Yields ``(image, target)``: the image as the pipeline leaves it, and the softmax of the pooled
    logits over the file's classes, float32 (C,), which sums to one. Plain torch loops take it as it
    is: ``torch.nn.functional.cross_entropy(logits, target)``. Where the file holds maps of several
    input sizes, their logits are mixed by how far the crop zooms in.

    Args:
        dataset: a torchvision ``ImageFolder``, or whatever else has ``samples`` (path, class),
            ``loader`` and ``root``; without a transform of its own.
        maps: a label-map file, or its path; made with ``labelkit relabel`` at the same root.
        transform: a torchvision v2 pipeline of upright crops, resizes, flips and anything that
            moves no pixels.

    Raises:
        ValueError: the data set has its own transform, or no paths below a root, or the pipeline
            holds a step that moves pixels without a trace.
        TypeError: the pipeline is not torchvision v2.
        LabelMapError: the file lacks one of the data set's images, and the message names it; or
            it holds several maps of each image whose zooms do not ascend.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2.
    """

    def __init__(
        self,
        dataset: Sized,
        maps: LabelMapFile | str | os.PathLike[str],
        transform: v2.Transform,
    ) -> None:
        if not all(hasattr(dataset, name) for name in ("samples", "loader", "root")):
            raise ValueError(
                f"{type(dataset).__name__} has no samples, loader and root as torchvision's "
                "ImageFolder has: label maps are found by a sample's path below the root"
            )
        if any(getattr(dataset, name, None) for name in ("transform", "target_transform")):
            raise ValueError("give the transform to LabelMapDataset, not to the inner data set")
        require_trackable(transform)
        self.dataset: Any = dataset
        self.maps = maps if isinstance(maps, LabelMapFile) else LabelMapFile.open(maps)
        self.transform = transform
        self._zooms = _zooms(self.maps)
        self._rows = _rows(self.maps, _keys(self.dataset))

    @property
    def classes(self) -> ClassList:
        """The class list of the targets."""
        return self.maps.classes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, box = self.crop(position)
        maps = self.maps.maps_at(int(self._rows[position]))
        target = pool_by_zoom(maps, self._zooms, box) if self._zooms else pool(maps[0], box)
        return image, torch.from_numpy(target.probabilities(len(self.classes)))

    def crop(self, position: int) -> tuple[torch.Tensor, CropBox]:
        """One random crop of an image, and where it lies.

        Raises:
            DatasetError: the image cannot be read; the message names it.
            ValueError: the pipeline moves pixels in a way that no box describes.
        """
        path, _ = self.dataset.samples[position]
        try:
            image = self.dataset.loader(path)
        except (OSError, RuntimeError, SyntaxError) as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error
        return track_crop(image, self.transform)


def _zooms(maps: LabelMapFile) -> list[float]:
    """The zooms of a file with several maps an image; empty for one with a single map."""
    zooms = [form.zoom for form in maps.forms]
    if len(zooms) == 1:
        return []
    if min(zooms) <= 0 or sorted(set(zooms)) != zooms:
        raise LabelMapError(
            f"{maps.path} holds {len(zooms)} maps of each image at the zooms {zooms}: which one "
            "is for which crop is only known if they ascend"
        )
    return zooms


def _rows(maps: LabelMapFile, keys: list[str]) -> NDArray[np.int64]:
    """The file's row of each sample: found once, and 8 bytes each to carry to a worker."""
    rows = np.empty(len(keys), np.int64)
    missing: list[str] = []
    for at, key in enumerate(keys):
        row = maps.position(key)
        rows[at] = -1 if row is None else row
        if row is None:
            missing.append(key)
    if missing:
        raise LabelMapError(
            f"{maps.path} has no label map for {len(missing):,} of {len(keys):,} "
            f"images, the first is {missing[0]!r}: {maps.why_not(missing[0])}"
        )
    return rows


def _keys(dataset: Any) -> list[str]:  # noqa: ANN401 -- whatever has samples and a root
    """Each sample's path below the root, with ``/``."""
    root = Path(dataset.root)
    try:
        return [Path(path).relative_to(root).as_posix() for path, _ in dataset.samples]
    except ValueError as error:
        raise ValueError(
            f"a sample lies outside the data set's root {root} ({error}): label maps are found by "
            "the path below it"
        ) from error

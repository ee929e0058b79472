"""Any map-style data set as keys, images and class names: where labels of images are looked up.

A key is an image's path below the root that ``labelkit relabel`` was given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from labelkit.data.images import FORMATS
from labelkit.errors import DatasetError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable


class Samples(Protocol):
    """A data set's images, by position.

    Attributes:
        keys: of every sample.
        class_names: the id of each class index that ``read`` returns; None if they are not known.
    """

    keys: list[str]
    class_names: list[str] | None

    def read(self, position: int) -> tuple[Any, int]:
        """The image, as a Pillow image or a tensor (3, H, W), and its class index, -1 for none.

        Raises:
            DatasetError: the image cannot be read; the message names it.
        """
        ...


def open_samples(dataset: Any, key: Callable[[int], str] | None) -> Samples:  # noqa: ANN401
    """The samples of a torchvision folder, of timm's ``ImageDataset``, or of anything with a key.

    Args:
        dataset: the data set, without a transform of its own.
        key: from a sample's position to its key; needed where the data set has no paths.

    Raises:
        ValueError: the data set has a transform, or paths and keys are both unknown.
    """
    if any(
        getattr(dataset, name, None) for name in ("transform", "transforms", "target_transform")
    ):
        raise ValueError("give the transform to LabelMapDataset, not to the inner data set")
    if key is not None:
        return _Keyed(dataset, key)
    if all(hasattr(dataset, name) for name in ("samples", "loader", "root")):
        return _Folder(dataset)
    if hasattr(getattr(dataset, "reader", None), "filename"):
        return _Timm(dataset)
    raise ValueError(
        f"{type(dataset).__name__} has no samples, loader and root as torchvision's ImageFolder "
        "has, and no reader as timm's ImageDataset: say how a sample's path below the root is "
        "found, key=lambda position: ..."
    )


class _Folder:
    """torchvision's ``ImageFolder``, and whatever else has samples, loader and root."""

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401
        self._dataset = dataset
        self.keys = _below(Path(dataset.root), [path for path, _ in dataset.samples])
        self.class_names = _names(dataset)

    def read(self, position: int) -> tuple[Any, int]:
        path, label = self._dataset.samples[position]
        try:
            return self._dataset.loader(path), label
        except (OSError, RuntimeError, SyntaxError) as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error


class _Timm:
    """timm's ``ImageDataset``, through its reader.

    Asked itself, timm yields another image instead of one that it cannot read.
    """

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401
        self._reader = dataset.reader
        self.keys = [Path(name).as_posix() for name in dataset.filenames()]
        places: dict[str, int] = getattr(self._reader, "class_to_idx", None) or {}
        whole = sorted(places.values()) == list(range(len(places)))
        self.class_names = sorted(places, key=places.__getitem__) if places and whole else None

    def read(self, position: int) -> tuple[Any, int]:
        try:
            file, label, *_ = self._reader[position]
            with file, Image.open(file, formats=FORMATS) as image:
                return image.convert("RGB"), -1 if label is None else label
        except (OSError, RuntimeError, SyntaxError, Image.DecompressionBombError) as error:
            reason = first_line(error)
            raise DatasetError(f"{self.keys[position]} cannot be read: {reason}") from error


class _Keyed:
    """A user's own data set of ``(image, class index, ...)``, or of images alone."""

    def __init__(self, dataset: Any, key: Callable[[int], str]) -> None:  # noqa: ANN401
        self._dataset = dataset
        self.keys = [key(position) for position in range(len(dataset))]
        self.class_names = _names(dataset)

    def read(self, position: int) -> tuple[Any, int]:
        sample = self._dataset[position]
        if isinstance(sample, tuple | list):
            return sample[0], int(sample[1]) if len(sample) > 1 else -1
        return sample, -1


def _names(dataset: Any) -> list[str] | None:  # noqa: ANN401
    names = getattr(dataset, "classes", None)
    return None if names is None else [str(name) for name in names]


def _below(root: Path, paths: list[str]) -> list[str]:
    """Each path below the root, with ``/``."""
    try:
        return [Path(path).relative_to(root).as_posix() for path in paths]
    except ValueError as error:
        raise ValueError(
            f"a sample lies outside the data set's root {root} ({error}): label maps are found by "
            "the path below it"
        ) from error

"""The images of a data set by position, whether torchvision, timm or labelkit reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image
from torch.utils.data import Subset
from torchvision import get_image_backend
from torchvision.datasets.folder import default_loader, pil_loader

from labelkit.data.images import decode, open_image
from labelkit.errors import DatasetError, first_line
from labelkit.sources import FolderImages, ImageSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_UNREADABLE = (OSError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError)


class Samples(Protocol):
    """A data set's images, by position.

    Attributes:
        keys: of every sample.
        above: the names of the folders above all keys, the outermost first; None where the user
            gives the keys.
        class_names: the id of each class index that ``read`` returns, once this has been read; None
            if not known.
    """

    keys: list[str]
    above: Sequence[str] | None

    @property
    def class_names(self) -> list[str] | None:
        """The id of each class index."""
        ...

    def read(self, position: int) -> tuple[Any, Any]:
        """The image, as a Pillow image or a tensor (3, H, W), and its class index or None.

        Raises:
            DatasetError: the image cannot be read, or the sample has another form; the message
                names it.
        """
        ...


def open_samples(dataset: Any, key: Callable[[int], str] | None) -> Samples:  # noqa: ANN401
    """The samples of a torchvision folder, of timm's ``ImageDataset``, or of anything with a key.

    A ``Subset`` of one of the first two needs no key.

    Args:
        dataset: the data set, without its own transform.
        key: from a sample's position to its key; needed if the data set has no paths.

    Raises:
        ValueError: the data set or one inside it has a transform, or neither paths nor keys are
            known.
        TypeError: a key is not a str.
    """
    for inner in _with_inner(dataset):
        transform, both, target_transform = (
            getattr(inner, name, None) for name in ("transform", "transforms", "target_transform")
        )
        if transform or (both and not target_transform):
            raise ValueError(
                "pass the transform to LabelMapDataset, not to the inner data set: a crop taken "
                f"by {type(inner).__name__} cannot be tracked"
            )
        if target_transform:
            raise ValueError(
                f"{type(inner).__name__} has a target_transform, which targets from label maps "
                "would bypass: remove it, make the maps over the classes that it maps to, labelkit "
                "relabel --classes, and if original labels are part of the target, pass the class "
                "that it gives to each folder as classes=[...]"
            )
    if key is not None:
        return _Keyed(dataset, key)
    if isinstance(dataset, ImageSource):
        return _Sourced(dataset)
    if all(hasattr(dataset, name) for name in ("samples", "loader", "root")):
        return _Folder(dataset)
    if hasattr(getattr(dataset, "reader", None), "filename"):
        return _Timm(dataset)
    if isinstance(dataset, Subset) and type(dataset).__getitem__ is Subset.__getitem__:
        return _Chosen(open_samples(dataset.dataset, None), dataset.indices)
    raise ValueError(
        f"{type(dataset).__name__} has no samples, loader and root as in torchvision's "
        "ImageFolder, and no reader as in timm's ImageDataset: pass a function that returns a "
        "sample's path below the root, key=lambda position: ..."
    )


class _Folder:
    """torchvision's ``ImageFolder``, or anything else with samples, loader and root."""

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401
        self._dataset = dataset
        self.keys = _below(Path(dataset.root), [path for path, _ in dataset.samples])
        self.above: Sequence[str] | None = Path(dataset.root).absolute().parts[1:]
        self.class_names = _names(dataset)
        # The same pixels as torchvision's own loader, except where that one would spoil them.
        own = dataset.loader in (default_loader, pil_loader) and get_image_backend() == "PIL"
        self._load: Callable[[str], Any] = open_image if own else dataset.loader

    def read(self, position: int) -> tuple[Any, Any]:
        path, label = self._dataset.samples[position]
        try:
            return self._load(path), label
        except (*_UNREADABLE, DatasetError) as error:
            raise DatasetError(f"{path} cannot be read: {first_line(error)}") from error


class _Sourced:
    """A source of images; its labels are read only if they are asked for."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self.keys = list(source.keys)
        folder = isinstance(source, FolderImages)
        self.above: Sequence[str] | None = Path(source.path).absolute().parts[1:] if folder else ()
        self._numbers: list[int] | None = None

    @property
    def class_names(self) -> list[str] | None:
        labels = self._source.labels
        self._numbers = labels and labels.numbers
        return labels and list(labels.classes)

    def read(self, position: int) -> tuple[Any, Any]:
        key = self.keys[position]
        label = self._numbers[position] if self._numbers else None
        try:
            return open_image(self._source.file(key)), label
        except (*_UNREADABLE, DatasetError) as error:
            where = self._source.where(key)
            raise DatasetError(f"{where} cannot be read: {first_line(error)}") from error


class _Timm:
    """timm's ``ImageDataset``, through its reader.

    timm's own ``__getitem__`` silently replaces an image that it cannot read by another.
    """

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401
        self._reader = dataset.reader
        self._mode: str | None = getattr(dataset, "input_img_mode", "RGB")
        self.keys = [Path(name).as_posix() for name in dataset.filenames()]
        root = getattr(self._reader, "root", None)
        self.above: Sequence[str] | None = Path(root).absolute().parts[1:] if root else ()
        places: dict[str, int] = getattr(self._reader, "class_to_idx", None) or {}
        complete = sorted(places.values()) == list(range(len(places)))
        self.class_names = sorted(places, key=places.__getitem__) if places and complete else None

    def read(self, position: int) -> tuple[Any, Any]:
        try:
            file, label, *_ = self._reader[position]
            with file:
                return decode(file, self._mode), label
        except (*_UNREADABLE, DatasetError) as error:
            reason = first_line(error)
            raise DatasetError(f"{self.keys[position]} cannot be read: {reason}") from error


class _Chosen:
    """Some of a data set's samples, as chosen by torch's ``Subset`` or ``random_split``."""

    def __init__(self, samples: Samples, positions: Sequence[int]) -> None:
        self._samples = samples
        self._positions = positions
        self.keys = [samples.keys[position] for position in positions]
        self.above = samples.above
        self.class_names = samples.class_names

    def read(self, position: int) -> tuple[Any, Any]:
        return self._samples.read(self._positions[position])


class _Keyed:
    """A user's data set of ``(image, class index, ...)``, or of images alone."""

    def __init__(self, dataset: Any, key: Callable[[int], str]) -> None:  # noqa: ANN401
        self._dataset = dataset
        self.above: Sequence[str] | None = None
        self.keys = [_checked_key(key(position), position) for position in range(len(dataset))]
        self.class_names = _names(dataset)

    def read(self, position: int) -> tuple[Any, Any]:
        sample = self._dataset[position]
        if isinstance(sample, tuple | list):
            return sample[0], sample[1] if len(sample) > 1 else None
        if isinstance(sample, Mapping):
            names = ", ".join(map(str, sample))
            raise DatasetError(
                f"{self.keys[position]}: the data set yields a {type(sample).__name__} of {names}, "
                "expected (image, class index): wrap it in a data set that returns such pairs"
            )
        return sample, None


def _with_inner(dataset: Any) -> Iterator[Any]:  # noqa: ANN401
    """A data set and those inside it, as in torch's ``Subset`` and ``ConcatDataset``."""
    yield dataset
    inner = getattr(dataset, "datasets", ())
    for each in [getattr(dataset, "dataset", None), *(inner if isinstance(inner, list) else ())]:
        if each is not None:
            yield from _with_inner(each)


def _checked_key(key: object, position: int) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(
        f"key({position}) is {key!r}, expected a str: the image's path below the root that was "
        "relabelled, with / between folders, as in 'cats/1.jpg'"
    )


def _names(dataset: Any) -> list[str] | None:  # noqa: ANN401
    """The id of each class index; torchvision's ``ImageNet`` has tuples of names as classes."""
    names, ids = (getattr(dataset, name, None) for name in ("classes", "wnids"))
    if names is None:
        return None
    return [str(name) for name in (ids if ids and len(ids) == len(names) else names)]


def _below(root: Path, paths: list[str]) -> list[str]:
    """Each path below the root, with ``/``."""
    try:
        return [Path(path).relative_to(root).as_posix() for path in paths]
    except ValueError as error:
        raise ValueError(
            f"a sample is outside the data set's root {root} ({error}), but label maps are found "
            "by the path below it: set the root above all samples, or pass key="
        ) from error

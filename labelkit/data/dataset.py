"""A data set that yields a soft target for every random crop, pooled over exactly that crop.

It wraps any map-style data set, seen as keys, images and class names. A key is an image's path
below the root that ``labelkit relabel`` was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Subset, default_collate
from torchvision import get_image_backend
from torchvision.datasets.folder import default_loader, pil_loader

from labelkit.data.crops import follow_crop, require_trackable
from labelkit.data.images import decode, open_image
from labelkit.data.original_labels import OriginalLabels
from labelkit.data.rows import RowFinder, find_rows
from labelkit.data.target_options import TargetOptions
from labelkit.data.targets import CropTargets, DrawnCrop, Target
from labelkit.errors import DatasetError, LabelMapError, first_line
from labelkit.label_maps import LabelMapFile
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence, Sized

    import numpy as np
    from numpy.typing import NDArray

    from labelkit.data.crops import CropTracker, Untraced
    from labelkit.geometry import CropBox
    from labelkit.hierarchy import ClassList

_UNREADABLE = (OSError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError)


class LabelMapDataset(Dataset[tuple[torch.Tensor, Target]]):
    """Images of a data set, with targets pooled from label maps over each random crop.

    Yields ``(image, target)``: the image as the pipeline returns it, and by default the softmax of
    the pooled logits over the file's classes, float32 (C,), which sums to one. Plain torch loops
    need no change: ``torch.nn.functional.cross_entropy(logits, target)``. Where the file has maps
    of several input sizes, their logits are mixed by how far the crop zooms in.

    Args:
        dataset: a torchvision ``ImageFolder``, a timm ``ImageDataset``, a ``Subset`` of one, or
            with ``key`` any data set of ``(image, class index)``; without its own transform.
        maps: a label-map file, or its path; made with ``labelkit relabel`` from the same root.
        transform: a torchvision or timm pipeline that ``track_crop`` can follow. It can be set
            later, as ``timm.data.create_loader`` does.
        key: from a sample's position to its key in the file, for a data set without paths.
        options: which target.
        sparse: yield ``SparseProbabilities`` instead of all classes; collate with
            ``collate_sparse``.
        missing: what to do with images that the file lacks: ``error`` refuses the data set,
            ``hard`` gives them their original label.
        classes: the ids of the data set's class indices, if it has no ``classes``, or if the file
            has others, such as the coarse class of each folder; read only where original labels
            are part of the target.
        untraced: as in ``track_crop``: refuse steps such as RandAugment, or ignore their shifts.

    Attributes:
        missing_count: number of images that the file lacks.

    Raises:
        ValueError: the data set has its own transform or no paths, the pipeline has a step that
            cannot be followed, or original labels are needed and their ids are not known.
        TypeError: a step of the pipeline is not known, or an argument has the wrong type.
        LabelMapError: the file lacks one of the data set's images, which the message names, or
            does not store what the options need.
        ClassListMismatch: original labels are needed, and one is not a class of the file.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.2.
    """

    def __init__(  # noqa: PLR0913 -- the data, its maps, which target, and how images are found
        self,
        dataset: Sized,
        maps: LabelMapFile | str | os.PathLike[str],
        transform: Callable[..., Any] | None = None,
        *,
        key: Callable[[int], str] | None = None,
        options: TargetOptions | None = None,
        sparse: bool = False,
        missing: Literal["error", "hard"] = "error",
        classes: Sequence[str] | None = None,
        untraced: Untraced = "refuse",
    ) -> None:
        require_choices(missing=missing, untraced=untraced)
        self.options = given_options(options)
        self.dataset: Any = dataset
        self.samples = open_samples(dataset, key)
        self.untraced: Untraced = untraced
        self.transform = transform
        self.maps = maps if isinstance(maps, LabelMapFile) else LabelMapFile.open(maps)
        self._targets = CropTargets(self.maps, self.options, sparse=sparse)
        finder = RowFinder(self.maps)
        self._keys, self._rows = find_rows(self.samples.keys, self.samples.above, finder)
        self.missing_count = int((self._rows < 0).sum())
        if missing == "error" and self.missing_count:
            raise _missing_maps(finder, self._keys, self._rows)
        self._originals: OriginalLabels | None = None
        if self._targets.needs_original or self.missing_count:
            names = list(classes) if classes is not None else self.samples.class_names
            self._originals = OriginalLabels(self.maps, names, self.samples.class_names)

    @property
    def transform(self) -> Callable[..., Any] | None:
        """The pipeline; each new one is checked."""
        return self._transform

    @transform.setter
    def transform(self, transform: Callable[..., Any] | None) -> None:
        if transform is not None:
            require_trackable(transform, untraced=self.untraced)
        self._transform = transform

    @property
    def classes(self) -> ClassList:
        """The class list of the targets; the student needs an output for each."""
        return self._targets.classes

    @property
    def keys(self) -> list[str]:
        """Each sample's key in the file."""
        return self._keys

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, Target]:
        return self.complete([self.draw(position)])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[tuple[torch.Tensor, Target]]:
        """The samples of a batch, as torch's ``DataLoader`` requests them: faster than one by one.

        A subclass that overrides ``__getitem__`` is asked for one sample at a time.
        """
        if type(self).__getitem__ is not LabelMapDataset.__getitem__:
            return [self[position] for position in positions]
        return self.complete([self.draw(position) for position in positions])

    def crop(self, position: int) -> tuple[torch.Tensor, CropBox]:
        """One random crop of an image, and what it shows of the image.

        Raises:
            DatasetError: the image cannot be read; the message names it.
            ValueError: there is no pipeline, or it moves pixels in a way that cannot be followed.
        """
        drawn = self.draw(position)
        return drawn.image, drawn.box

    def draw(self, position: int) -> DrawnCrop:
        """One random crop of an image, for ``complete``: the only step that draws random numbers.

        Raises:
            DatasetError: the image cannot be read, or has no original label, which its target
                needs.
            ValueError: as ``crop``.
        """
        if self._transform is None:
            raise ValueError("LabelMapDataset has no transform yet: pass one that returns a tensor")
        image, label = self.samples.read(position)
        output, tracker = follow_crop(image, self._transform, untraced=self.untraced)
        row = int(self._rows[position])
        original = -1
        if self._originals and (self._targets.needs_original or row < 0):
            original = self._originals.class_of(label, self.keys[position])
        return DrawnCrop(output, row, tracked_box(tracker, self.options), original)

    def complete(self, crops: Sequence[DrawnCrop]) -> list[tuple[torch.Tensor, Target]]:
        """The samples of some crops, with their targets made together.

        Raises:
            LabelMapError: a row of the file is damaged; the message names it.
        """
        return self._targets.complete(crops)


def collate_sparse(
    samples: Sequence[tuple[Any, SparseProbabilities]],
) -> tuple[Any, SparseProbabilities]:
    """Collate images and sparse targets; a ``collate_fn`` for data sets with ``sparse=True``.

    Returns:
        The images, and one ``SparseProbabilities`` (B, E) with E of the longest target; shorter
        ones are padded with entries that add nothing.

    Raises:
        TypeError: a target is not ``SparseProbabilities``.
    """
    images, targets = zip(*samples, strict=True)
    for target in targets:
        if not isinstance(target, SparseProbabilities):
            raise TypeError(
                f"collate_sparse got a target of type {type(target).__name__}, expected "
                "SparseProbabilities: create the data set with sparse=True, or drop the collate_fn"
            )
    return default_collate(list(images)), SparseProbabilities(
        pad_sequence([target.classes for target in targets], batch_first=True),
        pad_sequence([target.excess for target in targets], batch_first=True),
        torch.stack([target.rest for target in targets]),
    )


def require_choices(*, missing: str, untraced: str) -> None:
    """Raise unless both arguments are known words.

    Raises:
        ValueError: the message names the argument and its choices.
    """
    if missing not in ("error", "hard"):
        raise ValueError(f"missing is {missing!r}, expected error or hard")
    if untraced not in ("refuse", "ignore"):
        raise ValueError(f"untraced is {untraced!r}, expected refuse or ignore")


def given_options(options: object) -> TargetOptions:
    """The options, or the defaults for None.

    Raises:
        TypeError: anything else.
    """
    if options is None:
        return TargetOptions()
    if not isinstance(options, TargetOptions):
        raise TypeError(
            f"options has type {type(options).__name__}, expected labelkit.data.TargetOptions, "
            "such as TargetOptions(temperature=2.0)"
        )
    return options


def tracked_box(tracker: CropTracker, options: TargetOptions) -> CropBox:
    """The crop that a tracker followed.

    Raises:
        ValueError: token targets are wanted, but the pixels do not fill the box in even rows and
            columns.
    """
    if options.tokens is not None and not tracker.fills_box:
        raise ValueError(
            "the pipeline slants the image, or pads it after a crop, so that token targets would "
            "not match the positions they belong to: remove such steps, or use tokens=None"
        )
    return tracker.box


def _missing_maps(finder: RowFinder, keys: list[str], rows: NDArray[np.int64]) -> LabelMapError:
    maps, first, missing = finder.maps, keys[int(rows.argmin())], int((rows < 0).sum())
    reason = finder.why_not(first)
    if reason == maps.why_not(first) and first not in maps.unreadable and missing < len(keys) / 2:
        reason = (
            "were they added since? labelkit relabel --reuse makes only their maps; with "
            "missing='hard' they keep their original labels"
        )
    return LabelMapError(
        f"{maps.path} has no label map for {missing:,} of {len(keys):,} images, the first is "
        f"{first!r}: {reason}"
    )


class Samples(Protocol):
    """A data set's images, by position.

    Attributes:
        keys: of every sample.
        above: the names of the folders above all keys, the outermost first; None where the user
            gives the keys.
        class_names: the id of each class index that ``read`` returns; None if not known.
    """

    keys: list[str]
    above: Sequence[str] | None
    class_names: list[str] | None

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

"""From folders of images to batches: samples, the student's crops, and seeded loading.

The random crop of an image follows from (seed, epoch, image) alone. The sampler passes each image's
random seed along with its position, so that neither the number of workers nor an interruption
changes a crop.

# B batch, C classes, S image side
"""

from __future__ import annotations

import shlex
import signal
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from labelkit.data import LabelMapDataset, PackedBatch
from labelkit.errors import (
    ClassListMismatch,
    DatasetError,
    LabelkitError,
    TrainingError,
    first_line,
    is_out_of_memory,
)
from labelkit.hierarchy import ClassList
from labelkit.train.joined_maps import JoinedMaps
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from numpy.typing import NDArray
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    from labelkit.hierarchy import Coarsening

Draw: TypeAlias = tuple[int, int]
Batch: TypeAlias = tuple[Tensor, Tensor]
Loader: TypeAlias = "DataLoader[Batch]"
Loaded = TypeVar("Loaded")


def set_samples(folder: ImageFolder, samples: list[tuple[str, int]]) -> None:
    """Replace a folder's images and their labels, under all names that torchvision has for them."""
    folder.samples = folder.imgs = samples
    folder.targets = [label for _, label in samples]


def coarsen_folder(folder: ImageFolder, coarsening: Coarsening) -> None:
    """Give a folder's images the coarse class of their folder, and the folder the coarse classes.

    Raises:
        ClassListError: a folder is not a class of the tree, or belongs to no coarse class.
    """
    label = coarsening.for_folders(folder.classes)
    set_samples(folder, [(path, label(index)) for path, index in folder.samples])
    folder.classes = list(coarsening.classes)
    folder.class_to_idx = {name: index for index, name in enumerate(folder.classes)}


@dataclass(frozen=True, slots=True)
class ClassSource:
    """What a run's images have for classes: their folders, or the coarse classes of these.

    Attributes:
        train: the training folder.
        coarsening: the file that maps folders to coarse classes, if there is one.
    """

    train: str
    coarsening: str | None = None

    @property
    def path(self) -> str:
        """What ``--classes`` takes to get these classes."""
        return self.coarsening or self.train

    def classes(self, folder: ImageFolder) -> ClassList:
        """The classes of a data set, in its order."""
        kind = f"coarse classes of {self.coarsening} for the" if self.coarsening else ""
        return ClassList.of(folder.classes, f"{kind} folders of {folder.root}".strip())

    def owner(self, folder: ImageFolder) -> str:
        """What defines the classes of a data set, for the start of an error message."""
        if self.coarsening:
            return f"{self.coarsening} has coarse classes"
        return f"{folder.root} has folders"

    @property
    def new_maps(self) -> str:
        """How to make label maps over these classes."""
        train, path = shlex.quote(self.train), shlex.quote(self.path)
        whose = "the coarse classes" if self.coarsening else "the data set's classes"
        return (
            f"Make label maps for {whose}: labelkit relabel {train} --classes {path} -o MAPS. "
            "Classes with plain names, not ids such as n01440764, also need --names: "
            f"labelkit match-names {path} -o NAMES"
        )

    @property
    def new_tree(self) -> str:
        """How to build a tree with these classes."""
        if self.coarsening:
            path = shlex.quote(self.coarsening)
            return f"Build the tree of the coarse classes: labelkit build-tree {path} -o TREE"
        return "Build the tree from a list that includes them: labelkit build-tree CLASSES -o TREE"


class WorkerFailed(TrainingError):  # noqa: N818 -- the name states the fact
    """A data-loading worker is gone, or could not return a batch; the message is the reason."""


def leave_out(folder: ImageFolder, paths: Collection[str]) -> None:
    """Remove images from a folder's samples; its classes stay.

    Raises:
        DatasetError: no images are left.
    """
    set_samples(folder, [sample for sample in folder.samples if sample[0] not in paths])
    if not folder.samples:
        raise DatasetError(f"{folder.root}: none of the images can be read")


class FolderSamples(Dataset[tuple[Tensor, Tensor]]):
    """Images of a folder data set, each with its class's index in a class list, matched by name.

    An image of the class -1, which has no label, keeps that number.

    Args:
        folder: the images; its class indices, which are positions among its folders, are not used.
        classes: the class list of the student's outputs.
        transform: a torchvision v2 pipeline.
        source: of the folder's classes.
        hint: what to do if a folder is not in ``classes``.

    Raises:
        ClassListMismatch: folders are not in the class list; the message names the first ones.
    """

    def __init__(
        self,
        folder: ImageFolder,
        classes: ClassList,
        transform: v2.Transform,
        source: ClassSource,
        *,
        hint: str,
    ) -> None:
        missing = [name for name in folder.classes if name not in classes.index]
        if missing:
            raise ClassListMismatch(
                f"{source.owner(folder)} that are not in {classes}: {summary(missing)}. {hint}"
            )
        self.folder = folder
        self.transform = transform
        self.targets = [classes.index[name] for name in folder.classes]

    def __len__(self) -> int:
        return len(self.folder.samples)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        path, folder = self.folder.samples[position]
        target = self.targets[folder] if folder >= 0 else -1
        return self.transform(self.folder.loader(path)), torch.tensor(target)


@dataclass(frozen=True, slots=True)
class FailedSample:
    """Why a sample could not be made: a value, since torch turns a worker's exception into text."""

    error: LabelkitError

    def pin_memory(self) -> Self:
        """The same failure."""
        return self


class LoadedBatch(NamedTuple):
    """Images (B, 3, S, S) and their targets, (B,) or (B, C)."""

    images: Tensor
    target: Tensor

    def pin_memory(self) -> LoadedBatch:
        """The same batch in page-locked memory, which a GPU copies faster."""
        return LoadedBatch(self.images.pin_memory(), self.target.pin_memory())


class EpochSampler(Sampler[Draw]):
    """(position, random seed) of every sample, in an order that follows from (seed, epoch).

    Args:
        count: number of samples in the data set, and of draws in an epoch.
        seed: the run's seed.
        shuffle: False keeps the order of the data set.
        repeats: how often an epoch shows each of its images, cropped anew; it shows that many times
            fewer images (Hoffer et al. 2020, arXiv 1901.09335).
        apart: draws from an image to its next repetition.
    """

    def __init__(
        self, count: int, seed: int, *, shuffle: bool, repeats: int = 1, apart: int = 1
    ) -> None:
        self.count = count
        self.seed = seed
        self.shuffle = shuffle
        self.repeats = repeats
        self.apart = apart
        self.epoch = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        order, draws = np.random.SeedSequence([self.seed, self.epoch]).spawn(2)
        positions = np.arange(self.count)
        if self.shuffle:
            positions = np.random.default_rng(order).permutation(self.count)
        seeds = draws.generate_state(self.count * self.repeats, np.uint64)
        return islice(self._draws(positions, seeds.reshape(self.repeats, -1)), self.count)

    def _draws(self, positions: NDArray[np.int64], seeds: NDArray[Any]) -> Iterator[Draw]:
        for start in range(0, self.count, self.apart):
            group = positions[start : start + self.apart]
            for again in seeds:
                yield from zip(group.tolist(), again[group].tolist(), strict=True)


class SeededSamples(Dataset[Any]):
    """A data set indexed by (position, random seed) that leaves torch's random state unchanged."""

    def __init__(self, samples: Dataset[Batch]) -> None:
        self.samples = samples

    def __getitem__(self, draw: Draw) -> Batch | FailedSample:
        return self._seeded(self.samples.__getitem__, draw)

    def __getitems__(self, draws: Sequence[Draw]) -> Sequence[Batch | FailedSample]:
        """The samples of one batch, as torch's loader requests them; targets are made together."""
        if not isinstance(self.samples, LabelMapDataset | JoinedMaps):
            return [self[draw] for draw in draws]
        crops = [self._seeded(self.samples.draw, draw) for draw in draws]
        failures = [crop for crop in crops if isinstance(crop, FailedSample)]
        if failures:
            return failures
        try:
            return cast("list[Batch]", self.samples.complete(crops))
        except LabelkitError as error:
            return [FailedSample(error)]

    def _seeded(self, make: Callable[[int], Any], draw: Draw) -> Any:  # noqa: ANN401
        """Call ``make`` on a position with the sample's random seed; a failure is returned."""
        position, seed = draw
        # Only the CPU's generator draws crops; torch.manual_seed would also reset a GPU's.
        generator = torch.default_generator
        state = generator.get_state()
        try:
            generator.manual_seed(seed)
            return make(position)
        except LabelkitError as error:
            return FailedSample(error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return FailedSample(_too_large(image_name(self.samples, position)))
        finally:
            generator.set_state(state)


def image_name(samples: Dataset[Batch], position: int) -> str:
    """The path or the key of a sample's image."""
    if isinstance(samples, FolderSamples):
        return samples.folder.samples[position][0]
    joined = isinstance(samples, LabelMapDataset | JoinedMaps)
    return samples.keys[position] if joined else f"image {position}"


def _too_large(name: str) -> DatasetError:
    return DatasetError(
        f"not enough memory to read and crop {name}: lower data.workers, or make the image smaller "
        "and its label map again"
    )


def make_loader(
    samples: Dataset[Batch],
    batches: Sampler[list[Draw]],
    *,
    workers: int,
    pin_memory: bool = False,
) -> Loader:
    """Batches (B, 3, S, S) and targets, (B,) or (B, C), in the order of ``batches``."""
    return DataLoader(
        SeededSamples(samples),
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        collate_fn=_collate,
        # The loader draws a number whenever its workers start, which must not come from the
        # generator of the student's dropout.
        generator=torch.Generator(),
        worker_init_fn=ignore_interrupts,
    )


def iterate_batches(loader: DataLoader[Loaded]) -> Iterator[Loaded]:
    """The batches of one epoch.

    Raises:
        LabelkitError: a sample could not be made; the error is the data set's.
        WorkerFailed: a worker could not return its batch.
    """
    batches = iter(loader)
    while True:
        try:
            batch = cast("object", next(batches, None))
            batch = batch.unpack() if isinstance(batch, PackedBatch) else batch
        except (OSError, EOFError) as error:
            raise WorkerFailed(first_line(error)) from error
        if batch is None:
            return
        if isinstance(batch, FailedSample):
            raise batch.error
        yield cast("Loaded", batch)


def _collate(samples: list[Batch | FailedSample]) -> LoadedBatch | FailedSample | PackedBatch:
    """Samples as one batch; in a worker, packed for the main process."""
    failures = (sample for sample in samples if isinstance(sample, FailedSample))
    failure = next(failures, None)
    return packed_in_worker(lambda: failure or LoadedBatch(*default_collate(samples)))


def packed_in_worker(collate: Callable[[], Any]) -> Any:  # noqa: ANN401 -- any batch that can be pinned
    """The batch that ``collate`` makes; in a worker, packed for ``iterate_batches``."""
    if get_worker_info() is None:
        return collate()
    try:
        batch = collate()
    except RuntimeError as error:  # a worker collates into shared memory
        batch = FailedSample(WorkerFailed(first_line(error)))
    return PackedBatch.of(batch, lambda reason: FailedSample(WorkerFailed(reason)))


def ignore_interrupts(worker: int) -> None:
    """Ignore Ctrl-C, which the terminal sends to every process: the main one stops the workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)

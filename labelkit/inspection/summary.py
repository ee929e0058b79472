"""What a tree or a label-map file holds, as plain records; which of the two a file is."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelkit.errors import LabelkitError
from labelkit.hierarchy import SemanticTree, class_names, is_tree_file
from labelkit.inspection.presence import class_shares
from labelkit.inspection.tree_summary import TreeSummary, summarize_tree
from labelkit.label_maps import LabelMapFile
from labelkit.wording import counted, flatten, readable

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from labelkit.label_maps import MapForm

_OTHER_TREES = {  # what labelkit convert reads or writes beside labelkit's own trees
    ".pth": "the layout published with ImageNet-21K-P",
    ".pt": "the layout published with ImageNet-21K-P",
    ".graphml": "GraphML",
    ".csv": "a table",
    ".dot": "Graphviz",
}
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class FrequentClass:
    """A class and how much of the images it takes.

    Attributes:
        class_id: its id.
        name: its name, for people.
        images: in how many of the sampled images no other class is strongest in more cells.
        area: share of the cells of all sampled images in which no other class is stronger, 0 to 1.
    """

    class_id: str
    name: str
    images: int
    area: float


@dataclass(frozen=True, slots=True)
class LabelMapSummary:
    """A label-map file in numbers.

    Attributes:
        path: the file.
        images: rows, one an image.
        forms: what the maps of each kind have in common.
        classes_name: what the class list is called; may be empty.
        num_classes: length of the class list.
        digest: the class list's digest.
        teacher: the teacher's name; empty if the file does not say.
        settings: everything else the file says of how it was made, (what, value).
        file_bytes: size of the file.
        unreadable: images without a map.
        unreadable_examples: the first of them, (key, reason).
        sampled: rows that were read for ``frequent``, evenly spread.
        frequent: the classes with the largest area, that first.
        example_keys: the first keys.
    """

    path: Path
    images: int
    forms: tuple[MapForm, ...]
    classes_name: str
    num_classes: int
    digest: str
    teacher: str
    settings: tuple[tuple[str, str], ...]
    file_bytes: int
    unreadable: int
    unreadable_examples: tuple[tuple[str, str], ...]
    sampled: int
    frequent: tuple[FrequentClass, ...]
    example_keys: tuple[str, ...]

    @property
    def bytes_per_image(self) -> float:
        """The file's size shared out among its images."""
        return self.file_bytes / max(self.images, 1)

    @property
    def looked_at(self) -> str:
        """Which images ``frequent`` tells of, in words."""
        images = counted(self.images, "image", "images")
        if self.sampled == self.images:
            return images
        return f"a sample of {self.sampled:,} of the {images}"


def summarize(
    path: str | os.PathLike[str], *, sample: int = 256, frequent: int = 8
) -> TreeSummary | LabelMapSummary:
    """Summarise a tree or a label-map file; its first bytes tell which it is, not its name.

    Args:
        path: the file.
        sample: how many rows of a label-map file are read to find the classes with most area.
        frequent: how many of those to name.

    Raises:
        LabelkitError: neither of the two, or damaged; the message says what was found.
        FileNotFoundError: no such file.
        ValueError: a negative ``sample`` or ``frequent``.
    """
    if sample < 0 or frequent < 0:
        raise ValueError(f"sample={sample} and frequent={frequent} cannot be negative")
    opened = open_artifact(path)
    if isinstance(opened, SemanticTree):
        return summarize_tree(Path(path), opened)
    with opened:
        return summarize_label_maps(opened, sample, frequent)


def open_artifact(path: str | os.PathLike[str]) -> SemanticTree | LabelMapFile:
    """Open a tree or a label-map file, whichever it is.

    Raises:
        LabelkitError: neither of the two, or damaged; the message says what was found.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise LabelkitError(f"{path} is no plain file")
    with path.open("rb") as file:
        beginning = file.read(64)
    if beginning.startswith(_HDF5_SIGNATURE):
        return LabelMapFile.open(path)
    if is_tree_file(path):
        return SemanticTree.load(path)
    if beginning and (what := _OTHER_TREES.get(path.suffix.lower())):
        raise LabelkitError(f"{path} is no labelkit tree but {what}. {_way_in(path)}")
    found = f"begins with {beginning[:16]!r}" if beginning else "is empty"
    raise LabelkitError(
        f"{path} {found}, expected a tree (from labelkit build-tree) or label maps (from labelkit "
        "relabel)"
    )


def _way_in(path: Path) -> str:
    """How to get a labelkit tree out of another format."""
    if path.suffix.lower() == ".dot":
        return "That is for drawing only: inspect the tree that it was made from"
    turn = f"labelkit convert {path} -o tree.json first"
    if path.suffix.lower() == ".csv":
        return f"If it is a tree: {turn}. If a taxonomy: labelkit build-tree --taxonomy {path}"
    return f"Turn it into one: {turn}"


def summarize_label_maps(
    file: LabelMapFile, sample: int = 256, frequent: int = 8
) -> LabelMapSummary:
    """Summarise an open label-map file; arguments as for ``summarize``.

    Raises:
        LabelMapError: a row is damaged.
    """
    settings = flatten(_in_brief(file.attrs) | file.made_with)
    teacher = next((value for what, value in settings if what in {"teacher", "teacher.name"}), "")
    rows = np.unique(np.linspace(0, len(file) - 1, min(sample, len(file))).astype(int)).tolist()
    keys = file.keys()
    return LabelMapSummary(
        path=file.path,
        images=len(file),
        forms=file.forms,
        classes_name=file.classes.name,
        num_classes=len(file.classes),
        digest=file.classes.digest,
        teacher=teacher,
        settings=tuple(row for row in settings if row[0] not in {"teacher", "teacher.name"}),
        file_bytes=file.path.stat().st_size,
        unreadable=len(file.unreadable),
        unreadable_examples=tuple(file.unreadable.items())[:_EXAMPLES],
        sampled=len(rows),
        frequent=_frequent_classes(file, rows, frequent),
        example_keys=tuple(key for key, _ in zip(keys, range(_EXAMPLES), strict=False)),
    )


def _in_brief(source: Mapping[str, Any]) -> dict[str, Any]:
    """How maps were made, with the nouns of their classes in one line instead of one a class."""
    brief = dict(source)
    if isinstance(nouns := source.get("nouns"), dict):
        first = ", ".join(f"{of} {noun}" for of, noun in islice(nouns.items(), _EXAMPLES))
        more = len(nouns) - _EXAMPLES
        brief["nouns"] = first + (f" and {more:,} more" if more > 0 else "")
    return brief


def _frequent_classes(file: LabelMapFile, rows: list[int], limit: int) -> tuple[FrequentClass, ...]:
    counts: Counter[int] = Counter()
    areas: defaultdict[int, float] = defaultdict(float)
    for row in rows:
        label_map = file.maps_at(row)[-1]
        shares = class_shares(label_map, len(file.classes))
        # Of two classes with one area, the more present one: shares come in that order.
        counts[max(shares, key=lambda share: share.area).class_index] += 1
        for share in shares:
            areas[share.class_index] += share.area / len(rows)
    names = class_names(file.classes) if rows else ()
    return tuple(
        FrequentClass(file.classes[at], readable(names[at]), counts[at], areas[at])
        for at in sorted(areas, key=lambda at: (-areas[at], -counts[at], at))[:limit]
        if areas[at]
    )

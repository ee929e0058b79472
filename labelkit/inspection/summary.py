"""What a label-map file or a tree holds, as plain records.

Legend: N_k nodes on level k; K entries per cell.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from labelkit.files import evenly_spaced
from labelkit.hierarchy import paper_level_weights
from labelkit.inspection.lookup import output_names
from labelkit.inspection.other import shown_name
from labelkit.inspection.presence import class_shares
from labelkit.wording import counted, flatten, readable, short_digests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labelkit.hierarchy import SemanticTree
    from labelkit.label_maps import Calibration, LabelMapFile, MapForm

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class FrequentClass:
    """A class and how much of the images it covers.

    Attributes:
        class_id: its id; ``*other*`` for the teacher's classes outside the class list.
        name: its display name.
        images: the number of sampled images in which no other class covers a larger area.
        area: share of cells, over all sampled images, in which no other class is stronger, 0 to 1.
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
        forms: the form of each map of an image.
        classes_name: name of the class list; may be empty.
        num_classes: length of the class list.
        digest: the class list's digest.
        calibration: what pooling applies to the mean logits; None for nothing.
        other: whether the maps store *other*, the probability of none of these classes.
        teacher: name of the teacher; empty if the file does not record it.
        settings: everything else that the file records about how it was made, as (name, value).
        file_bytes: size of the file.
        unreadable: the number of images without a map.
        unreadable_examples: the first of them, (key, reason).
        sampled: the number of rows that were read for ``frequent``, evenly spread.
        frequent: the classes with the largest area, the largest first.
        example_keys: the first keys.
    """

    path: Path
    images: int
    forms: tuple[MapForm, ...]
    classes_name: str
    num_classes: int
    digest: str
    calibration: Calibration | None
    other: bool
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
        """The file's size divided by its number of images."""
        return self.file_bytes / max(self.images, 1)

    @property
    def provenance(self) -> tuple[tuple[str, str], ...]:
        """How the maps were made, as (name, value); the teacher first, digests shortened."""
        teacher = (("teacher", self.teacher),) if self.teacher else ()
        rest = ((name, short_digests(value)) for name, value in self.settings)
        shown = self.images or self.calibration
        calibration = (("calibration", _calibration(self.calibration)),) if shown else ()
        return (*teacher, *calibration, *rest)

    @property
    def form_facts(self) -> tuple[tuple[str, str], ...]:
        """The forms in words, as (name, value): three lines for each form."""
        count = len(self.forms)
        return tuple(
            fact
            for form in self.forms
            for fact in _form_facts(form, count, self.num_classes, other=self.other)
        )

    @property
    def sample_name(self) -> str:
        """The images that ``frequent`` describes, in words."""
        images = counted(self.images, "image", "images")
        if self.sampled == self.images:
            return images
        return f"a sample of {self.sampled:,} of the {images}"


def summarize_label_maps(
    file: LabelMapFile, sample: int = 256, frequent: int = 8
) -> LabelMapSummary:
    """Summarize an open label-map file.

    Args:
        file: the file.
        sample: how many rows to read to find the classes with the largest area.
        frequent: how many of those classes to name.

    Raises:
        LabelMapError: a row is damaged.
        ValueError: ``sample`` or ``frequent`` is negative.
    """
    if sample < 0 or frequent < 0:
        raise ValueError(f"sample={sample} and frequent={frequent} must not be negative")
    settings = flatten(_in_brief(file.attrs) | file.made_with)
    teacher = next((value for what, value in settings if what in {"teacher", "teacher.name"}), "")
    rows = evenly_spaced(len(file), sample)
    keys = file.keys()
    return LabelMapSummary(
        path=file.path,
        images=len(file),
        forms=file.forms,
        classes_name=file.classes.name,
        num_classes=len(file.classes),
        digest=file.classes.digest,
        calibration=file.calibration,
        other=file.header.other,
        teacher=teacher,
        settings=tuple(row for row in settings if row[0] not in {"teacher", "teacher.name"}),
        file_bytes=file.path.stat().st_size,
        unreadable=len(file.unreadable),
        unreadable_examples=tuple(file.unreadable.items())[:_EXAMPLES],
        sampled=len(rows),
        frequent=_frequent_classes(file, rows, frequent),
        example_keys=tuple(key for key, _ in zip(keys, range(_EXAMPLES), strict=False)),
    )


def _calibration(calibration: Calibration | None) -> str:
    """What a file's calibration was fitted on, and what it gains."""
    if calibration is None:
        return "none: targets are pooled as published"
    images, crops = (
        counted(number, name, f"{name}s")
        for number, name in ((calibration.images, "image"), (calibration.crops, "crop"))
    )
    fitted = f"fitted on {images} x {crops}" if calibration.images else "of unknown origin"
    if calibration.divergence is None:
        return fitted
    without, calibrated = calibration.divergence
    return (
        f"{fitted}: KL {without:.3f} -> {calibrated:.3f} from the teacher's prediction (held out)"
    )


def _in_brief(source: Mapping[str, Any]) -> dict[str, Any]:
    """How maps were made, with the classes' synsets on one line instead of one per class."""
    brief = dict(source)
    if isinstance(synsets := source.get("synsets"), dict):
        first = ", ".join(f"{name} {synset}" for name, synset in islice(synsets.items(), _EXAMPLES))
        more = len(synsets) - _EXAMPLES
        brief["synsets"] = first + (f" and {more:,} more" if more > 0 else "")
    return brief


def _frequent_classes(file: LabelMapFile, rows: list[int], limit: int) -> tuple[FrequentClass, ...]:
    counts: Counter[int] = Counter()
    areas: defaultdict[int, float] = defaultdict(float)
    for row in rows:
        label_map = file.maps_at(row)[-1]
        shares = class_shares(label_map, len(file.outputs))
        # If two classes have the same area, the more present one wins: shares come in that order.
        counts[max(shares, key=lambda share: share.area).class_index] += 1
        for share in shares:
            areas[share.class_index] += share.area / len(rows)
    names = output_names(file) if rows else ()
    return tuple(
        FrequentClass(file.outputs[at], shown_name(names[at]), counts[at], areas[at])
        for at in sorted(areas, key=lambda at: (-areas[at], -counts[at], at))[:limit]
        if areas[at]
    )


_SCORES = {
    "uint8": "",
    "float16": "scores in half precision",
    "float32": "scores in full precision",
}


def classes_per_cell(form: MapForm, *, other: bool = False) -> str:
    """The words that follow K, such as ``8 classes in every cell``, without *other*."""
    words = "classes in every cell" if form.selection == "image" else "classes per cell"
    return f"{words}, and other" if other else words


def _form_facts(
    form: MapForm, forms: int, num_classes: int, *, other: bool
) -> list[tuple[str, str]]:
    rows, columns = form.grid
    zoom = f", at zoom {form.zoom:g}" if forms > 1 else ""
    kept = "the image's strongest" if form.selection == "image" else "the cell's strongest"
    kept += ", and other (no class)" if other else ""
    return [
        ("grid", f"{rows} x {columns} cells{zoom}"),
        ("stored", f"{form.top_k - other} classes in every cell, {kept}{_extras(form)}"),
        ("background", _background(form, form.top_k - other == num_classes)),
    ]


def _background(form: MapForm, complete: bool) -> str:  # noqa: FBT001 -- whether all are stored
    if complete:
        return "none: every class is stored"
    if not form.background:
        return "none: classes that are not stored have logit 0"
    background = f"mean logits of {counted(form.background, 'more class', 'more classes')}"
    if not form.patterns:
        return background
    return f"{background}, {counted(form.patterns, 'pattern', 'patterns')} over the grid"


def _extras(form: MapForm) -> str:
    extras = [_SCORES[form.scores], "log-sum-exp" if form.log_sum_exp else ""]
    return "".join(f", {extra}" for extra in extras if extra)


_MOST_ROOTS, _MOST_CHAINS = 5, 3


@dataclass(frozen=True, slots=True)
class TreeLevel:
    """One level of a tree.

    Attributes:
        level: its number; 0 is the top.
        nodes: classes and inner nodes on it.
        inner: how many of them are inner nodes.
        share: its share of all nodes, 0 to 1.
        weight: its weight in the semantic softmax loss, ``min(20, sum N_j / sum_{j>=k} N_j)``.
        rank: its name, such as family; empty in most trees.
    """

    level: int
    nodes: int
    inner: int
    share: float
    weight: float
    rank: str = ""


@dataclass(frozen=True, slots=True)
class TreeRoot:
    """A class with no class above it.

    Attributes:
        class_id: its id.
        name: its display name.
        below: the number of classes anywhere below it, without itself and inner nodes.
    """

    class_id: str
    name: str
    below: int


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """A semantic tree in numbers.

    Attributes:
        path: the file.
        classes_name: name of the class list; may be empty.
        num_classes: length of the class list.
        digest: the class list's digest.
        inner: how many of the list are inner nodes.
        levels: from the top down.
        roots: the number of roots.
        largest_roots: a few of them, those with the most classes below first.
        deepest_chains: a few chains of maximum depth, as names from a root down to a class.
        source: how the tree was made, as (name, value).
    """

    path: Path
    classes_name: str
    num_classes: int
    digest: str
    inner: int
    levels: tuple[TreeLevel, ...]
    roots: int
    largest_roots: tuple[TreeRoot, ...]
    deepest_chains: tuple[tuple[str, ...], ...]
    source: tuple[tuple[str, str], ...]


def summarize_tree(path: Path, tree: SemanticTree) -> TreeSummary:
    """Summarize a tree that was read from ``path``."""
    roots = np.flatnonzero(tree.parent < 0)
    return TreeSummary(
        path=path,
        classes_name=tree.classes.name,
        num_classes=len(tree.classes),
        digest=tree.classes.digest,
        inner=len(tree.inner),
        levels=tree_levels(tree),
        roots=len(roots),
        largest_roots=_largest_roots(tree, roots.tolist()),
        deepest_chains=_deepest_chains(tree),
        source=tuple(flatten(tree.source)),
    )


def tree_levels(tree: SemanticTree) -> tuple[TreeLevel, ...]:
    """The levels of a tree, from the top down."""
    inner = np.bincount(tree.level[tree.inner], minlength=len(tree.counts)).tolist()
    total = sum(tree.counts)
    ranks = tree.ranks or [""] * len(tree.counts)
    columns = zip(tree.counts, inner, paper_level_weights(tree.counts), ranks, strict=True)
    return tuple(
        TreeLevel(k, nodes, added, nodes / total, weight, rank)
        for k, (nodes, added, weight, rank) in enumerate(columns)
    )


def _largest_roots(tree: SemanticTree, roots: list[int]) -> tuple[TreeRoot, ...]:
    below: list[int] = tree.classes_below.tolist()
    largest = sorted(roots, key=lambda at: (-below[at], at))[:_MOST_ROOTS]
    return tuple(TreeRoot(tree.classes[at], readable(tree.names[at]), below[at]) for at in largest)


def _deepest_chains(tree: SemanticTree) -> tuple[tuple[str, ...], ...]:
    """Chains of maximum depth; of siblings, whose chains differ only in the last name, one."""
    deepest = np.flatnonzero(tree.depth == tree.depth.max())
    _, first = np.unique(tree.parent[deepest], return_index=True)
    chosen: list[int] = deepest[np.sort(first)][:_MOST_CHAINS].tolist()
    if int(tree.depth[chosen[0]]) == 0:
        chosen = chosen[:1]
    return tuple(
        tuple(readable(tree.names[at]) for at in tree.chain(index).tolist()) for index in chosen
    )

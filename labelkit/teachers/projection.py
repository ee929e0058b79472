"""A teacher's logits as logits of a data set's classes.

Legend: B batch, S classes of a teacher, T of the data set, H W grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from labelkit.errors import ClassListMismatch
from labelkit.hierarchy import (
    NAMED_LISTS,
    ClassList,
    Taxonomy,
    hint_for_plain_names,
    project,
    read_class_list,
)
from labelkit.teachers.card import card_names, find_card
from labelkit.teachers.merging import DEFAULT_MERGE, Merge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelkit.hierarchy import Projection
    from labelkit.teachers.teacher import Teacher

_CORRECTION = {"sum": 0.0, "root": 0.5, "mean": 1.0}
_TANGENT = 0.75  # how much of *other* is linear in the logits (docs/decisions/0011)
_NOTHING = 20.0  # below the log-sum-exp of all classes: the logit of *other* without such classes
_SHOWN = 20


class LogitsProjection:
    """Merges a teacher's classes into those of a data set, as logits.

    A class of the data set that is made of n classes of the teacher gets the logarithm of the sum
    of their exponentials, so that its probability is their sum (``sum``); minus log n (``mean``),
    so that 118 breeds of dogs count no more than 5 of cats; or minus half of that (``root``). With
    ``max`` it gets the highest of their logits. *Other* is made in the same way.

    Then three quarters of the logit of *other* are replaced by its tangent at the image's mean
    logits. It is made of so many unlike classes that each cell has another one in front; so the
    mean over a crop's cells, which is what pooling makes, is far above the *other* of the crop's
    mean logits. A linear function has no such gap.

    Args:
        projection: S onto T classes, none of which is missing.
        device: where the logits are.
        merge: how several classes become one.
        other: whether to add one more output for the classes that belong to none of the T. For a
            teacher without such classes it is 20 below the log-sum-exp, a probability of 2e-9.

    Attributes:
        unused: how many of the S classes belong to none of the T.
        merges: whether any of the T classes is made of several.

    Source: ``docs/decisions/0011`` measures the four, and the tangent.
    """

    def __init__(
        self,
        projection: Projection,
        device: torch.device,
        merge: Merge = DEFAULT_MERGE,
        *,
        other: bool = False,
    ) -> None:
        classes = len(projection.target)
        onto = np.where(projection.index < 0, classes, projection.index)
        self._used = torch.from_numpy(np.flatnonzero(onto < classes + other)).to(device)
        counts = np.bincount(onto, minlength=classes + 1)
        self.merges = bool((counts[:classes] > 1).any())
        self.unused = int(counts[classes])
        self._onto = torch.from_numpy(onto).to(device).index_select(0, self._used)
        self._unused = torch.from_numpy(np.flatnonzero(onto == classes)).to(device)
        self._outputs = classes + other
        self._other = other
        correction = _CORRECTION.get(merge, 0.0) * np.log(np.maximum(counts, 1))
        self._correction = torch.from_numpy(correction[: self._outputs, None, None]).to(device)
        self._merge: Merge = merge

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (B, S, H, W) to (B, T, H, W), or (B, T + 1, H, W) with *other*."""
        used = logits.index_select(1, self._used)
        shape = (len(used), self._outputs, *used.shape[2:])
        merged = used.new_full(shape, -torch.inf)
        merged.scatter_reduce_(1, self._onto.view(1, -1, 1, 1).expand_as(used), used, "amax")
        if self._merge != "max":
            terms = (used - merged.index_select(1, self._onto)).exp()
            merged += torch.zeros_like(merged).index_add_(1, self._onto, terms).log()
        if self._other and self.unused:
            merged[:, -1].lerp_(self._tangent(logits.index_select(1, self._unused)), _TANGENT)
        elif self._other:
            merged[:, -1] = logits.logsumexp(dim=1) - _NOTHING
        return merged - self._correction.to(merged.dtype)

    def _tangent(self, logits: torch.Tensor) -> torch.Tensor:
        """The merged logit (B, H, W) of classes (B, U, H, W), to first order around their means."""
        mean = logits.mean(dim=(2, 3), keepdim=True)
        if self._merge == "max":
            return logits.take_along_dim(mean.argmax(dim=1, keepdim=True), dim=1)[:, 0]
        change = ((logits - mean) * mean.softmax(dim=1)).sum(dim=1)
        return mean.logsumexp(dim=1) + change


def project_teachers(
    teachers: Sequence[Teacher],
    classes: ClassList,
    synsets: Mapping[str, str],
    merge: Merge = DEFAULT_MERGE,
    *,
    other: bool = False,
) -> list[LogitsProjection | None]:
    """The projection of each teacher's logits onto ``classes``.

    Classes are found by ``teacher_id``. A class of the teacher that is not among them goes to its
    nearest ancestor in WordNet (``labelkit.hierarchy.project``); without one, it is *other*.

    Args:
        teachers: each of S classes.
        classes: T classes.
        synsets: class -> the wnid by which a teacher may know it.
        merge: how several classes of a teacher become one of the T.
        other: whether to add the output *other*, if any teacher has classes that belong to none of
            the T. Then all get it.

    Returns:
        None for a teacher that predicts just these classes.

    Raises:
        ClassListMismatch: a teacher has nothing for some of the classes; the message names them.
        ClassListError: two classes have the same id for a teacher.
    """
    found = [_projection(teacher, classes, synsets) for teacher in teachers]
    other = other and any(len(each.unused) for each in found)
    return [
        None
        if not other and each.source.ids == each.target.ids
        else LogitsProjection(each, teacher.device, merge, other=other)
        for teacher, each in zip(teachers, found, strict=True)
    ]


def _projection(teacher: Teacher, classes: ClassList, synsets: Mapping[str, str]) -> Projection:
    ids = ClassList.of(
        (teacher_id(each, teacher, synsets) for each in classes), f"synsets of {classes.name}"
    )
    taxonomy = None if ids.ids == teacher.classes.ids else Taxonomy.wordnet()
    projection = project(teacher.classes, ids, taxonomy)
    if projection.missing:
        raise _missing_classes(projection, classes, teacher, named=bool(synsets))
    return projection


def teacher_id(class_id: str, teacher: Teacher, synsets: Mapping[str, str]) -> str:
    """What a teacher calls a class: its synset, or the class id if the teacher only knows that."""
    synset, known = synsets.get(class_id, class_id), teacher.classes.index
    return class_id if class_id in known and synset not in known else synset


def _missing_classes(
    projection: Projection, classes: ClassList, teacher: Teacher, *, named: bool
) -> ClassListMismatch:
    labels = dict(zip(projection.target, map(_label, classes, projection.target), strict=True))
    missing = projection.missing
    shown = ", ".join(labels[each] for each in missing[:_SHOWN])
    more = ", ..." if len(missing) > _SHOWN else ""
    remedy = "Choose other synsets for them, remove" if named else "Remove"
    hint = "" if named else f". {hint_for_plain_names(teacher.classes)}"
    return ClassListMismatch(
        f"teacher {teacher.card.name} ({teacher.classes}) has nothing for {len(missing):,} of the "
        f"classes in {classes}: {shown}{more}. {remedy} them from the list, or use another teacher"
        f"{_better_cards(projection)}{hint}"
    )


def _label(class_id: str, synset: str) -> str:
    """A class for a message, with its synset if that is another id."""
    return class_id if class_id == synset else f"{class_id} ({synset})"


def _better_cards(projection: Projection) -> str:
    """Which of labelkit's cards lack fewer of the classes, as the end of a sentence; or nothing."""
    cards = [card for card in map(find_card, card_names()) if card and card.classes in NAMED_LISTS]
    lacking = {
        name: len(project(read_class_list(name), projection.target, Taxonomy.wordnet()).missing)
        for name in {card.classes for card in cards}
    }
    better = sorted(
        (lacking[card.classes], card.name, card.classes)
        for card in cards
        if lacking[card.classes] < len(projection.missing)
    )
    shown = [f"{name} ({classes}) lacks {count or 'none'}" for count, name, classes in better]
    return f": of labelkit's cards, {', '.join(shown)} of them" if shown else ""

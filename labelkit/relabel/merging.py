"""A teacher's class scores as those of a data set's own classes.

# B batch, S classes of the teacher, T classes of the data set, H W grid
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from labelkit.data.original_labels import ids_for_names
from labelkit.errors import ClassListMismatch
from labelkit.hierarchy import NAMED_LISTS, ClassList, Taxonomy, project, read_class_list
from labelkit.teachers import card_names, find_card

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy import Projection
    from labelkit.teachers import Teacher

_SHOWN = 20


class MergeLogits:
    """Sums the probabilities of a teacher's classes into those of a data set, as logits.

    A class of the data set gets the log of the sum of exponentials, so that the softmax over
    the data set's classes is the teacher's own answer, added up and restricted to them.

    Args:
        projection: S onto T classes, none of which is missing.
        device: where the logits are.

    Attributes:
        unused: how many of the S classes are left out.
    """

    def __init__(self, projection: Projection, device: torch.device) -> None:
        used = np.flatnonzero(projection.index >= 0)
        onto = projection.index[used]
        # One class each: a gather in the order of the targets does it, exactly.
        self._single = len(used) == len(projection.target)
        if self._single:
            used = used[np.argsort(onto)]
        self._used = torch.from_numpy(used).to(device)
        self._onto = torch.from_numpy(onto.copy()).to(device)
        self._classes = len(projection.target)
        self.unused = len(projection.unused)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (B, S, H, W) to (B, T, H, W)."""
        used = logits.index_select(1, self._used)
        if self._single:
            return used
        shape = (len(logits), self._classes, *logits.shape[2:])
        highest = used.new_full(shape, -torch.inf)
        highest.scatter_reduce_(1, self._onto.view(1, -1, 1, 1).expand_as(used), used, "amax")
        terms = (used - highest.index_select(1, self._onto)).exp()
        return highest + torch.zeros_like(highest).index_add_(1, self._onto, terms).log()


def merge_onto(
    classes: ClassList, teacher: Teacher, nouns: Mapping[str, str]
) -> MergeLogits | None:
    """How a teacher's logits become those of ``classes``; None if they are the same list.

    Classes are found by the id that ``sought_id`` tells; a class of the teacher that is none of
    them goes to the nearest one above it in WordNet (``labelkit.hierarchy.project``), or nowhere.

    Args:
        classes: T classes.
        teacher: of S classes.
        nouns: class -> the id by which a teacher may know it.

    Raises:
        ClassListMismatch: the teacher has nothing for some of the classes; the message names them.
        ClassListError: two classes have one id for the teacher.
    """
    sought = ClassList.of(
        (sought_id(each, teacher, nouns) for each in classes), f"nouns of {classes.name}"
    )
    if sought.ids == teacher.classes.ids:
        return None
    projection = project(teacher.classes, sought, Taxonomy.wordnet())
    if projection.missing:
        raise _nothing_for(projection, classes, teacher, named=bool(nouns))
    return MergeLogits(projection, teacher.device)


def sought_id(class_id: str, teacher: Teacher, nouns: Mapping[str, str]) -> str:
    """What a class is looked for as: its noun, or its own id where the teacher knows only that."""
    noun, known = nouns.get(class_id, class_id), teacher.classes.index
    return class_id if class_id in known and noun not in known else noun


def _nothing_for(
    projection: Projection, classes: ClassList, teacher: Teacher, *, named: bool
) -> ClassListMismatch:
    told = dict(zip(projection.target, map(_told, classes, projection.target), strict=True))
    missing = projection.missing
    shown = ", ".join(told[each] for each in missing[:_SHOWN]) + ", ..." * (len(missing) > _SHOWN)
    leave = "Choose other nouns for them, leave" if named else "Leave"
    plain = "" if named else f". {ids_for_names(teacher.classes)}"
    return ClassListMismatch(
        f"teacher {teacher.card.name} ({teacher.classes}) has nothing for {len(missing):,} of the "
        f"classes asked for ({classes}): {shown}. {leave} them out, or take another teacher"
        f"{_better_cards(projection)}{plain}"
    )


def _told(class_id: str, noun: str) -> str:
    """A class for a message, with its noun where that is another id."""
    return class_id if class_id == noun else f"{class_id} ({noun})"


def _better_cards(projection: Projection) -> str:
    """The end of a sentence: which of labelkit's cards lack fewer of the classes; or nothing."""
    cards = [card for card in map(find_card, card_names()) if card and card.classes in NAMED_LISTS]
    lacking = {
        name: len(project(read_class_list(name), projection.target, Taxonomy.wordnet()).missing)
        for name in {card.classes for card in cards}
    }
    fewer = sorted(
        (lacking[card.classes], card.name, card.classes)
        for card in cards
        if lacking[card.classes] < len(projection.missing)
    )
    told = [f"{name} ({classes}) lacks {count or 'none'}" for count, name, classes in fewer]
    return f": of the cards, {', '.join(told)} of them" if told else ""

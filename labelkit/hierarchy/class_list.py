"""An ordered list of class ids with a digest, the identity that trees, maps and teachers share."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

from labelkit.errors import ClassListError, ClassListMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
_WNID = re.compile(r"n\d{8}", re.ASCII)


@dataclass(frozen=True)
class ClassList:
    """Class ids in the order of a model's outputs.

    Ids are wnids such as ``n01440764`` or any other names; they must be unique and free of line
    breaks. ``name`` is for messages only and does not affect equality or the digest.

    Raises:
        ClassListError: no ids, a duplicate id, an empty id, or an id with a line break.

    >>> ClassList.of(["cat", "dog"]).digest[:6]
    '3a450e'
    """

    ids: tuple[str, ...]
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        # A folder's name may contain invalid UTF-8, which must not break what prints it.
        object.__setattr__(self, "name", self.name.encode(errors="replace").decode())
        if not self.ids:
            raise ClassListError(f"class list {self.name or '(unnamed)'} is empty")
        object.__setattr__(self, "ids", tuple(map(self._text, self.ids)))
        seen: set[str] = set()
        for position, class_id in enumerate(self.ids):
            if not class_id or class_id.splitlines() != [class_id]:
                raise ClassListError(
                    f"class {position} of {self.name or 'the list'} is {class_id!r}: "
                    "an id must be one non-empty line"
                )
            if class_id in seen:
                raise ClassListError(
                    f"duplicate class id {class_id!r} in {self.name or 'the list'} "
                    f"(positions {self.ids.index(class_id)} and {position}): remove one"
                )
            seen.add(class_id)

    @classmethod
    def of(cls, ids: Iterable[str], name: str = "") -> Self:
        """A class list from any iterable of ids; a single string is refused.

        Raises:
            ClassListError: as for the class itself.
        """
        if isinstance(ids, str):
            raise ClassListError(f"{ids!r} is a single id: pass a list of ids")
        return cls(tuple(ids), name)

    def _text(self, class_id: object) -> str:
        """An id as a plain ``str``, even if it is of a subclass such as numpy's."""
        if not isinstance(class_id, str):
            raise ClassListError(
                f"{class_id!r} in {self.name or 'the list'} is not an id: ids are text"
            )
        try:
            class_id.encode()
        except UnicodeEncodeError:
            raise ClassListError(
                f"{class_id!r} in {self.name or 'the list'} is not valid UTF-8: rename it"
            ) from None
        return str(class_id)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the ids joined by line feeds, in hexadecimal."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()

    @cached_property
    def index(self) -> dict[str, int]:
        """Id -> position."""
        return {class_id: position for position, class_id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __getitem__(self, position: int) -> str:
        return self.ids[position]

    def __str__(self) -> str:
        """Name, length and the digest's first six digits, as error messages show it."""
        return f"{self.name or 'class list'} ({len(self):,} classes, digest {self.digest[:6]})"

    def require_equal(self, other: ClassList, *, ours: str, theirs: str, hint: str) -> None:
        """Raise unless both lists have the same ids in the same order.

        Args:
            other: the list to compare with.
            ours: the owner of this list, for the message.
            theirs: the owner of the other list.
            hint: what the user can do about a mismatch.

        Raises:
            ClassListMismatch: they differ; the message names both.
        """
        if self.ids != other.ids:
            raise ClassListMismatch(f"{ours} has {self}, {theirs} has {other}. {hint}")


def are_wnids(ids: Iterable[str]) -> bool:
    """Whether all ids have the form of WordNet's.

    >>> are_wnids(["n01440764", "n02102040"]), are_wnids(["tench", "n02102040"])
    (True, False)
    """
    return all(_WNID.fullmatch(class_id) for class_id in ids)


def looks_like_indices(ids: Iterable[str]) -> bool:
    """Whether all ids are plain numbers, such as the folders 0, 1, 10, 2.

    >>> looks_like_indices(["0", "1", "10"]), looks_like_indices(["0", "cat"])
    (True, False)
    """
    return all(class_id.isdecimal() for class_id in ids)


def advice_on_indices(ids: Iterable[str]) -> str:
    """What to do about classes that look like indices; empty if not all of the ids do."""
    if not looks_like_indices(ids):
        return ""
    return (
        "They look like indices, not names. Rename the folders to the names or WordNet ids of "
        "their classes. Mind the order: sorted by name, folder 10 comes before folder 2"
    )


def hint_for_plain_names(classes: ClassList) -> str:
    """What to do next if the user's classes have plain names but these are ids: one sentence."""
    return (
        f"Its classes are ids such as {classes[0]}: if yours have plain names, choose the synset "
        "of each, labelkit match-names CLASSES -o names.tsv, and relabel with --classes CLASSES "
        "--names names.tsv, where CLASSES is the folder, list or coarsening (docs/loops.md)"
    )

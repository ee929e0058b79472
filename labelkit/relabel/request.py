"""What a run was asked for, in a form that a finished file can be compared with. Loads no torch.

A teacher is identified by its weights, which take seconds to load. The digest of its card and its
weight file identifies it without loading: a file records a digest of both and of all settings that
maps depend on. A different digest proves nothing, since a default may have been given explicitly.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from labelkit.errors import LabelkitError
from labelkit.files import file_sha256
from labelkit.label_maps import LabelMapFile
from labelkit.teachers import TeacherCard, class_list_of, find_card, weight_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.relabel.settings import Settings

_NOT_OF_MAPS = ("batch_size", "workers", "shard_rows", "save_seconds", "classes", "synsets")


class Asked(NamedTuple):
    """A teacher as a command asks for it.

    Attributes:
        card: which model.
        weights: SHA-256 of its weight file.
        classes: digest of its class list.
        force: as ``load_teacher`` takes it.
        precision: likewise.
    """

    card: TeacherCard
    weights: str
    classes: str
    force: bool
    precision: str


def asked_teacher(name: str, size: int | None, *, force: bool, precision: str) -> Asked | None:
    """A teacher by its name or card; None if no card and weight file describe it.

    Args:
        name: as ``load_teacher`` takes it, and so on.
        size: side in pixels for models that are built for one size.
        force: make a map of patch tokens.
        precision: of the features.
    """
    try:
        card = find_card(name)
        if card is None or card.weights is None:
            return None
        path, classes = weight_file(card, card.weights), class_list_of(card).digest
        card = card if size is None else msgspec.structs.replace(card, size=size)
        return Asked(card, file_sha256(path), classes, force, precision)
    except (LabelkitError, OSError):
        return None  # loading the teacher says what is wrong


def request_digest(settings: Settings, teachers: Sequence[Asked | None]) -> str:
    """Identifies a request; empty if a teacher is not described by files."""
    known = [each for each in teachers if each is not None]
    if len(known) < len(teachers):
        return ""
    facts: dict[str, Any] = {
        name: value for name, value in vars(settings).items() if name not in _NOT_OF_MAPS
    }
    facts["classes"] = settings.classes.digest if settings.classes else ""
    facts["synsets"] = dict(settings.synsets)
    facts["sizes"] = [(each,) if isinstance(each, int) else each for each in settings.sizes]
    facts["teachers"] = sorted((_teacher(each, settings) for each in known), key=str)
    encoded = msgspec.json.encode(facts, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()


def finished_file(output: Path, request: str, keys: Sequence[str]) -> LabelMapFile | None:
    """The file of a request for these images; None if there is none, or if this is unknown."""
    if not request or not output.exists():
        return None
    try:
        file = LabelMapFile.open(output)
        if file.made_with.get("request") == request and {*file, *file.unreadable} == {*keys}:
            return file
    except LabelkitError:
        return None
    return None


def _teacher(asked: Asked, settings: Settings) -> dict[str, Any]:
    card: dict[str, Any] = msgspec.to_builtins(asked.card)
    names = ("name", "model", "native_size", "mean", "std", "interpolation")
    facts = {name: card[name] for name in names} | asked._asdict()
    return facts | {"card": card["size"] if not settings.sizes else 0}

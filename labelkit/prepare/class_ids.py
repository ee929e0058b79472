"""Which class names can be used: as a folder's name and as a line of a class list, on any disk."""

from __future__ import annotations

import unicodedata

from labelkit.errors import PrepareError
from labelkit.wording import clipped

_SHOWN = 3


class ClassIds:
    """The classes of a dump so far: each name is usable, and none is there twice."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, str]] = {}

    def add(self, class_id: str, where: str) -> str:
        """Add a class; returns why it cannot be used, or nothing.

        Args:
            class_id: its name.
            where: the folder or tar that has it, for the message.
        """
        if fault := _fault(class_id):
            return f"{where}: class name {clipped(class_id)} {fault}"
        spelling = unicodedata.normalize("NFC", class_id).casefold()
        first_id, first = self._places.setdefault(spelling, (class_id, where))
        if first == where:
            return ""
        if first_id == class_id:
            return f"class {clipped(class_id)} is there twice: {first} and {where}"
        return (
            f"classes {clipped(first_id)} ({first}) and {clipped(class_id)} ({where}) differ only "
            "in upper and lower case or in the encoding of accents, which many disks do not tell "
            "apart"
        )


def require_usable(classes: list[tuple[str, str]]) -> None:
    """Refuse a dump of which some class names cannot be used, before any work.

    Args:
        classes: the name of each class, and the folder or tar that has it.

    Raises:
        PrepareError: the message names the first few and says what to do.
    """
    ids = ClassIds()
    faults = [fault for class_id, where in classes if (fault := ids.add(class_id, where))]
    if faults:
        raise PrepareError(refusal(faults))


def refusal(faults: list[str]) -> str:
    """The message about classes that cannot be used."""
    more = f"; and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
    return (
        f"{'; '.join(faults[:_SHOWN])}{more}. Rename the classes: copy or link them to a folder of "
        "class folders or class tars with other names, and prepare that"
    )


def _fault(class_id: str) -> str:
    try:
        encoded = class_id.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if not class_id or class_id in {".", ".."} or "/" in class_id or "\0" in class_id:
        return "cannot name a folder"
    if class_id.startswith("."):
        return "is hidden (it begins with a dot)"
    if len(encoded) > 255:
        return "is longer than 255 bytes"
    if class_id != class_id.strip() or class_id.startswith("#") or not class_id.isprintable():
        return (
            "cannot be a line of a class list (spaces around it, a # in front, control characters)"
        )
    return ""

"""Teacher cards: which model, weights, class list and input size stand behind a name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from labelkit.errors import TeacherError, first_line

Side = Annotated[int, msgspec.Meta(ge=16, le=4096)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Triple = tuple[float, float, float]

# In a wheel the cards lie inside the package; in a checkout they lie in the room that users edit.
_CARD_FOLDERS = (Path(__file__).parent / "cards", Path(__file__).parents[2] / "teachers")


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a card's weights lie: a file beside the card, or inside an installed package."""

    file: str
    package: str = ""
    layout: Literal["timm", "efficientnet-lite-pytorch"] = "timm"
    install: str = ""


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the model names the right class, and who says so.

    Attributes:
        top1: per cent of the validation images of ImageNet-1k.
        source: who measured it, and how.
    """

    top1: Percent
    source: str


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the teacher answers to the golden image, which code draws: a digest that bears rounding.

    Attributes:
        classes: ids of the strongest classes of the whole image, strongest first.
        logits: theirs.
    """

    classes: tuple[str, ...]
    logits: tuple[float, ...]


class TeacherCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that is needed to load one teacher; the fields are those of its TOML file.

    Attributes:
        model: timm architecture, with or without a weights tag.
        classes: a named class list, or a text file beside the card.
        size: side in pixels of the square that the whole image is resized to.
        native_size: side in pixels that the model was trained at.
        mean: of the pixels in [0, 1], per channel.
        std: likewise.
        interpolation: of the resize; always with antialiasing.
        licence: of the weights.
        tested: whether labelkit's own tests ran it with its weights.
        accuracy: on ImageNet-1k, where known.
        golden: its answer to the golden image, where it was run.
        weights: None lets timm fetch the model's own.
        name: the file's name without ``.toml``.
        folder: where the card lies; relative paths start there.
    """

    model: str
    classes: str
    size: Side
    native_size: Side
    mean: Triple
    std: Triple
    interpolation: Literal["bicubic", "bilinear"]
    licence: str = ""
    tested: bool = False
    accuracy: Accuracy | None = None
    golden: Golden | None = None
    weights: Weights | None = None
    name: str = ""
    folder: str = ""


def card_names() -> list[str]:
    """The names of the cards that come with labelkit, in alphabetical order."""
    return sorted(path.stem for folder in _CARD_FOLDERS for path in folder.glob("*.toml"))


def find_card(name: str) -> TeacherCard | None:
    """The card of a name, or of a path that ends in ``.toml``; None if there is no such card.

    Raises:
        TeacherError: the card is not valid TOML, or a field is missing, unknown or wrong.
    """
    if name.endswith(".toml"):
        return read_card(Path(name))
    for folder in _CARD_FOLDERS:
        path = folder / f"{name}.toml"
        if name in card_names() and path.is_file():
            return read_card(path)
    return None


def read_card(path: Path) -> TeacherCard:
    """Read one card.

    Raises:
        TeacherError: no such file, not valid TOML, or a field is missing, unknown or wrong.
    """
    try:
        card = msgspec.toml.decode(path.read_bytes(), type=TeacherCard)
    except FileNotFoundError:
        raise TeacherError(f"no such teacher card: {path}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise TeacherError(f"teacher card {path}: {first_line(error)}") from error
    return msgspec.structs.replace(card, name=path.stem, folder=str(path.parent))


def suggestion(name: str, more_names: list[str]) -> str:
    """What to try instead of an unknown teacher's name."""
    close = difflib.get_close_matches(name, [*card_names(), *more_names], n=3)
    meant = f"Did you mean {', '.join(close)}? " if close else ""
    return f"{meant}Cards: {', '.join(card_names())}; or any timm model with a spatial grid"

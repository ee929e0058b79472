"""Teacher cards: the model, weights, class list and preprocessing of a teacher, in a TOML file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from labelkit.errors import TeacherError, first_line
from labelkit.files import decode_toml, read_utf8
from labelkit.hierarchy import NAMED_LISTS, ClassList, read_class_list

Side = Annotated[int, msgspec.Meta(ge=16, le=4096)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Triple = tuple[float, float, float]
# One line of a length that can be printed: a card may come from anywhere.
Text = Annotated[str, msgspec.Meta(max_length=500, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]

FIELDS = "teachers/README.md describes the fields"

# In a wheel the cards are inside the package; in a checkout, in the folder that users edit.
_CARD_FOLDERS = (Path(__file__).parent / "cards", Path(__file__).parents[2] / "teachers")


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A card's weight file.

    Attributes:
        file: its path, relative to the card's folder or the package.
        package: an installed Python package that contains the file; empty for none.
        layout: whose parameter names the file uses.
        install: the command that installs the package.
    """

    file: Text
    package: Text = ""
    layout: Literal["timm", "efficientnet-lite-pytorch"] = "timm"
    install: Text = ""


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model's published accuracy.

    Attributes:
        top1: top-1 accuracy on the validation images of ImageNet-1k, in per cent.
        source: who measured it, and how.
    """

    top1: Percent
    source: Text


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The teacher's prediction for the golden image, like a digest that tolerates rounding.

    Attributes:
        classes: ids of the strongest classes of the whole image, strongest first.
        logits: their logits.
    """

    classes: tuple[Text, ...]
    logits: tuple[float, ...]


class TeacherCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What it takes to load one teacher; the fields are those of its TOML file.

    Attributes:
        model: timm architecture, with or without a weights tag.
        classes: a named class list, or a text file next to the card.
        size: side in pixels of the square that the whole image is resized to.
        native_size: side in pixels that the model was trained at.
        mean: per-channel mean that is subtracted from pixels in [0, 1].
        std: per-channel standard deviation that they are divided by.
        interpolation: of the resize; always with antialiasing.
        licence: of the weights.
        tested: whether labelkit's tests run it with its weights.
        accuracy: on ImageNet-1k, if known.
        golden: its prediction for the golden image, if it was run.
        weights: the file with the weights; None lets timm download them.
        name: the file name without ``.toml``.
        folder: the card's folder, which relative paths start from.
    """

    model: Text
    classes: Text
    size: Side
    native_size: Side
    mean: Triple
    std: Triple
    interpolation: Literal["bicubic", "bilinear"]
    licence: Text = ""
    tested: bool = False
    accuracy: Accuracy | None = None
    golden: Golden | None = None
    weights: Weights | None = None
    name: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(f"std is {list(self.std)}, expected numbers above 0")


def card_names() -> list[str]:
    """The names of the cards that labelkit ships, in alphabetical order."""
    return sorted(path.stem for folder in _CARD_FOLDERS for path in folder.glob("*.toml"))


def find_card(name: str) -> TeacherCard | None:
    """The card with this name or, for a name that ends in ``.toml``, at this path; else None.

    Raises:
        TeacherError: no such file, not valid TOML, or a field is missing, unknown or wrong.
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
        text = read_utf8(path, TeacherError)
    except FileNotFoundError:
        raise TeacherError(f"no such teacher card: {path}") from None
    except (OSError, TeacherError) as error:
        raise TeacherError(f"teacher card {first_line(error)}") from error
    card = decode_toml(text, TeacherCard, f"teacher card {path}", TeacherError, FIELDS)
    return msgspec.structs.replace(card, name=path.stem, folder=str(path.parent))


def class_list_of(card: TeacherCard) -> ClassList:
    """The class list that a card names."""
    if card.classes in NAMED_LISTS:
        return read_class_list(card.classes)
    return read_class_list(Path(card.folder) / card.classes)


def suggestion(name: str, more_names: list[str]) -> str:
    """What to try in place of an unknown teacher name."""
    close = difflib.get_close_matches(name, [*card_names(), *more_names], n=3)
    question = f"Did you mean {', '.join(close)}? " if close else ""
    return f"{question}Use a card ({', '.join(card_names())}) or any timm model with a spatial grid"

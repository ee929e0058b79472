"""An HTML page: sections of typed blocks, rendered as one file that needs no network and no script.

Each block's ``kind`` names the part of ``templates/page.html`` that shows it. All text is escaped
there; none of it is taken as HTML.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from labelkit.files import replace_file
from labelkit.inspection.drawing import hexadecimal
from labelkit.inspection.plots import curve_svg, scatter_svg
from labelkit.wording import percent

if TYPE_CHECKING:
    import os

    from PIL import Image

    from labelkit.inspection.drawing import LegendEntry

_THUMBNAIL = 320


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True, slots=True)
class Facts:
    """A row of tiles, each a large value over a small label: (value, label)."""

    items: tuple[tuple[str, str], ...]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, slots=True)
class DataTable:
    """A table; columns whose cells are numbers or empty are aligned to the right.

    Raises:
        ValueError: a row does not have one cell per column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells {row!r}, expected {len(self.columns)}")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether it is aligned to the right."""
        cells = [[row[at] for row in self.rows if row[at]] for at in range(len(self.columns))]
        # "<0.1 %" is a number too.
        return tuple(
            bool(column) and all(cell.lstrip("<")[:1].isdigit() for cell in column)
            for column in cells
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with a caption.

    Attributes:
        image: the picture, which is embedded in the page, or a path relative to the page.
        caption: the text below the picture.
        alt: the text for screen readers; the caption if empty.
        legend: the colours or letters in the picture, and their meaning.
    """

    image: Image.Image | str
    caption: str = ""
    alt: str = ""
    legend: tuple[LegendEntry, ...] = ()

    @property
    def source(self) -> str:
        """The ``src`` attribute: the embedded image, or the quoted path."""
        if isinstance(self.image, str):
            return quote(self.image, errors="surrogateescape")
        return data_uri(self.image)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures as cards in a grid; with ``wide``, each has the full width of the page."""

    cards: tuple[Picture, ...]
    wide: bool = False
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of values over steps, such as a loss; see ``curve_svg``."""

    values: tuple[float, ...]
    caption: str = ""
    steps: str = "step"
    kind: ClassVar[str] = "curve"

    @property
    def svg(self) -> str:
        """The line as inline SVG."""
        return curve_svg(self.values, label=self.caption, steps=self.steps)


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points in several series; see ``scatter_svg``."""

    points: tuple[tuple[float, float, str, str], ...]
    axes: tuple[str, str]
    caption: str = ""
    kind: ClassVar[str] = "curve"

    @property
    def svg(self) -> str:
        """The points as inline SVG."""
        return scatter_svg(self.points, axes=self.axes)


@dataclass(frozen=True, slots=True)
class Bar:
    """A class and its probability, 0 to 1.

    Raises:
        ValueError: the probability is not between 0 and 1.
    """

    name: str
    probability: float

    def __post_init__(self) -> None:
        # A softmax in float32 may slightly exceed 1.
        if not 0 <= self.probability <= 1.001:
            raise ValueError(
                f"probability {self.probability} of {self.name!r} is not between 0 and 1"
            )


@dataclass(frozen=True, slots=True)
class CropComparison:
    """A crop, its pooled target, and the target of the whole image."""

    crop: Image.Image
    pooled: tuple[Bar, ...]
    whole: tuple[Bar, ...]
    caption: str = ""

    @property
    def source(self) -> str:
        """The ``src`` attribute: a thumbnail of the crop."""
        thumbnail = self.crop.convert("RGB")
        thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return data_uri(thumbnail)


@dataclass(frozen=True, slots=True)
class CropComparisons:
    """Crops as cards, with bars for both targets."""

    cards: tuple[CropComparison, ...]
    pooled_title: str = "Pooled over the crop"
    whole_title: str = "Of the whole image"
    kind: ClassVar[str] = "crops"


@dataclass(frozen=True, slots=True)
class TreePaths:
    """Paths from a root to a class as names, one per line."""

    paths: tuple[tuple[str, ...], ...]
    kind: ClassVar[str] = "paths"


@dataclass(frozen=True, slots=True)
class Commands:
    """Command lines or lines of code."""

    lines: tuple[str, ...]
    kind: ClassVar[str] = "commands"


Block: TypeAlias = (
    Paragraph
    | Facts
    | DataTable
    | Pictures
    | Curve
    | Scatter
    | CropComparisons
    | TreePaths
    | Commands
)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page: a title, an introductory sentence, sections, and a footer."""

    title: str
    sections: tuple[Section, ...]
    lead: str = ""
    footer: str = ""


def data_uri(image: Image.Image) -> str:
    """A picture as a ``data:`` URI with a JPEG, so that a page needs no other file."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def write_page(path: str | os.PathLike[str], page: Page) -> None:
    """Write a page as HTML, atomically; an existing file is replaced.

    The same page gives the same bytes. Pictures given as images are embedded; browsers look for
    those given as paths relative to the file.

    Raises:
        OSError: the file cannot be written.
        ValueError: a curve without values, or with one that is not finite.
    """
    replace_file(Path(path), render_page(page).encode())


def render_page(page: Page) -> str:
    """The page's HTML, with all text escaped.

    Raises:
        ValueError: a curve without values, or with one that is not finite.
    """
    return template_environment().get_template("page.html").render(page=page)


def template_environment() -> jinja2.Environment:
    """The environment of all page templates; it escapes all text."""
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("labelkit.inspection"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["percent"] = percent
    pages.filters["hexadecimal"] = hexadecimal
    pages.filters["svg"] = Markup
    return pages


def _clean(value: object) -> object:
    """Text without the control characters that HTML forbids; other values unchanged."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value
    )

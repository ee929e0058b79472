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
    """A table; columns of cells that begin with a digit or are empty are set to the right.

    Raises:
        ValueError: a row has not one cell per column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells {row!r} for {len(self.columns)} columns")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether it is set to the right."""
        cells = [[row[at] for row in self.rows if row[at]] for at in range(len(self.columns))]
        # "<0.1 %" is a number too.
        return tuple(
            bool(column) and all(cell.lstrip("<")[:1].isdigit() for cell in column)
            for column in cells
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with words below it.

    Attributes:
        image: the picture itself, which goes into the page; or a file's path relative to the page.
        caption: below the picture.
        alt: what a screen reader says; the caption if empty.
        legend: colours or letters in the picture and what they stand for.
    """

    image: Image.Image | str
    caption: str = ""
    alt: str = ""
    legend: tuple[LegendEntry, ...] = ()

    @property
    def source(self) -> str:
        """What stands in ``src``: the image's own bytes, or the path, quoted."""
        if isinstance(self.image, str):
            return quote(self.image, errors="surrogateescape")
        return data_uri(self.image)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Cards in a grid; ``wide`` gives each card the page's whole width."""

    cards: tuple[Picture, ...]
    wide: bool = False
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of values over steps, such as a loss; see ``labelkit.inspection.curve``."""

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
    """Points of several kinds over two axes; see ``labelkit.inspection.scatter``."""

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
    """One class's name and its probability, 0 to 1.

    Raises:
        ValueError: the probability is not between 0 and 1.
    """

    name: str
    probability: float

    def __post_init__(self) -> None:
        # A softmax in float32 may end a hair above 1.
        if not 0 <= self.probability <= 1.001:
            raise ValueError(f"probability {self.probability} of {self.name!r}")


@dataclass(frozen=True, slots=True)
class CropComparison:
    """A crop, what its pooled label says of it, and what the whole image's label would say."""

    crop: Image.Image
    pooled: tuple[Bar, ...]
    whole: tuple[Bar, ...]
    caption: str = ""

    @property
    def source(self) -> str:
        """What stands in ``src``: a thumbnail of the crop."""
        thumbnail = self.crop.convert("RGB")
        thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return data_uri(thumbnail)


@dataclass(frozen=True, slots=True)
class CropComparisons:
    """Cards of crops with bars of both labels."""

    cards: tuple[CropComparison, ...]
    pooled_title: str = "Pooled over the crop"
    whole_title: str = "Of the whole image"
    kind: ClassVar[str] = "crops"


@dataclass(frozen=True, slots=True)
class TreePaths:
    """Paths from a root to a class, one a line, as names."""

    paths: tuple[tuple[str, ...], ...]
    kind: ClassVar[str] = "paths"


@dataclass(frozen=True, slots=True)
class Commands:
    """Command lines or lines of code, as they are typed."""

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
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page: title, an opening sentence, sections, and a last line in small print."""

    title: str
    sections: tuple[Section, ...]
    lead: str = ""
    footer: str = ""


def data_uri(image: Image.Image) -> str:
    """A picture as a JPEG inside an address, so that a page needs no other file."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def write_page(path: str | os.PathLike[str], page: Page) -> None:
    """Write a page as HTML, whole or not at all; a file that is there is replaced.

    The same page gives the same bytes. Pictures given as images lie inside the file; those given
    as paths are looked up beside it by the browser.

    Raises:
        OSError: the file cannot be written.
        ValueError: a curve without values, or with one that is not finite.
    """
    replace_file(Path(path), render_page(page).encode())


def render_page(page: Page) -> str:
    """The page's HTML; every text in it is escaped.

    Raises:
        ValueError: a curve without values, or with one that is not finite.
    """
    return template_environment().get_template("page.html").render(page=page)


def template_environment() -> jinja2.Environment:
    """Where every page's template comes from; it escapes every text."""
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
    """Text without the control marks that HTML forbids; anything else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value
    )

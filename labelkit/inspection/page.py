"""Write an HTML page of blocks: one file that needs no network, no script and no other file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from labelkit.files import replace_file
from labelkit.inspection.palette import hexadecimal
from labelkit.wording import percent

if TYPE_CHECKING:
    import os

    from labelkit.inspection.blocks import Page


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
    return environment().get_template("page.html").render(page=page)


def environment() -> jinja2.Environment:
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

"""``labelkit rename``: the new keys of renamed images, for the rows of a label-map file."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import (
    FILE,
    LABEL_MAP_SUFFIXES,
    output_option,
    overwrite_option,
    quiet_option,
    require_writable,
)

if TYPE_CHECKING:
    from pathlib import Path

EPILOG = """\b
Examples:
  labelkit verify maps.h5 --images moved/train --renames new.json
  labelkit rename maps.h5 --keys new.json -o renamed.h5
"""


@click.command("rename", epilog=EPILOG)
@click.argument("path", metavar="FILE", type=FILE)
@click.option(
    "--keys",
    metavar="NEW.json",
    type=FILE,
    required=True,
    help="A JSON object, old key -> new key, as labelkit verify --renames writes it.",
)
@output_option("Label-map file to write (.h5).")
@overwrite_option
@quiet_option
def command(path: Path, *, keys: Path, output: Path, overwrite: bool) -> None:
    """Copy the label-map file FILE with the new keys of images that were renamed or moved.

    Maps are checked and copied unchanged, so that a renamed folder costs no new predictions. Which
    image a row belongs to is for you to decide: labelkit verify only compares names. Afterwards,
    labelkit verify --sample recomputes some maps from the images and compares them.
    """
    require_writable(output, overwrite=overwrite, suffixes=LABEL_MAP_SUFFIXES, may_be_input=True)

    from labelkit.cli.output import console, print_lines
    from labelkit.cli.progress import progress_bar
    from labelkit.errors import LabelMapError
    from labelkit.files import decode_json
    from labelkit.label_maps import LabelMapFile, rename
    from labelkit.wording import counted, printable

    hint = "write it with labelkit verify --renames"
    new_keys = decode_json(keys.read_bytes(), dict[str, str], keys, LabelMapError, hint)
    screen = console()
    with (
        LabelMapFile.open(path) as file,
        progress_bar(screen, "Rename", "rows") as advance,
        rename(file, new_keys, output, advance, overwrite=overwrite) as renamed,
    ):
        images = counted(len(new_keys), "image", "images")
        lines = [f"Wrote {output}: {len(renamed):,} label maps, new keys for {images}"]
    check = ["labelkit", "verify", str(output), "--images", "DATA", "--sample", "100"]
    print_lines(screen, map(printable, [*lines, f"Next: {shlex.join(check)}"]))

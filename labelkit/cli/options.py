"""Options that several commands share, and what goes with them. Loads nothing but click.

A command takes the ones it needs as decorators, so that an option has one name, one type and one
help text wherever it appears.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelkit.image_folders import is_image_name, is_pattern

if TYPE_CHECKING:
    import torch

    from labelkit.hierarchy import ClassList
    from labelkit.sources import ImageSource


class SourcePath(click.Path):
    """A path of images: a folder, a file, or a pattern of files that the shell left alone."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 -- click's own signature
        """The path; patterns are checked when they are opened."""
        if is_pattern(os.fspath(value)) and not os.path.lexists(value):
            return Path(value)
        return super().convert(value, param, ctx)


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SOURCE = SourcePath()
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
LABEL_MAP_SUFFIXES = (".h5", ".hdf5")
_QUIET, _COLUMN = "labelkit.quiet", "labelkit.column."

Decorator = Any  # what ``click.option`` returns; its own type repeats the command's


def shard_option(help_text: str) -> Decorator:
    """``--shard I/N``: the part of the work that is one process's; I counts from 0, as ranks do."""
    return click.option(
        "--shard",
        metavar="I/N",
        callback=lambda _context, _option, value: _parse_share(value),
        help=help_text,
    )


def _parse_share(value: str | None) -> tuple[int, int] | None:
    """The numbers of ``i/n``."""
    if not value:
        return None
    index, slash, count = value.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise click.BadParameter(
            f"{value!r}: expected i/n with i from 0 to n - 1, such as 0/4 for the first of four"
        )
    return int(index), int(count)


def output_option(help_text: str, *, required: bool = True, folder: bool = False) -> Decorator:
    """``-o/--output``: the file (or folder) that the command writes."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(file_okay=not folder, dir_okay=folder, path_type=Path),
        required=required,
        help=help_text,
    )


def images_option(help_text: str) -> Decorator:
    """``--images``: the images that label maps were made from."""
    return click.option("--images", metavar="DATA", type=SOURCE, help=help_text)


overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the output if it exists."
)
classes_option = click.option(
    "--classes",
    metavar="LIST",
    help="Project the teacher onto these classes: a text file, a folder of class folders, or a "
    "named list.",
)
names_option = click.option(
    "--names",
    type=FILE,
    help="The WordNet synset of each plain class name: the file from labelkit match-names.",
)
teachers_option = click.option(
    "--teacher",
    "teachers",
    metavar="NAME",
    multiple=True,
    default=["efficientnet-lite0"],
    show_default=True,
    help="A card's name, the path of a card (.toml), or a timm model. Several are averaged.",
)
key_option = click.option(
    "--key", help="One image, by its key: its path below the folder of images."
)
device_option = click.option(
    "--device",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, cuda:1, …",
)
recipe_device_option = click.option(
    "--device",
    metavar="NAME",
    help="auto, cpu, cuda, cuda:1, … [default: the recipe's run.device]",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(0),
    help="Processes that decode images. [default: up to 8 with a GPU, else 1]",
)
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Images per forward pass. [default: the run's; 32 for a model that no run trained]",
)
seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random crops."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout instead.")


def _set_quiet(context: click.Context, _option: click.Parameter, quiet: bool) -> None:  # noqa: FBT001 -- click's own signature
    context.meta[_QUIET] = quiet or is_quiet()  # of a group, for its subcommands


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_quiet,
    help="Print nothing but errors.",
)


def _set_column(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[f"{_COLUMN}{option.name}"] = value


def source_options(command: Decorator) -> Decorator:
    """``--key-column`` and ``--image-column``, for ``open_images``."""
    for name, what in (
        ("--image-column", "the images or their paths"),
        ("--key-column", "the images' unique keys"),
    ):
        command = click.option(
            name,
            metavar="NAME",
            expose_value=False,
            callback=_set_column,
            help=f"Of a table: the column with {what}. [default: found by its type and name]",
        )(command)
    return command


def open_images(path: Path) -> ImageSource:
    """The images at a path, with the columns that the running command was given.

    Raises:
        LabelkitError: there are no images; the message says what was found.
    """
    from labelkit.sources import Columns, open_source

    meta = click.get_current_context().meta
    names = (f"{_COLUMN}{name}" for name in ("key_column", "image_column"))
    return open_source(path, Columns(*(meta.get(name) for name in names)))


def worker_count(workers: int | None, device: torch.device) -> int:
    """The number of processes that decode images: that of ``--workers``, if given.

    With a GPU, decoding limits the speed; on a CPU the model needs the cores.
    """
    if workers is not None:
        return workers
    return min(8, os.cpu_count() or 1) if device.type == "cuda" else 1


def is_quiet() -> bool:
    """Whether the command that is running was given ``--quiet``."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(_QUIET))


def require_suffix(output: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a name that promises another format than the command writes.

    Raises:
        click.UsageError: the ending is not among ``suffixes``.
    """
    if output.suffix.lower() not in suffixes:
        raise click.UsageError(f"{output} must end in {' or '.join(suffixes)}")


def require_writable(
    output: Path, *, overwrite: bool, suffixes: tuple[str, ...] = (), may_be_input: bool = False
) -> None:
    """Refuse an output before any work: the one policy of all commands.

    Args:
        output: the file to write.
        overwrite: whether ``--overwrite`` was given.
        suffixes: the endings that such a file may have; empty for any.
        may_be_input: the result holds all that the input holds, so it may replace it.

    Raises:
        click.UsageError: the ending is wrong, the folder does not exist, or the file does and may
            not be replaced.
    """
    if suffixes:
        require_suffix(output, suffixes)
    if not output.parent.is_dir():
        raise click.UsageError(f"no such folder: {output.parent}")
    if output.exists() and not overwrite:
        raise click.UsageError(f"{output} exists: choose another name, or pass --overwrite")
    if output.exists() and not may_be_input:
        _require_no_input(output)


def _require_no_input(output: Path) -> None:
    """Refuse to replace a file that the running command reads, or an image in a folder of images.

    Raises:
        click.UsageError: the output is one of them.
    """
    context = click.get_current_context(silent=True)
    for name, value in context.params.items() if context else ():
        for each in value if isinstance(value, tuple) else (value,):
            if name == "output" or not isinstance(each, (str, Path)) or not _exists(each):
                continue
            if Path(each).samefile(output):
                raise click.UsageError(f"{output} is an input of this command: choose another name")
            inside = output.resolve().is_relative_to(Path(each).resolve())
            if Path(each).is_dir() and inside and is_image_name(output.name):
                raise click.UsageError(
                    f"{output} is one of the images in {each}, which labelkit never changes: "
                    "choose another name"
                )


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False  # a word that cannot be a path


def read_classes(source: str | None, names: Path | None) -> tuple[ClassList | None, dict[str, str]]:
    """The class list of ``--classes``, None without one, and the synset of each class that has one.

    Raises:
        click.UsageError: no such list, an empty word, or names without a list.
        LabelkitError: the list or the name file cannot be used; the message says why.
    """
    if source is None:
        if names is not None:
            raise click.UsageError(
                "--names needs --classes, the classes that it names: pass --classes DATA if they "
                "are the folders of DATA"
            )
        return None, {}
    if not source.strip():
        raise click.UsageError("--classes is empty: pass a text file, a folder or a named list")
    from labelkit.hierarchy import read_class_list, read_name_file

    try:
        classes = read_class_list(source)
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error
    return classes, {} if names is None else read_name_file(names).synsets_of(classes)


def read_coarse_folders(source: str | None) -> dict[str, int] | None:
    """The coarse class of each folder, by name, if ``--classes`` is a coarsening; else None.

    Args:
        source: of ``--classes``, which ``read_classes`` has read.
    """
    from labelkit.file_kinds import BEGINNING, is_coarsening
    from labelkit.hierarchy import NAMED_LISTS, load_coarsening

    if source is None or source in NAMED_LISTS or not Path(source).is_file():
        return None
    with Path(source).open("rb") as file:
        if not is_coarsening(file.read(BEGINNING)):
            return None
    return load_coarsening(source).by_id


def read_class_argument(source: str) -> ClassList:
    """The class list of the argument CLASSES.

    Raises:
        click.UsageError: no such list, or an empty word.
        LabelkitError: the list cannot be used; the message says why.
    """
    if not source.strip():
        raise click.BadParameter("empty", param_hint="CLASSES")
    from labelkit.hierarchy import read_class_list

    try:
        return read_class_list(source)
    except FileNotFoundError as error:
        raise click.BadParameter(str(error), param_hint="CLASSES") from error

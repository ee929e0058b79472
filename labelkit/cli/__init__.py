"""The command line: one file per command, imported only when that command runs."""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import sys

import click

from labelkit import __version__
from labelkit.errors import LabelkitError, first_line, is_out_of_memory
from labelkit.memory import keep_freed_memory

COMMANDS = {
    "demo": "Run the whole pipeline on real photos, without a download.",
    "prepare": "Make training and validation images from a raw dump of classes.",
    "build-tree": "Build a semantic tree from a class list.",
    "coarsen": "Map the classes of a tree to fewer, coarser ones.",
    "subset": "Choose classes and images of a folder as a benchmark.",
    "cluster": "Cluster the images of a folder: labels without annotation.",
    "match-names": "Match plain class names to WordNet synsets.",
    "teachers": "List the teachers, or check one before a long run.",
    "fidelity": "Measure how close label maps come to a teacher's predictions for crops.",
    "relabel": "Make a label map of every image in a folder.",
    "inspect": "Summarise a tree, a coarsening or a label-map file; draw one image.",
    "verify": "Check a label-map file against its checksums, its images and its teacher.",
    "merge": "Merge label-map files that were made in parts.",
    "rename": "Give rows of a label-map file the new keys of renamed images.",
    "convert": "Convert a tree or label maps from or to another project's format.",
    "train": "Train a timm model from a recipe.",
    "study": "Run a grid of recipes, and show what it found.",
    "evaluate": "Measure what a trained model gets right, and how bad its mistakes are.",
    "predict": "Predict the classes of all images in a folder.",
}
TENSOR_COMMANDS = {
    *(
        "cluster",
        "demo",
        "evaluate",
        "fidelity",
        "predict",
        "relabel",
        "study",
        "teachers",
        "train",
        "verify",
    ),
}


class LazyGroup(click.Group):
    """A group that lists its commands from ``COMMANDS`` and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in the order of a project."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command from its file, or None for an unknown name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in TENSOR_COMMANDS:
            keep_freed_memory()
        module = importlib.import_module(f"labelkit.cli.{cmd_name.replace('-', '_')}")
        return module.command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a mistyped command."""
        if args[0] not in COMMANDS and (similar := difflib.get_close_matches(args[0], COMMANDS)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(similar)}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: labelkit demo --quick",
)
@click.version_option(__version__, prog_name="labelkit")
def group() -> None:
    """Better labels for the same images: semantic trees and label maps for any training loop."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an odd class name must not end a command
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; failures are one line on stderr."""
    try:
        group.main(arguments, prog_name="labelkit", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        kept = str(error) or "Finished work, if any, is kept: run the same command again."
        click.echo(f"\nInterrupted. {kept}", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output is gone (``| head``): print nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LabelkitError, OSError) as error:
        click.echo(f"Error: {error}{_on_full_disk(error)}", err=True)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        click.echo(
            f"Error: not enough memory ({first_line(error)}): close other programs, use smaller "
            "batches or images, or another --device",
            err=True,
        )
        return 1
    return 0


def _on_full_disk(error: Exception) -> str:
    """What to do if a disk or a quota is full."""
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    return ". Free some space and run the same command again" if full else ""

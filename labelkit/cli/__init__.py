"""The command line: one file per command, imported only when that command is called."""

from __future__ import annotations

import importlib
import io
import os
import sys

import click

from labelkit import __version__
from labelkit.errors import LabelkitError

COMMANDS = {
    "demo": "Run the whole path on real photos, without a download.",
    "build-tree": "Turn a class list into a semantic tree.",
    "match-names": "Match plain English class names to WordNet's nouns.",
    "teachers": "List the teachers, or check what one is like before a long run.",
    "fidelity": "Measure which label maps tell best what a teacher says of random crops.",
    "relabel": "Give every image of a folder a small map of what is where.",
    "inspect": "Summarise a tree or a label-map file; draw one image.",
    "verify": "Check that every row of a label-map file is there, whole, and of these images.",
    "merge": "Join label-map files made in parts, or average several teachers' maps.",
    "pack": "Write a label-map file in the form that is read at once.",
    "convert": "Turn a tree, or label maps, into another project's format, or back.",
    "train": "Train a timm model from a recipe.",
}


class LazyGroup(click.Group):
    """A group that lists its commands from ``COMMANDS`` and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in the order of the whole path."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command from its own file, or None for a name that does not exist."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"labelkit.cli.{cmd_name.replace('-', '_')}")
        return module.command

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
            stream.reconfigure(errors="replace")  # a class's name must not end a command
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; failures are one line on stderr."""
    try:
        group.main(arguments, prog_name="labelkit", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        kept = str(error) or "What was finished, if anything, is kept: run the command again."
        click.echo(f"\nInterrupted. {kept}", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LabelkitError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return 0

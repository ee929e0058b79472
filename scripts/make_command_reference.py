"""Write docs/commands.md from every command's own --help."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from labelkit.cli import COMMANDS, group

TARGET = Path(__file__).parents[1] / "docs" / "commands.md"


def reference() -> str:
    """The page's text."""
    parts = [
        "# Commands\n\nEach command's own `--help`. Made by `scripts/make_command_reference.py`.\n"
    ]
    root = click.Context(group, info_name="labelkit", help_option_names=["-h", "--help"])
    for name in COMMANDS:
        command = importlib.import_module(f"labelkit.cli.{name.replace('-', '_')}").command
        parts += sections(name, command, root)
    return "\n".join(parts)


def sections(name: str, command: click.Command, parent: click.Context) -> list[str]:
    """The help of a command and of its subcommands."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=90)
    help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    parts = [f"## {context.command_path}\n\n```text\n{help_text}\n```\n"]
    if isinstance(command, click.Group):
        for inner, subcommand in command.commands.items():
            parts += sections(inner, subcommand, context)
    return parts


if __name__ == "__main__":
    TARGET.write_text(reference())

"""help and version, for those who type them as commands."""

from __future__ import annotations

import click

from patcher import __version__
from patcher.boundary import echo
from patcher.help_text import HelpfulCommand, complete_commands, show_help
from patcher.options import common_options


@click.command("help", cls=HelpfulCommand, hidden=True)
@click.argument("name", required=False, metavar="[COMMAND]", shell_complete=complete_commands)
@common_options
@click.pass_context
def help_command(context: click.Context, name: str | None) -> None:
    """Show the help of the program, or of one command."""
    echo(show_help(context.find_root(), name), context.obj)


@click.command("version", cls=HelpfulCommand, hidden=True)
@common_options
@click.pass_context
def version_command(context: click.Context) -> None:
    """Show the version."""
    echo(f"mps-patcher {__version__}", context.obj)

"""explain and doctor: what an error is, and what this machine and its targets are."""

from __future__ import annotations

import sys

import click

from patcher.boundary import echo
from patcher.commands.patching import terminal_width
from patcher.options import OutputOptions, common_options


@click.command("explain")
@click.argument("text", nargs=-1)
@common_options
@click.pass_obj
def explain_command(output: OutputOptions, text: tuple[str, ...]) -> None:
    """Say what an error is, who has it and what ends it.

    TEXT is the error, or comes from standard input: a traceback, or all that a program printed. Without any, the known
    errors are listed.
    """
    from patcher.explain import explain_error, known_errors  # only this command needs them
    from patcher.explain_text import as_explanation, as_list

    words = " ".join(text) or _standard_input()
    width = terminal_width() if sys.stdout and sys.stdout.isatty() else None
    if words.strip():
        echo(as_explanation(explain_error(words), width), output)
    else:
        echo(as_list(known_errors(), width), output)


def _standard_input() -> str:
    """All of it; nothing from a terminal, where nobody would know that it waits."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "replace")

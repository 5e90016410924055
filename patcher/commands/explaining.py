"""explain and doctor: what an error is, and what this machine and its targets are."""

from __future__ import annotations

import os
import shlex
import sys

import click

from patcher.boundary import echo, notify
from patcher.command_options import TextCommand
from patcher.commands.patching import lock_timeout
from patcher.help_text import HelpfulCommand
from patcher.model import Target
from patcher.options import OutputOptions, Request, Usage, common_options, target_options
from patcher.targets.find import current_folder
from patcher.terminal import stream_width


@click.command("explain", cls=HelpfulCommand)
@click.argument("text", nargs=-1)
@common_options
@click.pass_obj
def explain_command(output: OutputOptions, text: tuple[str, ...]) -> None:
    """Say what an error is, which versions have it, and what fixes it.

    TEXT is an error message, a traceback, or the whole output of a program. Without TEXT, standard input is read; if
    that is a terminal, the known errors are listed.
    """
    from patcher.explain import explain_error, known_errors  # only this command needs them
    from patcher.explain_text import as_explanation, as_list

    if len(text) == 1 and os.path.isfile(text[0]):  # noqa: PTH113 - Path's own raises where a name is too long
        command = f"mps-patcher explain < {shlex.quote(text[0])}"
        raise Usage("usage", f"{text[0]} is a file, not the text of an error.", f"To explain what it holds: {command}")
    words = " ".join(text) or _standard_input()
    width = stream_width(sys.stdout)
    if words.strip():
        echo(as_explanation(explain_error(words), width), output)
    else:
        echo(as_list(known_errors(), width), output)


def _standard_input() -> str:
    """All of it; nothing from a terminal, where nobody would know that it waits."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "replace")


@click.command("doctor", cls=TextCommand)
@target_options
def doctor_command(request: Request) -> None:
    """Describe this machine and the target, for a bug report.

    It prints macOS, chip, torch and MPS, transformers, the patches, and other packages that call torch.isin. Your home
    folder is shown as ~.
    """
    from patcher.doctor import diagnose  # only this command needs it

    targets = request.targets()
    with_torch = [target for target in targets if isinstance(target, Target) and target.python and target.torch]
    if with_torch and sys.stderr and sys.stderr.isatty():
        notify("Importing torch; this takes a few seconds.", request.output)
    echo(diagnose(targets, os.environ, current_folder(), lock=lock_timeout(request)), request.output)

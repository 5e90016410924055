"""The one error boundary: whatever is raised is told in two lines, or as JSON, and ends the process with its code."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

from patcher import progress
from patcher.document import as_json
from patcher.errors import PatcherError
from patcher.options import OutputOptions, Usage
from patcher.output import failure


class Interrupted(PatcherError):
    """Ctrl-C, or a signal that asks to end. The exit code is what shells expect of that."""

    exit_code = 130


@contextlib.contextmanager
def exit_with_error(output: OutputOptions) -> Iterator[None]:
    """The one error boundary: whatever is raised within is told, and ends the process with its exit code."""
    try:
        yield
    except (click.exceptions.Exit, BrokenPipeError):  # a command that has ended; a reader of the help that has gone
        raise
    except (Exception, KeyboardInterrupt) as raised:
        error = as_patcher_error(raised)
        show_error(error, output)
        if output.verbose and error.code in ("defect", "os-error"):
            import traceback

            traceback.print_exception(raised)
        raise click.exceptions.Exit(error.exit_code) from raised


def show_error(error: PatcherError, output: OutputOptions) -> None:
    """Two lines on standard error, or the one document on standard output, if that can be written."""
    if output.json and error.code != "output":
        try:
            return echo(as_json(output.command, (), ok=False, error=error), output)
        except PatcherError as unwritable:
            error = unwritable
    return echo(failure(error), output, err=True)


def as_patcher_error(error: BaseException) -> PatcherError:
    """Any exception as a cause and what to do."""
    match error:
        case PatcherError():
            return error
        case KeyboardInterrupt():
            return Interrupted("interrupted", "Interrupted.", "Run the same command again: it finishes what is left.")
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "mps-patcher"
            return Usage("usage", error.format_message(), f"`{path} -h` tells what it accepts.")
        case OSError():
            return PatcherError("os-error", f"{error}.", "Remove the cause, then run the command again; -v tells more.")
        case _:
            hint = "This is a defect of mps-patcher: please report it, with what -v adds to the same command."
            return PatcherError("defect", f"Unexpected {type(error).__name__}: {error}", hint)


def echo(text: str, output: OutputOptions, *, err: bool = False) -> None:
    """Prints the text, if there is any."""
    if text:
        with progress.hidden(), guard_output(err=err):
            click.echo(text, err=err, color=output.colors())


@contextlib.contextmanager
def guard_output(*, err: bool) -> Iterator[None]:
    """Around what prints: a reader that has gone is no failure, and of a standard error that is full nobody can tell.

    Raises PatcherError `output` where standard output cannot be written.
    """
    try:
        yield
    except OSError as error:
        stream = sys.stderr if err else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is buffered must not fail again at exit
        if not (err or isinstance(error, BrokenPipeError)):
            message = f"The output cannot be written: {error.strerror}."
            raise PatcherError("output", message, "The work itself may be done: `mps-patcher status` tells.") from error


def notify(text: str, output: OutputOptions) -> None:
    """Tells of a wait, beside what the command itself says."""
    if not output.quiet:
        echo(text, output, err=True)


class Program(click.Group):
    """The commands, behind the error boundary."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parses; how to speak is known before, as far as that is possible."""
        command = next((word for word in args if word in self.commands), None)
        output = OutputOptions(command, json="--json" in args and command != "run")  # a program may have one
        with exit_with_error(output):
            return super().make_context(info_name, args, parent, obj=output, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, as they are used one after the other."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        with exit_with_error(ctx.obj), progress.on_terminal(functools.partial(_terminal, ctx.obj)):
            return super().invoke(ctx)


def _terminal(output: OutputOptions) -> TextIO | None:
    """Where to show what is being waited for: a terminal that can erase a line, before somebody who wants to know."""
    wanted = not (output.quiet or output.json) and os.environ.get("TERM", "dumb") != "dumb"
    return sys.stderr if wanted and sys.stderr and sys.stderr.isatty() else None

"""The one error boundary: whatever is raised is told in two lines, or as JSON, and ends the process with its code."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click
from click.core import ParameterSource

from patcher import progress
from patcher.document import as_json
from patcher.errors import PatcherError, unexpected
from patcher.help_text import HelpfulCommand
from patcher.options import OutputOptions, Usage, did_you_mean
from patcher.output import failure
from patcher.suggest import shell_words
from patcher.terminal import stream_width, wrap


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
        error = as_patcher_error(raised, output.command)
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
    return echo(failure(error, width=stream_width(sys.stderr)), output, err=True)


def as_patcher_error(error: BaseException, command: str | None) -> PatcherError:
    """Any exception as a cause and what to do."""
    match error:
        case PatcherError():
            return error
        case KeyboardInterrupt():
            return Interrupted("interrupted", "Interrupted.", "Run the same command again to finish.")
        case click.NoSuchOption(ctx=click.Context() as context) if taking := _of_others(context, error.option_name):
            message = f"`{context.command_path}` has no {error.option_name}."
            return Usage("usage", message, f"It is an option of {taking}.")
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else f"mps-patcher {command or ''}".strip()
            return Usage("usage", error.format_message(), f"Run `{path} -h` for help.")
        case _:
            return unexpected(error)


def _of_others(context: click.Context, option: str) -> str:
    """The commands that have an option which another one has not."""
    program = context.find_root().command
    return ", ".join(_taking(program, option)) if isinstance(program, click.Group) else ""


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
            message = f"Cannot write the output: {error.strerror}."
            raise PatcherError(
                "output", message, "The command itself may have succeeded: see `mps-patcher status`."
            ) from error


def notify(text: str, output: OutputOptions) -> None:
    """Tells of a wait, beside what the command itself says."""
    if not output.quiet:
        lines = (
            wrap(text, stream_width(sys.stderr)) if text.isprintable() else [text]
        )  # what moves a cursor is laid out
        echo("\n".join(lines), output, err=True)


class Program(HelpfulCommand, click.Group):
    """The commands, behind the error boundary."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parses; how to speak is known before, as far as that is possible."""
        command = next((word for word in args if word in self.commands), None)
        ours = args[: args.index("run")] if command == "run" else args  # a program may have a --json of its own
        output = OutputOptions(command, json="--json" in ours)
        with exit_with_error(output):
            return super().make_context(info_name, args, parent, obj=output, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses; a bare `mps-patcher` shows the help and is an error, as with uv, ruff and click itself."""
        if not args and not ctx.resilient_parsing:
            echo(ctx.get_help(), ctx.obj, err=True)
            ctx.exit(Usage.exit_code)
        words = list(args)  # click takes away what it has read
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if taking := _taking(self, error.option_name):
                command = next((word for word in words if word in taking), taking[0])
                if command in words:
                    words.remove(command)
                meant = shell_words(("mps-patcher", command, *words))
                hint = f"Write it after the command: `{meant}`."
                raise Usage("usage", f"{error.option_name} is an option of a command.", hint) from error
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named. Raises Usage for an unknown one, and for --json before one that has none."""
        name = args[0]
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        if name not in self.commands:
            raise self._no_such_command(name)
        given = ctx.get_parameter_source("json") is ParameterSource.COMMANDLINE
        if given and not _takes(self.commands[name], "--json"):
            raise Usage("usage", f"`mps-patcher {name}` has no --json.", "Leave it out.")
        return name, self.commands[name], args[1:]

    def _no_such_command(self, name: str) -> Usage:
        meant = _OTHER_NAMES.get(name.lower()) or did_you_mean(name.lower(), list(self.commands))
        shown = ", ".join(name for name, command in self.commands.items() if not command.hidden)
        hint = f"Did you mean `mps-patcher {meant}`?" if meant else f"The commands are: {shown}."
        return Usage("usage", f"There is no command {name!r}.", hint)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, as they are used one after the other."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands; what they do is wrapped, not cut off."""
        del ctx
        shown = [(name, one.get_short_help_str(200)) for name, one in self.commands.items() if not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(shown)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        with exit_with_error(ctx.obj), progress.on_terminal(functools.partial(_terminal, ctx.obj)):
            return super().invoke(ctx)


_OTHER_NAMES = {
    "install": "apply", "patch": "apply", "fix": "apply", "uninstall": "revert", "undo": "revert", "unpatch": "revert",
    "restore": "revert", "check": "status",
}  # fmt: skip
"""What the commands are called elsewhere."""


def _taking(program: click.Group, option: str) -> list[str]:
    """The commands that have an option."""
    return [name for name, command in program.commands.items() if _takes(command, option)]


def _takes(command: click.Command, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


def _terminal(output: OutputOptions) -> TextIO | None:
    """Where to show what is being waited for: a terminal that can erase a line, before somebody who wants to know."""
    wanted = not (output.quiet or output.json) and os.environ.get("TERM", "dumb") != "dumb"
    return sys.stderr if wanted and sys.stderr and sys.stderr.isatty() else None

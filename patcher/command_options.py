"""The options of single commands: what they are called, and what they accept."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from patcher.help_text import HelpfulCommand
from patcher.options import PROGRAM, Function, NonEmptyPath, Usage, WholeNumber, together


def _torch(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """`2.13.0+cpu` as `2.13`, which has the rules of all its releases. Raises Usage for an unknown one."""
    from patcher.selftest import releases

    if value is None:
        return None
    oldest, newest = min(releases.OLDEST_MACOS), releases.NEWEST_TORCH
    release = _numbers(value)
    if len(release) < 2 or not oldest <= release[:2] <= newest:
        known = f"{releases.show(oldest)} to {releases.show(newest)}"
        raise Usage("usage", f"--torch: {value!r} is not a known release of torch.", f"Choose one from {known}.")
    return f"{release[0]}.{release[1]}"


def _macos(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The version, `12` as `12.3`, before which there is no MPS. Raises Usage for an unknown one."""
    from patcher.selftest import releases

    if value is None:
        return None
    oldest, release = min(releases.OLDEST_MACOS.values()), _numbers(value)
    if value == str(oldest[0]):
        return releases.show(oldest)
    plain = value == ".".join(map(str, release)) and 1 <= len(release) <= 3
    if not plain or release[0] not in releases.KNOWN_MACOS or release < oldest:
        *others, last = (releases.show(max(oldest, (major, 0))) for major in releases.KNOWN_MACOS)
        hint = f"Choose {', '.join(others)} or {last}."
        raise Usage("usage", f"--macos: {value!r} is not a known macOS.", hint)
    return value


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 13, 0) of `2.13.0+cpu`; nothing of what is no version."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release
    except InvalidVersion:
        return ()


def write_options(function: Function) -> Function:
    """The options of what writes."""
    return together(
        function,
        click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing."),
        click.option("--diff", is_flag=True, help="Show the changes as a diff."),
        click.option("--force", is_flag=True, help="Continue even if the function or the file is not as expected."),
    )


def backup_option(function: Function) -> Function:
    """The option of apply alone."""
    text = "Change only the source files: no backup, and RECORD stays as it is. For container images."
    return click.option("--no-backup", "backup", is_flag=True, flag_value=False, default=True, help=text)(function)


def macos_option(function: Function) -> Function:
    """The macOS of status and apply."""
    text = "Assume this macOS. [default: this machine's, or 13; 14 from torch 2.9]"
    return click.option("--macos", metavar="N", callback=_macos, help=text)(function)


def verify_options(function: Function) -> Function:
    """The options of verify."""
    device = click.Choice(["auto", "mps", "emulated"])
    return together(
        function,
        click.option("--static", is_flag=True, help="Check source and bytecode only; do not run transformers."),
        click.option("--device", type=device, help="auto: the Apple GPU, or emulated without one. [default: auto]"),
        click.option("--torch", metavar="X.Y", callback=_torch,
                     help="Emulate MPS as in this torch. [default: the installed one]"),
        click.option("--macos", metavar="N", callback=_macos,
                     help="Emulate MPS as on this macOS. [default: 13; 14 from torch 2.9]"),
        click.option("--timeout", type=WholeNumber(1, 86400), metavar="S", default=600,
                     help="Seconds after which the checks of a target are stopped. [default: 600]"),
    )  # fmt: skip


class TextCommand(HelpfulCommand):
    """A command with targets that has no --json."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [parameter for parameter in self.params if parameter.name != "json"]


class ProgramCommand(TextCommand):
    """A command that ends with a program: what follows `--`, or begins with -m or -c, is not for this command.

    All that it prints is the program's, so it has no --json.
    """

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What the first line of the help says."""
        return [*super().collect_usage_pieces(ctx), "-- SCRIPT [ARGS]..."]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses what comes before the program. Raises click.UsageError where there is none."""
        starts = (number for number, word in enumerate(args) if word == "--" or word.startswith(("-m", "-c")))
        start = next(starts, len(args))
        if not ctx.resilient_parsing:
            _require_program_alone(args, start)
        program = args[start + 1 :] if args[start : start + 1] == ["--"] else args[start:]
        ctx.meta[PROGRAM] = tuple(program) if start < len(args) else None
        rest = super().parse_args(ctx, args[:start])
        if program in ([], ["-m"], ["-c"]) and not ctx.resilient_parsing:
            raise click.UsageError(
                "There is no program. End the command with `-- SCRIPT`, `-m MODULE` or `-c CODE`.", ctx
            )
        return rest


def _require_program_alone(args: Sequence[str], start: int) -> None:
    """Refuses a script without `--` before it, and `python` before a program. Raises Usage."""
    script = next((number for number, word in enumerate(args[:start]) if word.endswith(".py")), None)
    if script is not None:
        message, options, program = "`--` must stand before the script.", args[:script], args[script:]
    elif [*args[start : start + 2]] == ["--", "python"]:
        message, options, program = "`run` starts the target's Python itself.", args[:start], args[start + 2 :]
    else:
        return
    meant = shlex.join(("mps-patcher", "run", *(word for word in options if word != "python"), "--", *program))
    raise Usage("usage", message, f"Did you mean `{meant}`?")


def check_run_options(*, emulate: bool, torch: str | None, report: Path | None) -> None:
    """Refuses options of run that mean nothing without another. Raises Usage."""
    for option, given in (("--torch", torch), ("--report", report)):
        if given and not emulate:
            raise Usage("usage", f"{option} needs --emulate.", f"Add --emulate, or leave out {option}.")
    if report and report.suffix == ".md":
        hint = f"Name FILE {report.with_suffix('.json')}: the table is written to {report}."
        raise Usage("usage", "--report: FILE is written as JSON.", hint)


def program_words() -> tuple[str, ...]:
    """The program, as Python's own command line takes it. Raises Usage for options that leave the patches out."""
    program: tuple[str, ...] = click.get_current_context().meta[PROGRAM]
    for word in program:
        if not word.startswith("-") or word.startswith(("-m", "-c", "-X", "-W", "--")) or word == "-":
            break
        if isolating := set(word) & set("IES"):
            raise Usage("usage", f"-{min(isolating)} turns the patches off.", "Leave it out.")
    return program


def run_options(function: Function) -> Function:
    """The options of run."""
    return together(
        function,
        click.option("--emulate", is_flag=True, help="Make `mps` an emulated device, as in verify."),
        click.option("--torch", metavar="X.Y", callback=_torch,
                     help="Emulate MPS as in this torch. [default: the installed one]"),
        click.option("--macos", metavar="N", callback=_macos,
                     help="Assume this macOS, or emulate MPS as on it. [default: this machine's, or 13; 14 "
                          "from torch 2.9]"),
        click.option("--report", type=NonEmptyPath(path_type=Path), metavar="FILE",
                     help="Write which operators the program uses, and which of them MPS lacks, to FILE as JSON, and "
                          "as a table beside it (.md). Needs --emulate."),
        click.option("--unpatched", is_flag=True, help="Run without the patches, to see the error."),
    )  # fmt: skip


def check_verify_options(*, static: bool, device: str | None, torch: str | None, macos: str | None) -> None:
    """Refuses options of verify that contradict each other. Raises Usage."""
    if static and (device or torch or macos):
        hint = "Leave out --static, or the others."
        raise Usage("usage", "--static cannot be combined with --device, --torch or --macos.", hint)
    if device == "mps" and (torch or macos):
        message = "--torch and --macos need an emulated device."
        raise Usage("usage", message, "Leave them out, or add --device emulated.")

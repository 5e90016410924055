"""The options of the command line: what they are called, what they accept, and what they become."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from patcher import __version__
from patcher.locate.targets import Options

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(slots=True)
class Manner:
    """How to speak. Filled while the command line is parsed: a refusal of the rest of it is told that way too."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: str = "auto"

    def colors(self) -> bool | None:
        """True and False as the user or NO_COLOR says; None leaves it to what each stream is."""
        if self.color == "auto":
            return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
        return self.color == "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which patches and which targets are meant."""

    names: tuple[str, ...]
    options: Options
    lock_timeout: int
    """Seconds to wait for another mps-patcher that works on the same target."""

    @property
    def explicit(self) -> bool:
        """Whether the user named the targets."""
        return bool(self.options.python or self.options.site_packages or self.options.under)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Stores a given value in the Manner; a default must not undo what was given before the command."""
    manner = context.ensure_object(Manner)
    if value and parameter.name:
        setattr(manner, parameter.name, value)
    if manner.quiet and manner.verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")


def _manner(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return click.option(*names, expose_value=False, is_eager=True, callback=_keep, **settings)


def everywhere(function: Function) -> Function:
    """The options that every command and the program itself take."""
    color = click.Choice(["auto", "always", "never"])
    for option in (
        click.version_option(__version__, message="mps-patcher %(version)s"),
        _manner(
            "--color", type=color, help="Colours: where the output is a terminal, always, or never. [default: auto]"
        ),
        _manner("-v", "--verbose", is_flag=True, help="Also digests, and the traceback of a defect."),
        _manner("-q", "--quiet", is_flag=True, help="Only errors, and a diff if one is asked for."),
    ):
        function = option(function)
    return function


def targeting(function: Callable[..., int]) -> Callable[..., int]:
    """PATCH..., the target options, --lock-timeout and --json, which become one Request; and those of everywhere."""

    @click.argument("names", nargs=-1, metavar="[PATCH]...")
    @_places("--python", "PATH", "The interpreter whose transformers is meant (repeatable).")
    @_places("--site-packages", "DIR", "A folder that no interpreter here can run: an unpacked image (repeatable).")
    @_places("--under", "DIR", "Every transformers installed below DIR (repeatable).")
    @click.option(
        "--lock-timeout",
        type=click.IntRange(0, 86400),
        metavar="S",
        default=30,
        help="Seconds to wait for another mps-patcher that works on the target; 0: do not wait. [default: 30]",
    )
    @_manner("--json", is_flag=True, help="One JSON document on standard output, on failure too.")
    @everywhere
    @functools.wraps(function)
    def collected(
        *,
        names: tuple[str, ...],
        python: tuple[Path, ...],
        site_packages: tuple[Path, ...],
        under: tuple[Path, ...],
        lock_timeout: int,
        **others: Any,
    ) -> int:
        options = Options(python=python, site_packages=site_packages, under=under)
        return function(Request(names=names, options=options, lock_timeout=lock_timeout), **others)

    return collected


def _places(name: str, metavar: str, text: str) -> Callable[[Function], Function]:
    return click.option(name, multiple=True, type=_Place(path_type=Path, readable=False), metavar=metavar, help=text)


class _Place(click.Path):
    """A path that is one: an empty value, as of an unset variable, would mean the current folder."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not str(value):
            self.fail("the path is empty.", parameter, context)
        return super().convert(value, parameter, context)


def changing(function: Function) -> Function:
    """The options of the commands that change files."""
    for option in (
        click.option("--force", is_flag=True, help="Go on where the function or the file is not the expected one."),
        click.option("--diff", is_flag=True, help="Show what changes."),
        click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done."),
    ):
        function = option(function)
    return function


def keeping(function: Function) -> Function:
    """The option of apply alone."""
    text = "Change the source alone: no back-up, and RECORD as it is. For images: the layer below is the back-up."
    return click.option("--no-backup", "backup", is_flag=True, flag_value=False, default=True, help=text)(function)


def testing(function: Function) -> Function:
    """The options of verify."""
    device = click.Choice(["auto", "mps", "emulated"])
    for option in (
        click.option("--timeout", type=click.IntRange(1, 86400), metavar="S", default=600,
                     help="Seconds until the self-test of a target is given up. [default: 600]"),
        click.option("--macos", metavar="N", callback=_version(r"\d+(\.\d+)?", "13"),
                     help="Emulate the rules of this macOS. [default: the oldest that the torch supports]"),
        click.option("--torch", metavar="X.Y", callback=_version(r"\d+\.\d+", "2.1"),
                     help="Emulate the rules of this torch. [default: the installed one]"),
        click.option("--device", type=device, help="The real MPS, an emulated one, or auto: real where there is one."),
        click.option("--static", is_flag=True, help="Prove source and bytecode only, without running transformers."),
    ):  # fmt: skip
        function = option(function)
    return function


def _version(pattern: str, example: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(pattern, value, re.ASCII):
            raise click.BadParameter(f"{value!r} is not a version such as {example}.")  # click adds of what
        return value

    return check

"""The options of the command line: what they are called, what they accept, and what they become."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from patcher import __version__
from patcher.catalogue import load_catalogue
from patcher.errors import PatcherError
from patcher.model import NotFound, Patch, Target
from patcher.targets.find import TargetOptions, current_folder, find_targets

Function = TypeVar("Function", bound=Callable[..., Any])


class Usage(PatcherError):
    """The command line is wrong."""

    exit_code = 2


class OutputOptions:
    """How to speak. Filled while the command line is parsed: a refusal of the rest of it is told that way too."""

    def __init__(self, command: str | None, *, json: bool, color: str = "auto") -> None:
        self.command, self.json, self.color = command, json, color
        self.quiet = self.verbose = False

    def colors(self) -> bool | None:
        """True and False as the user, NO_COLOR or FORCE_COLOR says; None leaves it to what each stream is."""
        if self.color != "auto":
            return self.color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return False if os.environ.get("TERM") == "dumb" else None


class Request(NamedTuple):
    """What every command is asked: which patches, in which targets, and how to speak."""

    patches: tuple[Patch, ...]
    """Those that were named, each once, or the whole catalogue."""
    named: bool
    options: TargetOptions
    lock_timeout: int
    """Seconds to wait for another mps-patcher on the same target."""
    output: OutputOptions

    @property
    def explicit(self) -> bool:
        """Whether the user named the targets."""
        return self.options != TargetOptions()

    def target(self) -> Target:
        """The one target of a command that takes no more. Raises Usage for several, and why it is none."""
        found = self.targets()
        if len(found) > 1:
            raise Usage("usage", f"{len(found)} targets are named, and this command takes one.", "Name one of them.")
        if isinstance(found[0], NotFound):
            raise found[0].error
        return found[0]

    def targets(self) -> tuple[Target | NotFound, ...]:
        """What the target options or the environment mean."""
        return find_targets(self.options, os.environ, current_folder())


class NonEmptyPath(click.Path):
    """A path that is one: an empty value, as of an unset variable, would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises click.BadParameter where it is empty."""
        if not str(value):
            self.fail("the path is empty.", param, ctx)
        return super().convert(value, param, ctx)


def _release(example: str, *, least: int, most: int) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback that lets a version of `least` to `most` plain numbers pass, as the text that was given."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None and not (_is_plain(value) and least <= value.count(".") + 1 <= most):
            raise click.BadParameter(f"{value!r} is not a version such as {example}.")  # click adds of what
        return value

    return check


def _is_plain(version: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).base_version == version
    except InvalidVersion:
        return False


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Stores a given value in the OutputOptions; a default must not undo what was given before the command."""
    if value and parameter.name:
        setattr(context.obj, parameter.name, value)
    if context.obj.quiet and context.obj.verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")


def _output_option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return click.option(*names, expose_value=False, is_eager=True, callback=_store, **settings)


def _together(function: Function, *options: Callable[[Function], Function]) -> Function:
    """The function with the options, which the help shows in this order."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), function)


def common_options(function: Function) -> Function:
    """The options that every command and the program itself take."""
    color = click.Choice(["auto", "always", "never"])
    return _together(
        function,
        _output_option("-q", "--quiet", is_flag=True, help="Only errors, and a diff if one is asked for."),
        _output_option("-v", "--verbose", is_flag=True, help="Also files and digests, and the traceback of a defect."),
        _output_option("--color", type=color, help="Colours: in a terminal, always, or never. [default: auto]"),
        click.version_option(__version__, "-V", "--version", message="mps-patcher %(version)s"),
    )


def target_options(function: Callable[..., None]) -> Callable[..., None]:
    """PATCH..., the target options, --lock-timeout and --json, which become one Request; and the common ones."""

    @functools.wraps(function)
    def collected(
        names: tuple[str, ...],
        python: tuple[Path, ...],
        site_packages: tuple[Path, ...],
        under: tuple[Path, ...],
        lock_timeout: int,
        **others: Any,
    ) -> None:
        request = Request(
            patches=chosen_patches(names),
            named=bool(names),
            options=TargetOptions(python=python, site_packages=site_packages, under=under),
            lock_timeout=lock_timeout,
            output=click.get_current_context().obj,
        )
        function(request, **others)

    def place(name: str, metavar: str, text: str) -> Callable[[Function], Function]:
        path = NonEmptyPath(path_type=Path, readable=False)
        return click.option(name, multiple=True, type=path, metavar=metavar, help=f"{text} (repeatable).")

    timeout = click.IntRange(0, 86400)
    return _together(
        collected,
        click.argument("names", nargs=-1, metavar="[PATCH]..."),
        place("--python", "PATH", "The interpreter, or the folder of the environment, whose transformers is meant"),
        place("--site-packages", "DIR", "A folder that no interpreter here can run: an unpacked image"),
        place("--under", "DIR", "Every transformers installed below DIR"),
        click.option("--lock-timeout", type=timeout, metavar="S", default=30,
                     help="Seconds to wait for another mps-patcher on the same target. [default: 30]"),
        _output_option("--json", is_flag=True, help="One JSON document on standard output, on failure too."),
        common_options,
    )  # fmt: skip


def chosen_patches(names: tuple[str, ...]) -> tuple[Patch, ...]:
    """The named patches, each once, or the whole catalogue. Raises Usage for a name that is not in it."""
    known = {patch.name: patch for patch in load_catalogue()}
    for name in names:
        if name not in known:
            raise Usage("unknown-patch", f"There is no patch {name!r}.", f"The patches are: {', '.join(known)}.")
    return tuple(known[name] for name in dict.fromkeys(names or known))


def write_options(function: Function) -> Function:
    """The options of what writes."""
    return _together(
        function,
        click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done."),
        click.option("--diff", is_flag=True, help="Show what changes."),
        click.option("--force", is_flag=True, help="Go on where the function or the file is not the expected one."),
    )


def backup_option(function: Function) -> Function:
    """The option of apply alone."""
    text = "Change the source alone: no backup, and RECORD as it is. For images: the layer below is the backup."
    return click.option("--no-backup", "backup", is_flag=True, flag_value=False, default=True, help=text)(function)


def macos_option(function: Function) -> Function:
    """The macOS of status and apply."""
    text = "Judge for this macOS. [default: this machine's, or the oldest that the torch supports]"
    return click.option("--macos", metavar="N", callback=_release("14", least=1, most=3), help=text)(function)


def verify_options(function: Function) -> Function:
    """The options of verify."""
    device = click.Choice(["auto", "mps", "emulated"])
    return _together(
        function,
        click.option("--static", is_flag=True, help="Prove source and bytecode only, without running transformers."),
        click.option("--device", type=device, help="The real MPS, an emulated one, or auto: real where there is one."),
        click.option("--torch", metavar="X.Y", callback=_release("2.1", least=2, most=2),
                     help="Emulate the rules of this torch. [default: the installed one]"),
        click.option("--macos", metavar="N", callback=_release("14", least=1, most=3),
                     help="Emulate the rules of this macOS. [default: the oldest that the torch supports]"),
        click.option("--timeout", type=click.IntRange(1, 86400), metavar="S", default=600,
                     help="Seconds until the self-test of a target is given up. [default: 600]"),
    )  # fmt: skip


class ProgramCommand(click.Command):
    """A command that ends with a program: what follows `--`, or begins with -m or -c, is not for this command.

    All that it prints is the program's, so it has no --json.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [parameter for parameter in self.params if parameter.name != "json"]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What the first line of the help says."""
        return [*super().collect_usage_pieces(ctx), "-- SCRIPT [ARGS]..."]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses what comes before the program. Raises click.UsageError where there is none."""
        starts = (number for number, word in enumerate(args) if word == "--" or word.startswith(("-m", "-c")))
        start = next(starts, len(args))
        program = args[start + 1 :] if args[start : start + 1] == ["--"] else args[start:]
        ctx.meta[PROGRAM] = tuple(program)
        rest = super().parse_args(ctx, args[:start])
        if not program:
            raise click.UsageError("There is no program: write `-- SCRIPT`, `-m MODULE` or `-c CODE` last.", ctx)
        return rest


PROGRAM = "patcher.program"
"""Where the context of a ProgramCommand keeps the words of the program."""


def check_run_options(*, emulate: bool, torch: str | None) -> None:
    """Refuses options of run that mean nothing without another. Raises Usage."""
    if torch and not emulate:
        message = "--torch chooses the rules of an emulated device."
        raise Usage("usage", message, "Add --emulate, or leave it out.")


def program_words() -> tuple[str, ...]:
    """The program, as Python's own command line takes it. Raises Usage for options that leave the patches out."""
    program: tuple[str, ...] = click.get_current_context().meta[PROGRAM]
    for word in program:
        if not word.startswith("-") or word.startswith(("-m", "-c", "-X", "-W", "--")) or word == "-":
            break
        if isolating := set(word) & set("IES"):
            hint = "Leave it out: the patches come by PYTHONPATH and site."
            raise Usage("usage", f"With -{min(isolating)} Python takes nothing from its environment.", hint)
    return program


def run_options(function: Function) -> Function:
    """The options of run."""
    return _together(
        function,
        click.option("--emulate", is_flag=True, help="Device `mps` is an emulated one, as verify has it."),
        click.option("--torch", metavar="X.Y", callback=_release("2.1", least=2, most=2),
                     help="Emulate the rules of this torch. [default: the installed one]"),
        click.option("--macos", metavar="N", callback=_release("14", least=1, most=3),
                     help="Judge for this macOS, or emulate its rules. [default: this machine's, or the oldest "
                          "that the torch supports]"),
        click.option("--unpatched", is_flag=True, help="Without the patches, to see the defect."),
    )  # fmt: skip


def check_verify_options(*, static: bool, device: str | None, torch: str | None, macos: str | None) -> None:
    """Refuses options of verify that contradict each other. Raises Usage."""
    if static and (device or torch or macos):
        hint = "Leave out --static, or --device, --torch and --macos."
        raise Usage("usage", "--static runs nothing on a device.", hint)
    if device == "mps" and (torch or macos):
        message = "--torch and --macos choose the rules of an emulated device; the real one has its own."
        raise Usage("usage", message, "Leave them out, or say --device emulated.")

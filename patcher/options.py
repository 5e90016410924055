"""The options that all commands take, or all that have targets: what they accept, and what they become."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from patcher import __version__
from patcher.catalogue import load_catalogue
from patcher.errors import PatcherError
from patcher.model import NotFound, Patch, Target
from patcher.targets.find import TargetOptions, current_folder, find_targets

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "patcher.program"
"""Where the context of `run` keeps the words of the program; None before it has begun."""
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
            raise Usage("usage", f"{len(found)} targets were named, but this command takes one.", "Name one of them.")
        if isinstance(found[0], NotFound):
            raise found[0].error
        return found[0]

    def targets(self) -> tuple[Target | NotFound, ...]:
        """What the target options or the environment mean."""
        return find_targets(self.options, os.environ, current_folder())


class NonEmptyPath(click.Path):
    """A path that is one: an empty value, as of an unset variable, would mean the current folder.

    A `~` at its start is the home folder: a shell leaves it as it is in `--python=~/app`.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises click.BadParameter where it is empty."""
        if not str(value):
            self.fail("the path is empty.", param, ctx)
        return super().convert(os.path.expanduser(value), param, ctx)  # noqa: PTH111 - as the user's shell would


class WholeNumber(click.types.IntParamType):
    """A whole number of at least `least`, and at most `most` where that is given."""

    def __init__(self, least: int, most: int | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Raises click.BadParameter for anything else."""
        text = str(value)
        if text.isdecimal() and self.least <= int(text) and (self.most is None or int(text) <= self.most):
            return int(text)
        span = f"of {self.least} or more" if self.most is None else f"from {self.least} to {self.most}"
        return self.fail(f"{text!r} is not a whole number {span}.", param, ctx)


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Stores a given value in the OutputOptions; a default must not undo what was given before the command."""
    if value and parameter.name:
        setattr(context.obj, parameter.name, value)
    if context.obj.quiet and context.obj.verbose:
        raise click.UsageError("--quiet and --verbose cannot be combined.")


def _output_option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return click.option(*names, expose_value=False, is_eager=True, callback=_store, **settings)


def together(function: Function, *options: Callable[[Function], Function]) -> Function:
    """The function with the options, which the help shows in this order."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), function)


def json_option(function: Function) -> Function:
    """--json, for the program and the commands that have it."""
    text = "Print one JSON document, also on failure."
    return _output_option("--json", is_flag=True, help=text)(function)


# One of each for all commands: whenever click makes one, it looks for files with translations of its text.
_VERSION = click.version_option(__version__, "-V", "--version", message="mps-patcher %(version)s")
_PATH = NonEmptyPath(path_type=Path, readable=False)


def common_options(function: Function) -> Function:
    """The options that every command and the program itself take."""
    color = click.Choice(["auto", "always", "never"])
    return together(
        function,
        _output_option("-q", "--quiet", is_flag=True, help="Print only errors, and the diff with --diff."),
        _output_option("-v", "--verbose", is_flag=True, help="Also print files, digests, and the traceback of a bug."),
        _output_option("--color", type=color, help="When to use colour. [default: auto]"),
        _VERSION,
    )


def target_options(function: Callable[..., None]) -> Callable[..., None]:
    """PATCH..., and what `place_options` has."""
    argument = click.argument("names", nargs=-1, metavar="[PATCH]...", shell_complete=complete_patches)
    return together(place_options(function), argument)


def place_options(function: Callable[..., None]) -> Callable[..., None]:
    """The target options, --lock-timeout and --json, which become one Request; and the common ones."""

    @functools.wraps(function)
    def collected(
        python: tuple[Path, ...],
        site_packages: tuple[Path, ...],
        under: tuple[Path, ...],
        lock_timeout: int,
        names: tuple[str, ...] = (),
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

    def place(name: str, metavar: str, text: str, variable: str = "") -> Callable[[Function], Function]:
        return click.option(name, multiple=True, type=_PATH, metavar=metavar, help=f"{text} (repeatable).{variable}")

    timeout = WholeNumber(0, 86400)
    return together(
        collected,
        place("--python", "PATH", "The interpreter, or the folder of the environment, to use",
              " [env: MPS_PATCHER_PYTHON]"),
        place("--site-packages", "DIR", "A site-packages folder, for an environment whose Python does not run here"),
        place("--under", "DIR", "Every transformers installed below DIR"),
        click.option("--lock-timeout", type=timeout, metavar="S", default=30,
                     help="Seconds to wait for another mps-patcher that uses the same target. [default: 30]"),
        json_option,
        common_options,
    )  # fmt: skip


def chosen_patches(names: tuple[str, ...]) -> tuple[Patch, ...]:
    """The named patches, each once, or the whole catalogue. A dash may stand for an underscore.

    Raises Usage for a name that is not in the catalogue.
    """
    known = {patch.name: patch for patch in load_catalogue()}
    chosen = [name.replace("-", "_") for name in names]
    for name, given in zip(chosen, names, strict=True):
        if name not in known:
            raise Usage("unknown-patch", f"There is no patch {given!r}.", _patch_hint(given, name, tuple(known)))
    return tuple(known[name] for name in dict.fromkeys(chosen or known))


def _patch_hint(given: str, name: str, known: Sequence[str]) -> str:
    if os.sep in given or os.path.exists(given):  # noqa: PTH110 - Path's own raises where a name is too long
        return f"Did you mean --python {shlex.quote(given)}?"
    meant = None if "," in given else did_you_mean(name.lower(), known)
    return f"Did you mean {meant}?" if meant else f"The patches are: {', '.join(known)}."


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """The one of the known names that was probably meant: the only one that begins so, or the most similar one."""
    import difflib

    begin = [name for name in known if name.startswith(word)]
    similar = difflib.get_close_matches(word, known, 1)
    return begin[0] if len(begin) == 1 else next(iter(similar), None)


def complete_patches(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The patches for a shell that completes a command line; files where the program of `run` has begun."""
    from click.shell_completion import CompletionItem

    del parameter
    if context.meta.get(PROGRAM) is not None:
        return [CompletionItem(incomplete, type="file")]
    begin = incomplete.replace("-", "_")
    return [CompletionItem(one.name, help=one.summary) for one in load_catalogue() if one.name.startswith(begin)]

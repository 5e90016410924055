"""The command line: parse, call, render, exit. The only module that prints, and the only catch boundary."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import click

from patcher import document, report, verify
from patcher.change import operations
from patcher.change.lock import Patience
from patcher.errors import PatcherError
from patcher.flags import Manner, Request, changing, everywhere, keeping, targeting, testing
from patcher.locate.targets import find, here
from patcher.model import NotFound, Patch, Result, State, Target
from patches import CATALOGUE

SEVERITY = (1, 3, 4, 0)
"""Exit codes, worst first: a failure outweighs a question left open, and that one a known need to patch."""
INTERRUPTED = 130
"""What shells expect of a process that Ctrl-C ended."""
EPILOG = """\b
Exit codes:
  0  done, or nothing to do; for verify, everything passed
  1  failed or refused; nothing was changed, or it was put back
  2  the command line is wrong
  3  cannot tell: no transformers, no torch, or not the asked-for device
  4  status --check: at least one target is not patched
Every target is tried; of several codes the worst one counts: 1, then 3, then 4.
"""


class Usage(PatcherError):
    """The command line is wrong."""

    exit_code = 2


class Command(click.Command):
    """One command. Its help and the version are told like all else, though it is click that prints them."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Parses, and prints what is asked for instead of work."""
        with written():
            return super().make_context(*arguments, **settings)
        raise click.exceptions.Exit(0)  # the reader has gone


class Boundary(Command, click.Group):
    """The commands, and the one place where exceptions become words and an exit code."""

    command_class = Command

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        ready: Callable[[], object] | None = None,
        **extra: Any,
    ) -> NoReturn:
        """Runs one command line and exits. `ready` is called as soon as an interrupt can be told of."""
        arguments = sys.argv[1:] if args is None else list(args)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):  # None, or a stand-in that does not know how
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        manner = Manner()
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # put back and clean up, as after Ctrl-C
        try:
            if ready:
                ready()
            settings = {**extra, "standalone_mode": False, "obj": manner}
            code = super().main(arguments, prog_name or "mps-patcher", **settings)
        except (click.ClickException, click.Abort, PatcherError, Exception) as error:
            code = give_up(error, arguments, manner)
        except KeyboardInterrupt:  # outside of click, which makes it an Abort
            code = give_up(click.Abort(), arguments, manner)
        sys.exit(code)


def give_up(error: Exception, arguments: Sequence[str], manner: Manner) -> int:
    """Tells of an error that ends the whole run, and returns the exit code."""
    told = explain(error)
    manner.json = manner.json or "--json" in arguments  # the parser may have stopped before it
    if manner.json and told.code != "output":
        command = next((word for word in arguments if word in main.commands), None)
        say(document.as_json(command, (), ok=False, error=told), manner)
    else:
        say(report.failure(told), manner, err=True)
    if manner.verbose and told.code == "defect":
        traceback.print_exception(error)
    return INTERRUPTED if isinstance(error, click.Abort) else told.exit_code


def explain(error: Exception) -> PatcherError:
    """Any exception as a cause and what to do."""
    match error:
        case PatcherError():
            return error
        case click.Abort():
            return PatcherError("interrupted", "Interrupted.", "Run the same command again: it finishes what is left.")
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "mps-patcher"
            return Usage("usage", error.format_message(), f"`{path} -h` tells what it accepts.")
        case _:
            hint = "This is a defect of mps-patcher: please report it, with what -v adds to the same command."
            return PatcherError("defect", f"Unexpected {type(error).__name__}: {error}", hint)


def say(text: str, manner: Manner, *, err: bool = False) -> None:
    """Prints. A reader that has gone is no failure; an output that cannot be written is one, and is told of once."""
    with written(err=err):
        if text:
            click.echo(text, err=err, color=manner.colors())


@contextlib.contextmanager
def written(*, err: bool = False) -> Iterator[None]:
    """Around what prints; see `say`."""
    try:
        yield
    except OSError as error:
        stream = sys.stderr if err else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is buffered must not fail again at exit
        if not isinstance(error, BrokenPipeError):
            message = f"The output cannot be written: {error.strerror}."
            raise PatcherError("output", message, "The work itself may be done: `mps-patcher status` tells.") from error


@click.group(
    cls=Boundary,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
    no_args_is_help=False,
)
@everywhere
def main() -> None:
    """Repairs transformers' membership test on Apple GPUs in the installed source, proves it, and can take it back."""


@main.command()
@click.option("--check", is_flag=True, help="Exit 4 if a target needs a patch that it does not hold.")
@targeting
def status(request: Request, check: bool) -> int:
    """Say what state each patch is in, and whether the target needs it."""
    patches = chosen(request)
    return finish("status", request, operations.status(targets(request), patches, **shared(request)), check)


@main.command()
@keeping
@changing
@targeting
def apply(request: Request, **asked: Any) -> int:
    """Patch what needs it; on a patched target do nothing."""
    settings = {**asked, **shared(request), "named": bool(request.names)}
    return finish("apply", request, operations.apply(targets(request), chosen(request), **settings))


@main.command("verify")
@testing
@targeting
def verify_(request: Request, static: bool, **asked: Any) -> int:
    """Prove the patch by running it, on MPS or an emulated MPS device.

    It runs in the target's own interpreter: first the function alone, then generate() of small models made in memory.
    """
    check_testing(static, **asked)
    patches = chosen(request)
    announce(click.get_current_context().ensure_object(Manner), static)
    asked["device"] = asked["device"] or "auto"
    settings = {**asked, **shared(request), "named": bool(request.names), "static": static}
    return finish("verify", request, verify.verify(targets(request), patches, **settings))


@main.command()
@changing
@targeting
def revert(request: Request, **asked: Any) -> int:
    """Put back the original bytes; do nothing where none are due."""
    settings = {**asked, **shared(request)}
    return finish("revert", request, operations.revert(targets(request), chosen(request), **settings))


def chosen(request: Request) -> tuple[Patch, ...]:
    """The named patches, each once, or the whole catalogue; what of it a target needs is the operation's to judge."""
    known = {patch.name: patch for patch in CATALOGUE}
    for name in request.names:
        if name not in known:
            raise Usage("unknown-patch", f"There is no patch {name!r}.", f"The patches are: {', '.join(known)}.")
    return tuple(known[name] for name in dict.fromkeys(request.names)) or CATALOGUE


def targets(request: Request) -> tuple[Target | NotFound, ...]:
    """What the target options or the environment mean."""
    return find(request.options, os.environ, here())


def shared(request: Request) -> dict[str, Any]:
    """What every operation takes."""
    return {"catalogue": CATALOGUE, "patience": patience(request)}


def patience(request: Request) -> Patience:
    """How long to wait for another mps-patcher; the user is told, beside what the command itself says."""
    manner = click.get_current_context().ensure_object(Manner)

    def told(text: str) -> None:
        with contextlib.suppress(PatcherError):  # a wait that nobody can be told of is no reason to stop
            say(text, manner, err=True)

    return Patience(seconds=request.lock_timeout, told=None if manner.quiet else told)


def check_testing(static: bool, device: str | None, torch: str | None, macos: str | None, timeout: int) -> None:
    """Refuses options of verify that contradict each other."""
    del timeout  # goes with everything
    if static and (device or torch or macos):
        raise Usage(
            "usage", "--static runs nothing on a device.", "Leave out --static, or --device, --torch and --macos."
        )
    if device == "mps" and (torch or macos):
        message = "--torch and --macos choose the rules of an emulated device; the real one has its own."
        raise Usage("usage", message, "Leave them out, or say --device emulated.")


def finish(command: str, request: Request, results: tuple[Result, ...], check: bool = False) -> int:
    """Tells of the results, and returns the exit code."""
    if command != "status" and not request.names:
        results = concerned(results)
    code = worst(results, check)
    manner = click.get_current_context().ensure_object(Manner)
    if manner.json:
        say(document.as_json(command, results, ok=code == 0), manner)
        return code
    if not manner.quiet:
        width = min(shutil.get_terminal_size().columns, 110) if sys.stdout and sys.stdout.isatty() else None
        style = report.Style(verbose=manner.verbose, explicit=request.explicit, width=width)
        say(report.as_text(command, results, style), manner)
    else:
        say(report.diffs(results), manner)
    say(report.failures(results), manner, err=True)
    return code


def concerned(results: tuple[Result, ...]) -> tuple[Result, ...]:
    """The results, less those of patches that a target has nothing for and does not need, where it has others."""

    def idle(result: Result) -> bool:
        needed = result.need is not None and result.need.needed
        return result.state is State.ABSENT and not (needed or result.changed or result.error)

    busy = {result.target for result in results if not idle(result)}
    return tuple(result for result in results if not idle(result) or result.target not in busy)


def announce(manner: Manner, static: bool) -> None:
    """At a terminal, says why nothing seems to happen."""
    if not (static or manner.quiet or manner.json) and sys.stderr and sys.stderr.isatty():
        say("Running the self-test in the target's interpreter; this takes some seconds.", manner, err=True)


def worst(results: tuple[Result, ...], check: bool) -> int:
    """The exit code of all results together."""
    return min((code_of(result, check) for result in results), key=SEVERITY.index, default=0)


def code_of(result: Result, check: bool) -> int:
    """The exit code of one result."""
    if result.error is not None:
        return result.error.exit_code
    if any(test.status == "failed" for test in result.checks):
        return 1
    spared = result.state is State.ABSENT if result.need is None else not result.need.needed
    fine = result.state is State.PATCHED or spared
    return 4 if check and not fine else 0

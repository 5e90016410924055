"""status, apply, verify and revert: parse, call, report."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from patcher import progress
from patcher.boundary import echo, notify
from patcher.command_options import backup_option, check_verify_options, macos_option, verify_options, write_options
from patcher.document import as_json
from patcher.model import Effect, Result, State
from patcher.options import Request, target_options
from patcher.output import TextStyle, as_text, diffs, failures
from patcher.storage.lock import LockTimeout

SEVERITY = (1, 3, 4, 0)
"""Exit codes, worst first: a failure outweighs a question left open, and that one a known need to patch."""


@click.command("status")
@click.option(
    "--check", is_flag=True, help="Exit 4 if a target is not patched, and generate() or an import fails there."
)
@macos_option
@target_options
def status_command(request: Request, check: bool, macos: str | None) -> None:
    """Say what state each patch is in, and what its defect does here."""
    from patcher import operations  # `run` does without

    results = operations.status(request.targets(), request.patches, lock=lock_timeout(request), macos=macos)
    report_results(request, results, check=check)


@click.command("apply")
@write_options
@backup_option
@macos_option
@target_options
def apply_command(request: Request, **settings: Any) -> None:
    """Apply the patches whose defect has an effect on the target."""
    from patcher import operations

    settings |= {"named": request.named, "lock": lock_timeout(request)}
    results = operations.apply(request.targets(), request.patches, **settings)
    report_results(request, results)


@click.command("verify")
@verify_options
@target_options
def verify_command(
    request: Request, static: bool, device: str | None, torch: str | None, macos: str | None, timeout: int
) -> None:
    """Prove the patch by running it, on MPS or an emulated MPS device.

    It runs in the target's own interpreter: first the function alone, then generate() of small models made in memory.
    """
    check_verify_options(static=static, device=device, torch=torch, macos=macos)
    from patcher.verify import VerifyOptions, verify_targets  # only this command needs it

    options = VerifyOptions(device=device or "auto", torch=torch, macos=macos, static=static, timeout=timeout)
    growing, lock = GrowingText(request), lock_timeout(request)
    results = verify_targets(
        request.targets(), request.patches, options, named=request.named, lock=lock, show=growing.show_so_far
    )
    report_results(request, results, growing=growing)


@click.command("revert")
@write_options
@target_options
def revert_command(request: Request, **settings: Any) -> None:
    """Put back the original bytes; do nothing where none are due."""
    from patcher import operations

    results = operations.revert(request.targets(), request.patches, lock=lock_timeout(request), **settings)
    report_results(request, results)


def lock_timeout(request: Request) -> LockTimeout:
    """How long to wait for another mps-patcher; the user is told of it."""
    return LockTimeout(seconds=request.lock_timeout, notify=functools.partial(notify, output=request.output))


class GrowingText:
    """The text of the results: what is known of it is printed as it comes, and the rest at the end."""

    def __init__(self, request: Request) -> None:
        self._request, self._printed = request, ""
        self._width = terminal_width() if sys.stdout and sys.stdout.isatty() else None

    def show_so_far(self, results: Sequence[Result]) -> None:
        """Prints what is new in the results, of which the last has only the checks that have ended."""
        if not (self._request.output.json or self._request.output.quiet):
            self.show(results_to_show(self._request, results), unfinished=results[-1])

    def show(self, results: Sequence[Result], *, unfinished: Result | None = None) -> None:
        """Prints what is new in them; all, where it does not begin as what was printed."""
        output = self._request.output
        style = TextStyle(output.verbose, self._request.explicit, self._width, unfinished)
        text = f"{as_text(str(output.command), results, style)}\n"
        echo(text.removeprefix(self._printed).removesuffix("\n"), output)
        self._printed = text


def results_to_show(request: Request, results: Sequence[Result]) -> Sequence[Result]:
    """All of them, or those that matter."""
    return results if request.output.command == "status" or request.named else relevant(results)


def report_results(
    request: Request, results: Sequence[Result], *, check: bool = False, growing: GrowingText | None = None
) -> NoReturn:
    """Tells of the results, and ends the command with its exit code."""
    progress.clear()
    output, command = request.output, str(request.output.command)
    results = results_to_show(request, results)
    code = min((exit_code(result, check=check) for result in results), key=SEVERITY.index, default=0)
    if output.json:
        echo(as_json(command, results, ok=code == 0), output)
    else:
        if output.quiet:
            echo(diffs(results), output)
        else:
            (growing or GrowingText(request)).show(results)
        echo(failures(results), output, err=True)
    raise click.exceptions.Exit(code)


def terminal_width() -> int:
    """The columns to wrap sentences at."""
    import shutil  # only a terminal needs it

    return min(shutil.get_terminal_size().columns, 110)


def relevant(results: Sequence[Result]) -> tuple[Result, ...]:
    """The results, less those of patches that a target has nothing for and no use for, where it has others."""

    def is_idle(result: Result) -> bool:
        matters = result.impact is not None and result.impact.effect is not Effect.NONE
        return result.state is State.ABSENT and not (matters or result.changed or result.error)

    busy = {result.target for result in results if not is_idle(result)}
    return tuple(result for result in results if not is_idle(result) or result.target not in busy)


def exit_code(result: Result, *, check: bool) -> int:
    """The exit code of one result."""
    if result.error is not None:
        return result.error.exit_code
    if any(test.status == "failed" for test in result.checks):
        return 1
    fails = result.impact is not None and result.impact.effect is Effect.FAILS
    return 4 if check and fails and result.state not in (State.PATCHED, State.OUTDATED) else 0

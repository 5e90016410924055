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
from patcher.errors import one_line
from patcher.help_text import HelpfulCommand
from patcher.model import Effect, NotFound, Result, State, Target
from patcher.options import Request, target_options
from patcher.output import as_text, diffs, failures
from patcher.storage.lock import LockTimeout
from patcher.suggest import Invocation, completed
from patcher.targets.find import TargetOptions
from patcher.terminal import TextStyle, stream_width

SEVERITY = (1, 3, 4, 0)
"""Exit codes, worst first: a failure outweighs a question left open, and that one a known need to patch."""


@click.command("status", cls=HelpfulCommand)
@click.option(
    "--check", is_flag=True, help="Exit 4 if a target is not patched, and generate() or an import fails there."
)
@macos_option
@target_options
def status_command(request: Request, check: bool, macos: str | None) -> None:
    """Show what is wrong and what helps."""
    from patcher import operations  # `run` does without

    results = operations.status(request.targets(), request.patches, lock=lock_timeout(request), macos=macos)
    report_results(request, results, check=check, macos=macos)


@click.command("apply", cls=HelpfulCommand)
@write_options
@backup_option
@macos_option
@target_options
def apply_command(request: Request, **settings: Any) -> None:
    """Patch transformers."""
    from patcher import operations

    settings |= {"named": request.named, "lock": lock_timeout(request)}
    targets = request.targets()
    warn_of_shared(request, targets)
    results = operations.apply(targets, request.patches, **settings)
    report_results(request, results, macos=settings["macos"], dry_run=settings["dry_run"])


@click.command("verify", cls=HelpfulCommand)
@verify_options
@target_options
def verify_command(
    request: Request, static: bool, device: str | None, torch: str | None, macos: str | None, timeout: int
) -> None:
    """Check the patch by running it, on MPS or an emulated MPS device.

    The checks run in the target's own interpreter: the function alone, then generate() of small random models.
    """
    check_verify_options(static=static, device=device, torch=torch, macos=macos)
    from patcher.verify import VerifyOptions, verify_targets  # only this command needs it

    options = VerifyOptions(device=device or "auto", torch=torch, macos=macos, static=static, timeout=timeout)
    growing, lock = GrowingText(request, invocation_of(request)), lock_timeout(request)
    results = verify_targets(
        request.targets(), request.patches, options, named=request.named, lock=lock, show=growing.show_so_far
    )
    report_results(request, results, growing=growing)


@click.command("revert", cls=HelpfulCommand)
@write_options
@target_options
def revert_command(request: Request, **settings: Any) -> None:
    """Restore the original files."""
    from patcher import operations

    results = operations.revert(request.targets(), request.patches, lock=lock_timeout(request), **settings)
    report_results(request, results, dry_run=settings["dry_run"])


def warn_of_shared(request: Request, targets: Sequence[Target | NotFound]) -> None:
    """Says which targets other environments may use too, before they are patched; JSON has it in the results."""
    for target in targets:
        if isinstance(target, Target) and target.shared and not request.output.json:
            text = f"note: Other environments may use {target.site_packages} too: {target.shared}."
            notify(one_line(text), request.output)


def lock_timeout(request: Request) -> LockTimeout:
    """How long to wait for another mps-patcher; the user is told of it."""
    return LockTimeout(seconds=request.lock_timeout, notify=functools.partial(notify, output=request.output))


class GrowingText:
    """The text of the results: what is known of it is printed as it comes, and the rest at the end."""

    def __init__(self, request: Request, invocation: Invocation) -> None:
        self._request, self._invocation, self._printed = request, invocation, ""
        self._width = stream_width(sys.stdout)

    def show_so_far(self, results: Sequence[Result]) -> None:
        """Prints what is new in the results, of which those of the last target have only the checks that have ended."""
        if not (self._request.output.json or self._request.output.quiet):
            self.show(results_to_show(self._request, results), is_unfinished=True)

    def show(self, results: Sequence[Result], *, is_unfinished: bool = False) -> None:
        """Prints what is new in them; all, where it does not begin as what was printed."""
        output = self._request.output
        style = TextStyle(output.verbose, self._width, is_unfinished)
        text = f"{as_text(self._invocation, results, style)}\n"
        echo(text.removeprefix(self._printed).removesuffix("\n"), output)
        self._printed = text


def invocation_of(request: Request, *, macos: str | None = None, dry_run: bool = False) -> Invocation:
    """What was asked, for the commands that are suggested."""
    names = tuple(patch.name for patch in request.patches) if request.named else ()
    return Invocation(str(request.output.command), names, place_words(request.options), macos, dry_run)


def results_to_show(request: Request, results: Sequence[Result]) -> Sequence[Result]:
    """All of them, or those that matter."""
    return results if request.output.command == "status" or request.named else relevant(results)


def report_results(
    request: Request,
    results: Sequence[Result],
    *,
    check: bool = False,
    macos: str | None = None,
    dry_run: bool = False,
    growing: GrowingText | None = None,
) -> NoReturn:
    """Tells of the results, and ends the command with its exit code."""
    progress.clear()
    output, command = request.output, str(request.output.command)
    results = results_to_show(request, results)
    code = min((exit_code(result, check=check) for result in results), key=SEVERITY.index, default=0)
    invocation = invocation_of(request, macos=macos, dry_run=dry_run)
    results = [completed(result, invocation) for result in results]
    if output.json:
        echo(as_json(command, results, ok=code == 0), output)
    else:
        if output.quiet:
            echo(diffs(results), output)
        else:
            (growing or GrowingText(request, invocation)).show(results)
        echo(failures(results, stream_width(sys.stderr)), output, err=True)
    raise click.exceptions.Exit(code)


def place_words(options: TargetOptions) -> tuple[str, ...]:
    """The target options as words of a command line."""
    places = zip(("--python", "--site-packages", "--under"), options, strict=True)
    return tuple(word for option, paths in places for path in paths for word in (option, str(path)))


def relevant(results: Sequence[Result]) -> tuple[Result, ...]:
    """The results, less those of patches that a target has nothing for and no use for, where it has others."""

    def is_idle(result: Result) -> bool:
        matters = result.impact is not None and result.impact.effect is not Effect.NONE
        changes = result.changed or any(file.before != file.after for file in result.files)
        return result.state is State.ABSENT and not (matters or changes or result.error)

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

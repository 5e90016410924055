"""setup: lay the hook into a target, look at it, or take it away."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import click

from patcher import progress
from patcher.boundary import echo
from patcher.commands.patching import SEVERITY, invocation_of, lock_timeout
from patcher.document import as_json
from patcher.errors import PatcherError, one_line
from patcher.help_text import HelpfulCommand
from patcher.model import NotFound, Result, Target
from patcher.options import Request, Usage, place_options
from patcher.output import failures
from patcher.suggest import completed
from patcher.terminal import stream_width


@click.command("setup", cls=HelpfulCommand)
@click.option("--check", is_flag=True, help="Exit 1 if a target is not set up; change nothing.")
@click.option("--remove", is_flag=True, help="Remove the hook; the patches stay.")
@place_options
def setup_command(request: Request, check: bool, remove: bool) -> NoReturn:
    """Apply the patches again after each reinstall.

    This installs a hook into the target. Each time Python starts, the hook checks whether transformers was replaced,
    and if so runs `mps-patcher apply`. MPS_PATCHER_HOOK=off turns it off; MPS_PATCHER_HOOK=verbose makes it report what
    it does.
    """
    if check and remove:
        raise Usage("usage", "--check and --remove cannot be combined.", "Choose one.")
    work = _check if check else _remove if remove else _lay
    results = [
        completed(_on(target, request, work, exclusive=not check), invocation_of(request))
        for target in request.targets()
    ]
    progress.clear()
    code = min((one.error.exit_code for one in results if one.error), key=SEVERITY.index, default=0)
    if request.output.json:
        echo(as_json("setup", results, ok=code == 0), request.output)
    else:
        lines = [one_line(f"{one.target.site_packages}: {one.note}") for one in results if one.note]
        echo("" if request.output.quiet else "\n".join(lines), request.output)
        echo(failures(results, stream_width(sys.stderr)), request.output, err=True)
    raise click.exceptions.Exit(code)


def _on(
    target: Target | NotFound, request: Request, work: Callable[[Target], tuple[bool, str]], *, exclusive: bool
) -> Result:
    """The result of `work` on one target, under its lock, as its owner."""
    from patcher import hooks  # noqa: F401 - loaded as ourselves: the owner may not be able to read it
    from patcher.owner import as_owner_of
    from patcher.storage.lock import locked

    result = Result(target=target, patch=None, state=None)
    if isinstance(target, NotFound):
        return result._replace(error=target.error)
    try:
        with (
            as_owner_of(target.site_packages),
            locked(target.dist_info, exclusive=exclusive, timeout=lock_timeout(request)),
        ):
            changed, note = work(target)
    except PatcherError as error:
        return result._replace(error=error)
    return result._replace(changed=changed, note=note)


def _lay(target: Target) -> tuple[bool, str]:
    from patcher.hooks import lay_hook

    if not lay_hook(target):
        return False, "The hook is already set up."
    return True, "The hook is set up. It applies the patches at the next start of Python, and after each reinstall."


def _remove(target: Target) -> tuple[bool, str]:
    from patcher.hooks import remove_hook

    return (True, "The hook is removed; the patches stay.") if remove_hook(target) else (False, "There is no hook.")


def _check(target: Target) -> tuple[bool, str]:
    from patcher.hooks import find_fault

    if fault := find_fault(target):
        raise PatcherError("no-hook", fault, "Run `mps-patcher setup`.")
    return False, "The hook is set up."

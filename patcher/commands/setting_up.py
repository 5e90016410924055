"""setup: lay the hook into a target, look at it, or take it away."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import click

from patcher.boundary import echo
from patcher.commands.patching import SEVERITY, lock_timeout
from patcher.document import as_json
from patcher.errors import PatcherError
from patcher.model import NotFound, Result, Target
from patcher.options import Request, Usage, target_options
from patcher.output import failures


@click.command("setup")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if a target is not set up.")
@click.option("--remove", is_flag=True, help="Take away what setup laid.")
@target_options
def setup_command(request: Request, check: bool, remove: bool) -> NoReturn:
    """Have the patches applied again by themselves after transformers was reinstalled or upgraded.

    It lays a hook into the target's site-packages that looks, as Python starts, whether transformers was replaced. Only
    then it runs `mps-patcher apply`. MPS_PATCHER_HOOK=off turns it off, MPS_PATCHER_HOOK=verbose says what it does.
    """
    if request.named or (check and remove):
        message = "--check and --remove exclude each other." if check and remove else "setup takes no PATCH."
        raise Usage("usage", message, "It has every patch applied whose defect has an effect on the target.")
    work = _check if check else _remove if remove else _lay
    results = [_on(target, request, work) for target in request.targets()]
    code = min((one.error.exit_code for one in results if one.error), key=SEVERITY.index, default=0)
    if request.output.json:
        echo(as_json("setup", results, ok=code == 0), request.output)
    else:
        lines = [f"{one.target.site_packages}: {one.note}" for one in results if one.note]
        echo("" if request.output.quiet else "\n".join(lines), request.output)
        echo(failures(results), request.output, err=True)
    raise click.exceptions.Exit(code)


def _on(target: Target | NotFound, request: Request, work: Callable[[Target], tuple[bool, str]]) -> Result:
    """The result of `work` on one target, under its lock, as its owner."""
    from patcher.owner import as_owner_of
    from patcher.storage.lock import locked

    result = Result(target=target, patch=None, state=None)
    if isinstance(target, NotFound):
        return result._replace(error=target.error)
    try:
        with (
            as_owner_of(target.site_packages),
            locked(target.dist_info, exclusive=work is not _check, timeout=lock_timeout(request)),
        ):
            changed, note = work(target)
    except PatcherError as error:
        return result._replace(error=error)
    return result._replace(changed=changed, note=note)


def _lay(target: Target) -> tuple[bool, str]:
    from patcher.hooks import lay_hook

    if not lay_hook(target):
        return False, "The hook is there already."
    return True, "The hook is set up: after a reinstall or an upgrade, the next start of Python applies the patches."


def _remove(target: Target) -> tuple[bool, str]:
    from patcher.hooks import remove_hook

    return (True, "The hook is removed; the patches stay.") if remove_hook(target) else (False, "There is no hook.")


def _check(target: Target) -> tuple[bool, str]:
    from patcher.hooks import find_faults

    if faults := find_faults(target):
        raise PatcherError("no-hook", f"The hook is not set up: {faults}.", "Run `mps-patcher setup`.")
    return False, "The hook is set up."

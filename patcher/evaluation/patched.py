"""How the target's interpreter is started so that it runs the fixed function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from patcher import operations
from patcher.catalogue import load_catalogue
from patcher.model import Effect, Result, State, Target
from patcher.run import prepare
from patcher.storage.lock import LockTimeout


class Patched(NamedTuple):
    """What makes the target's interpreter run the fixed function."""

    how: str
    """`installed`, `in memory` or `not needed`."""
    environ: Mapping[str, str]
    """The environment variables to start it with."""


def prepare_interpreter(target: Target, environ: Mapping[str, str], lock: LockTimeout) -> Patched:
    """The patches whose defect has an effect here are applied in memory, unless they are on disk.

    Raises PatcherError: what `apply` would refuse, and as `prepare` does.
    """
    catalogue = load_catalogue()
    environ = prepare(target, catalogue, named=False, lock=lock, environ=environ)
    results = operations.status((target,), catalogue, lock=lock)
    needed = [result for result in results if _is_needed(result)]
    how = "not needed" if not needed else "in memory"
    if needed and all(result.state is State.PATCHED for result in needed):
        how = "installed"
    return Patched(how, environ)


def _is_needed(result: Result) -> bool:
    if result.error is not None:
        raise result.error
    return result.impact is not None and result.impact.effect is not Effect.NONE

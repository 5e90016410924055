"""What each kind of patch finds in a file, and makes of it: bytes to bytes. All that changes files knows only this.

Both are remembered by the bytes: one command reads a file several times, and many targets hold the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from patcher import rewrite
from patcher.calls import redirect, sites
from patcher.errors import PatcherError
from patcher.model import CallsPatch, FunctionPatch, Patch, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one file says of a patch."""

    state: State
    """UNPATCHED, PATCHED, OUTDATED, MODIFIED or ABSENT."""
    what: str = ""
    """The body that was found, in a phrase: `body A (transformers 4.45.0 - 4.46.1)`."""
    calls: int = 0
    """How many calls there are to redirect."""
    branches: int = 0
    """How many known branches go."""
    complete: bool
    """Whether the patch would change nothing more."""
    detail: str
    """The finding in a sentence, without its full stop."""


def mention(patch: Patch) -> bytes | None:
    """What every file holds that the patch may be about, as a regular expression; None if it is about its own alone."""
    return sites.mention(patch) if isinstance(patch, CallsPatch) else None


@lru_cache(maxsize=64)
def find(source: bytes, path: PurePosixPath, patch: Patch) -> Finding:
    """What `source`, the file `path` below site-packages, says of the patch.

    Raises PatcherError: `unparsable-source` for the file of a function; one of the many with calls is then MODIFIED.
    """
    if isinstance(patch, CallsPatch):
        try:
            return _calls(sites.find(source, patch), path, patch)
        except PatcherError as error:
            return Finding(state=State.MODIFIED, complete=False, detail=f"{path}: {error.message.rstrip('.')}")
    found = rewrite.recognise(source, _function(patch))
    what = f"body {found.body}" if found.body else "no known body"
    return Finding(state=found.state, what=what, detail=found.detail, complete=found.state is State.PATCHED)


@lru_cache(maxsize=64)
def edit(source: bytes, path: PurePosixPath, patch: Patch, *, force: bool = False) -> bytes:
    """The file as the patch makes it; `force` goes on where it holds something unknown.

    Raises PatcherError: `unparsable-source`; `unknown-body` or `unknown-call` unless `force`; `unsafe-rewrite`.
    """
    if not isinstance(patch, CallsPatch):
        if find(source, path, patch).state is State.ABSENT:
            return rewrite.add(source, _function(patch))
        return rewrite.transplant(source, _function(patch), force=force)
    strange = sites.find(source, patch).strange
    if strange and not force:
        hint = f"Look at the file; --force leaves that as it is, and redirects the other calls of {patch.callee}."
        raise PatcherError("unknown-call", f"{path}: {strange[0]}, which cannot be redirected.", hint)
    return redirect.redirect(source, path, patch)


def _calls(found: sites.Sites, path: PurePosixPath, patch: CallsPatch) -> Finding:
    todo = found.calls + found.branches
    if found.strange:
        state, detail = State.MODIFIED, f"{path}: {found.strange[0]}"
    elif todo:
        state, detail = State.UNPATCHED, f"{path} calls {patch.callee} directly"
    else:
        state = State.PATCHED if found.ours else State.ABSENT
        detail = f"{path} does not call {patch.callee} directly"
    return Finding(state=state, calls=found.calls, branches=found.branches, detail=detail, complete=not todo)


def _function(patch: Patch) -> FunctionPatch:
    if not isinstance(patch, FunctionPatch):
        raise TypeError(f"{patch.name} is a patch of no known kind")
    return patch

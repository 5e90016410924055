"""What each kind of patch finds in a file, and makes of it: bytes to bytes. Paths are relative to site-packages.

Both are remembered by the bytes: one command asks for a file several times, and many targets hold the same files.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePosixPath

from patcher.edit.calls import identify_calls, redirect_calls
from patcher.edit.functions import append_function, identify_function, replace_body
from patcher.edit.syntax import Finding
from patcher.errors import PatcherError
from patcher.model import CallsPatch, FunctionPatch, Patch, State

__all__ = ["Finding", "edit_source", "identify", "mentioned_name", "whole_word"]


_REMEMBERED = 256
"""Files: those of a dozen releases of which each has some 20."""


def mentioned_name(patch: Patch) -> str:
    """The name that stands, as a word of its own, in every file that the patch may be about."""
    return patch.callee.rpartition(".")[2] if isinstance(patch, CallsPatch) else patch.function


def whole_word(name: str) -> bytes:
    """A regular expression for a name as a word of its own."""
    return rf"{name}\b(?<=\b{name})".encode()  # with the name first it is found ten times as fast


@lru_cache(maxsize=_REMEMBERED)
def identify(source: bytes, path: PurePosixPath, patch: Patch) -> Finding:
    """What `source`, the file `path`, says of the patch; never an error, but MODIFIED where it cannot be read."""
    try:
        match patch:
            case FunctionPatch() if path == patch.file:
                return identify_function(source, patch)
            case CallsPatch() if _may_call(source, path, patch):
                return identify_calls(source, path, patch)
    except PatcherError as error:
        return Finding(state=State.MODIFIED, detail=error.message.removesuffix("."), is_replaceable=False)
    return Finding(state=State.ABSENT, detail=f"{path} is not what {patch.name} is about")


@lru_cache(maxsize=_REMEMBERED)
def edit_source(source: bytes, path: PurePosixPath, patch: Patch, *, force: bool = False) -> bytes:
    """The file as the patch makes it, the same bytes where there is nothing to do; `force` passes over what is unknown.

    A function that is not there is added. Every byte that the patch is not about stays, and so do line ends; the result
    has been parsed again.

    Raises:
        PatcherError: `unparsable-source`, `unsupported-encoding`; `unknown-body` or `unknown-call`, unless `force`;
            `function-absent`, where the function cannot be added; `unsafe-rewrite`, where the result would be wrong.
    """
    match patch:
        case FunctionPatch() if path == patch.file:
            if identify(source, path, patch).state is State.ABSENT:
                return append_function(source, patch)
            return replace_body(source, patch, force=force)
        case CallsPatch() if _may_call(source, path, patch):
            return redirect_calls(source, path, patch, force=force)
    return source


def _may_call(source: bytes, path: PurePosixPath, patch: CallsPatch) -> bool:
    """Whether the text shows any use that is not numpy's: to parse a large file takes long."""
    name = mentioned_name(patch)
    use = whole_word(name) + rf"(?<!\bnp\.{name})(?<!\bnumpy\.{name})".encode()
    return path != patch.file and re.search(use, source) is not None

"""Recognising the body of a function, and putting another in its place: bytes to bytes, no I/O on the target.

Recognition reads the syntax tree with the standard library, so that `status` is quick; only `transplant` pays for
libcst, which keeps every byte that it is not told to change.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patcher import __version__
from patcher.body import bindings, body_digest, parse, shape
from patcher.errors import PatcherError
from patcher.model import Patch, State

if TYPE_CHECKING:
    import libcst

REPORTS = "https://github.com/mps-patcher/mps-patcher/issues"

BANNER = "# mps-patcher "
"""Every comment line that we put above a function begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What the syntax tree of a file says of a patch."""

    state: State
    """UNPATCHED, PATCHED, MODIFIED or ABSENT."""
    body: str | None
    """The name of the known body that is there, if one is."""
    detail: str
    """The finding in a sentence."""


def recognise(source: bytes, patch: Patch) -> Recognition:
    """Say which body `patch.function` has in `source`, whatever its formatting, comments, docstring or annotations.

    Raises:
        PatcherError: `unparsable-source`, if `source` is not a Python module that this interpreter can parse.
    """
    found = bindings(parse(source), patch.function)
    if not found:
        return Recognition(state=State.ABSENT, body=None, detail=f"{patch.file.name} defines no {patch.function}")
    if len(found) > 1:
        return _modified(f"{patch.file.name} binds {patch.function} {len(found)} times")
    function = found[0]
    if not isinstance(function, ast.FunctionDef) or function.col_offset or function.decorator_list:
        return _modified(f"{patch.function} is not a plain function at the top level of {patch.file.name}")
    return _recognise_body(function, patch)


def transplant(source: bytes, patch: Patch, *, force: bool = False) -> bytes:
    """Give `patch.function` in `source` the body of the replacement, docstring included, and a comment above it.

    The signature stays, and so does every byte outside the function; both are checked on the result before it is
    returned. `source` is returned as it is where the replacement's body is already there.

    Raises:
        PatcherError: `unparsable-source`; `function-absent`; `unknown-body`, unless `force`; `unsafe-rewrite`, if the
            result would differ from `source` outside the function, which is then a bug of ours or of libcst.
    """
    recognition = recognise(source, patch)
    if recognition.state is State.PATCHED:
        return source
    if recognition.state is State.ABSENT:
        raise PatcherError("function-absent", f"{recognition.detail}.", "This release does not call it.")
    function = _only_function(source, patch)
    if function is None or (recognition.state is State.MODIFIED and not force):
        raise _unknown_body(recognition, can_force=function is not None)
    result = _rewritten(source, patch)
    _check_outside(source, result, function, patch)
    return result


def _recognise_body(function: ast.FunctionDef, patch: Patch) -> Recognition:
    if not _same_parameters(function, patch):
        return _modified(f"{patch.function} has other parameters than the function that we know")
    try:
        digest = body_digest(function)
    except (RecursionError, ValueError):
        return _modified(f"{patch.function} has a body that is too deep, or holds a number too long, to be compared")
    if digest == body_digest(_replacement(patch)):
        return Recognition(state=State.PATCHED, body=None, detail=f"{patch.function} has our body")
    for known in patch.known:
        if digest == known.digest:
            return Recognition(state=State.UNPATCHED, body=known.name, detail=f"{patch.function} has body {known.name}")
    return _modified(f"{patch.function} has a body that we do not know (digest {digest[:12]})")


def _modified(detail: str) -> Recognition:
    return Recognition(state=State.MODIFIED, body=None, detail=detail)


def _unknown_body(recognition: Recognition, *, can_force: bool) -> PatcherError:
    report = f"report it at {REPORTS}"
    hint = f"Look at the file; --force replaces the body all the same. If it is a release, please {report}."
    refusal = f"Not even --force can replace it. If it is a release, please {report}."
    return PatcherError("unknown-body", f"{recognition.detail}.", hint if can_force else refusal)


def _replacement(patch: Patch) -> ast.FunctionDef:
    module = parse(patch.replacement.read_bytes())
    (function,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == patch.function)
    return function


def _only_function(source: bytes, patch: Patch) -> ast.FunctionDef | None:
    """The function, if it is one that a body can be put into: bound once, plain, with the parameters that we know."""
    match bindings(parse(source), patch.function):
        case [ast.FunctionDef(col_offset=0, decorator_list=[]) as function]:
            return function if _same_parameters(function, patch) else None
        case _:
            return None


def _same_parameters(function: ast.FunctionDef, patch: Patch) -> bool:
    try:
        return shape(function.args) == shape(_replacement(patch).args)
    except (RecursionError, ValueError):
        return False


def _rewritten(source: bytes, patch: Patch) -> bytes:
    import libcst

    try:
        return _replace_body(source, patch)
    except (libcst.ParserSyntaxError, SyntaxError, ValueError, RecursionError) as error:
        raise PatcherError(
            "unsafe-rewrite",
            f"libcst cannot read this file, though Python can: {' '.join(str(error).split())}.",
            f"Please report it at {REPORTS}, with the file.",
        ) from error


def _replace_body(source: bytes, patch: Patch) -> bytes:
    import libcst

    module = libcst.parse_module(source)
    if module.bytes != source:
        raise PatcherError(
            "unsafe-rewrite",
            "libcst does not give this file back byte for byte.",
            f"Please report it at {REPORTS}, with the file.",
        )
    old = _find(module, patch.function)
    # The docstring's own line ends are bytes of a string, which libcst leaves alone: parse it with the target's
    text = "".join(line + module.default_newline for line in patch.replacement.read_text("ascii").splitlines())
    donor = _find(libcst.parse_module(text), patch.function)
    # The comments after the old body are indented as it was
    block = isinstance(old.body, libcst.IndentedBlock)
    kept = {name: getattr(old.body, name) for name in ("header", "indent", "footer") if block}
    new = old.with_changes(
        body=donor.body.with_changes(**kept),
        leading_lines=[*_without_banner(old.leading_lines), *_banner(patch)],
    )
    if module.body[0] is old:  # libcst gives the comments above a first statement to the module
        module = module.with_changes(header=_without_banner(module.header))
    return module.deep_replace(old, new).bytes  # type: ignore[union-attr]


def _find(module: libcst.Module, name: str) -> libcst.FunctionDef:
    import libcst

    (function,) = (node for node in module.body if isinstance(node, libcst.FunctionDef) and node.name.value == name)
    return function


def _banner(patch: Patch) -> list[libcst.EmptyLine]:
    import libcst

    lines = (
        f"{BANNER}{__version__} put another body into this function, one that is right on MPS.",
        f"{BANNER}undoes it with: mps-patcher revert {patch.name}",
    )
    return [libcst.EmptyLine(comment=libcst.Comment(line)) for line in lines]


def _without_banner(lines: Sequence[libcst.EmptyLine]) -> list[libcst.EmptyLine]:
    return [line for line in lines if not (line.comment and line.comment.value.startswith(BANNER))]


def _check_outside(source: bytes, result: bytes, function: ast.FunctionDef, patch: Patch) -> None:
    lines = source.splitlines(keepends=True)
    before, after = _above(lines[: function.lineno - 1]), lines[function.end_lineno :]
    same = result.startswith(b"".join(before)) and result.endswith(b"".join(after))
    if not same or recognise(result, patch).state is not State.PATCHED:
        raise PatcherError(
            "unsafe-rewrite",
            f"Rewriting {patch.function} would change other parts of {patch.file.name} too.",
            f"Nothing was written. Please report it at {REPORTS}, with the file.",
        )


def _above(lines: list[bytes]) -> list[bytes]:
    """The lines above a function, less the banner that an earlier run put among the comments right above it."""
    start = len(lines)
    while start and (not lines[start - 1].strip() or lines[start - 1].startswith(b"#")):
        start -= 1
    return [*lines[:start], *(line for line in lines[start:] if not line.startswith(BANNER.encode()))]

"""Recognising the body of a function, putting another in its place, adding the function: bytes to bytes.

Recognition reads the syntax tree with the standard library, so that `status` is quick; only `transplant` pays for
libcst, and gives it the lines of the function alone: nothing else of the file passes through any parser and back.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeGuard

from patcher import __version__
from patcher.body import alike, bindings, body_digest, parse, require_shallow, shape
from patcher.errors import PatcherError
from patcher.model import FunctionPatch, State
from patcher.source import lines, read

if TYPE_CHECKING:
    import libcst

BANNER = "# mps-patcher "
"""Every comment line that we put above a function begins so."""
_BANNER_LINE = re.compile(rf"{BANNER}(?:\d\S* |undoes it with: )")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What the syntax tree of a file says of a patch."""

    state: State
    """UNPATCHED, PATCHED, OUTDATED, MODIFIED or ABSENT."""
    body: str | None
    """The name of the known body that is there, if one is."""
    detail: str
    """The finding in a sentence."""


def recognise(source: bytes, patch: FunctionPatch) -> Recognition:
    """Say which body `patch.function` has in `source`, whatever its formatting, comments, docstring or annotations.

    Raises:
        PatcherError: `unparsable-source`, if `source` is not a Python module that this interpreter can parse.
    """
    tree = parse(source)
    found = bindings(tree, patch.function)
    if not found:
        return Recognition(state=State.ABSENT, body=None, detail=f"{patch.file.name} defines no {patch.function}")
    if len(found) > 1:
        return _modified(f"{patch.file.name} binds {patch.function} {len(found)} times")
    function = found[0]
    if not _is_plain(function, tree):
        return _modified(f"{patch.function} is not a plain function at the top level of {patch.file.name}")
    if _is_followed_by_star(function, tree):
        return _modified(f"{patch.file.name} imports * after {patch.function}, which may bind it again")
    return _recognise_body(function, patch)


def transplant(source: bytes, patch: FunctionPatch, *, force: bool) -> bytes:
    """Give `patch.function` in `source` the body of the replacement, docstring included, and a comment above it.

    The signature stays, and so does every byte outside the function. `source` is returned as it is where the
    replacement's body is already there; else the result has been parsed again and holds it.

    Raises:
        PatcherError: `unparsable-source`; `function-absent`; `unknown-body`, unless `force`; `unsafe-rewrite`, if
            libcst does not read the function as Python does.
    """
    recognition = recognise(source, patch)
    if recognition.state is State.PATCHED:
        return source
    if recognition.state is State.ABSENT:
        raise PatcherError("function-absent", f"{recognition.detail}.", "There is nothing here to rewrite.")
    tree = parse(source)
    function = _only_function(tree, patch)
    if function is None or (recognition.state is State.MODIFIED and not force):
        raise _unknown_body(recognition, can_force=function is not None)
    return _proven(lambda: _rewritten(source, tree, function, patch), tree, patch)


def add(source: bytes, patch: FunctionPatch) -> bytes:
    """Add the replacement, as a whole, at the end of a module that has no such function but imports torch.

    Every byte of `source` stays; the result has been parsed again and holds the function.

    Raises:
        PatcherError: `unparsable-source`; `unknown-body`, if the name is taken; `unsafe-rewrite`, if the function
            would not find torch there.
    """
    recognition = recognise(source, patch)
    if recognition.state is not State.ABSENT:
        raise _unknown_body(recognition, can_force=False)
    tree = parse(source)
    imports = {alias for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    match bindings(tree, "torch"):
        case [ast.alias(name="torch") as alias] if alias in imports:
            pass
        case _:
            raise _unsafe(patch, "the module does not import torch, once and as torch")
    used = {node.id for node in ast.walk(_replacement(patch)) if isinstance(node, ast.Name)} & set(dir(builtins))
    for name in sorted(used):
        if bindings(tree, name):
            raise _unsafe(patch, f"the module has a {name} of its own")
    return _proven(lambda: source + _addition(source, patch), tree, patch)


def _proven(make: Callable[[], bytes], before: ast.Module, patch: FunctionPatch) -> bytes:
    """What `make` makes, once it was parsed again and found to hold the replacement, and all else of `before`."""
    try:
        result = make()
        recognition = recognise(result, patch)
        is_whole = alike(_others(parse(result), patch), _others(before, patch))
    except PatcherError as error:
        raise _unsafe(patch, error.message.rstrip(".")) from error
    except (ValueError, RecursionError, MemoryError, SyntaxError) as error:
        raise _unsafe(patch, " ".join(str(error).split()) or type(error).__name__) from error
    if recognition.state is not State.PATCHED:
        raise _unsafe(patch, recognition.detail)
    if not is_whole:
        raise _unsafe(patch, "the rest of the file would not be read as it was")
    return result


def _others(tree: ast.Module, patch: FunctionPatch) -> list[ast.stmt]:
    """All statements of a module but the function."""
    return [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == patch.function)]


def _addition(source: bytes, patch: FunctionPatch) -> bytes:
    """What comes after `source`: two empty lines, the comment and the function, with the line ends of `source`."""
    end = _end(read(source).text).encode("ascii")
    function = _replacement(patch)
    text = patch.replacement.read_text("ascii").splitlines()[function.lineno - 1 : function.end_lineno]
    added = ["", "", *_banner(patch, "added this function, which is right on MPS"), *text]
    gap = b"" if not source or source.endswith((b"\r", b"\n")) else end
    return gap + b"".join(line.encode("ascii") + end for line in added)


def _end(text: str) -> str:
    """How the first line ends; a line feed where there is only one, without an end."""
    first = next(iter(lines(text)), "")
    return next((end for end in ("\r\n", "\n", "\r") if first.endswith(end)), "\n")


def _is_plain(function: ast.AST, tree: ast.Module) -> TypeGuard[ast.FunctionDef]:
    """Whether it is a function with no decorator at the top level, in the first column.

    A line that a backslash continues may begin there, though it stands in a block.
    """
    plain = isinstance(function, ast.FunctionDef) and not function.col_offset and not function.decorator_list
    return plain and any(function is node for node in tree.body)


def _is_followed_by_star(function: ast.FunctionDef, tree: ast.Module) -> bool:
    every = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.lineno > function.lineno)
    return any(alias.name == "*" for node in every for alias in node.names)


def _recognise_body(function: ast.FunctionDef, patch: FunctionPatch) -> Recognition:
    if not _same_parameters(function, patch):
        return _modified(f"{patch.function} has other parameters than the function that we know")
    try:
        digest = body_digest(function)
    except (RecursionError, ValueError):
        return _modified(f"{patch.function} has a body that is too deep, or holds a number too long, to be compared")
    if digest == _our_digest(patch):
        return Recognition(state=State.PATCHED, body=None, detail=f"{patch.function} has our body")
    for former in patch.former:
        if digest == former.digest:
            return Recognition(state=State.OUTDATED, body=former.name, detail=f"{patch.function} has {former.name}")
    for known in patch.known:
        if digest == known.digest:
            return Recognition(state=State.UNPATCHED, body=known.name, detail=f"{patch.function} has body {known.name}")
    return _modified(f"{patch.function} has a body that we do not know (digest {digest[:12]})")


def _modified(detail: str) -> Recognition:
    return Recognition(state=State.MODIFIED, body=None, detail=detail)


def _unknown_body(recognition: Recognition, *, can_force: bool) -> PatcherError:
    report = "If transformers was released like this, please report it to the mps-patcher project."
    hint = f"Look at the file; --force replaces the body all the same. {report}"
    refusal = f"Not even --force can replace it. {report}"
    return PatcherError("unknown-body", f"{recognition.detail}.", hint if can_force else refusal)


@lru_cache(maxsize=8)
def _replacement(patch: FunctionPatch) -> ast.FunctionDef:
    module = parse(patch.replacement.read_bytes())
    (function,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == patch.function)
    return function


@lru_cache(maxsize=8)
def _our_digest(patch: FunctionPatch) -> str:
    return body_digest(_replacement(patch))


def _only_function(tree: ast.Module, patch: FunctionPatch) -> ast.FunctionDef | None:
    """The function, if it is one that a body can be put into: bound once, plain, with the parameters that we know."""
    match bindings(tree, patch.function):
        case [function] if _is_plain(function, tree) and not _is_followed_by_star(function, tree):
            return function if _same_parameters(function, patch) else None
        case _:
            return None


def _same_parameters(function: ast.FunctionDef, patch: FunctionPatch) -> bool:
    try:
        return shape(function.args) == shape(_replacement(patch).args)
    except (RecursionError, ValueError):
        return False


def _rewritten(source: bytes, tree: ast.Module, function: ast.FunctionDef, patch: FunctionPatch) -> bytes:
    whole = read(source)
    every = lines(whole.text)
    pieces = whole.pieces(every)
    start, end = function.lineno - 1, function.end_lineno
    require_shallow(function)
    ours = _with_our_body("".join(every[start:end]), patch, _end(whole.text)).encode(whole.encoding)
    previous = max((node.end_lineno or 0 for node in tree.body if node.lineno < function.lineno), default=0)
    above = [piece for line, piece in zip(every[previous:start], pieces[previous:], strict=False) if not _is_ours(line)]
    return b"".join([whole.mark, *pieces[:previous], *above, ours, *pieces[end:]])


def _with_our_body(text: str, patch: FunctionPatch, end: str) -> str:
    """The function that `text` holds, with the replacement's body, below the comment that tells of it.

    `end` is how lines end where the function has but one, without an end.
    """
    import libcst

    try:
        module = libcst.parse_module(text)
    except libcst.ParserSyntaxError as error:
        raise ValueError(error.message) from error
    if module.code != text or len(module.body) != 1 or not isinstance(old := module.body[0], libcst.FunctionDef):
        raise ValueError("it does not give the function back as it is")
    end = module.default_newline if text.endswith(("\r", "\n")) or "\n" in text else end
    body = _our_body(patch, end)
    if isinstance(old.body, libcst.IndentedBlock):
        body = body.with_changes(header=old.body.header)
    changed = module.with_changes(body=[old.with_changes(body=body)], default_newline=end)
    banner = _banner(patch, "put another body into this function, one that is right on MPS")
    return "".join(line + end for line in banner) + changed.code


@lru_cache(maxsize=8)
def _our_body(patch: FunctionPatch, end: str) -> libcst.BaseSuite:
    """The replacement's body for libcst.

    The docstring's own line ends are characters of a string, which libcst leaves alone: it is parsed with the target's.
    """
    import libcst

    text = "".join(line + end for line in patch.replacement.read_text("ascii").splitlines())
    donors = [node for node in libcst.parse_module(text).body if isinstance(node, libcst.FunctionDef)]
    (body,) = (node.body for node in donors if node.name.value == patch.function)
    return body


def _banner(patch: FunctionPatch, deed: str) -> tuple[str, str]:
    return f"{BANNER}{__version__} {deed}.", f"{BANNER}undoes it with: mps-patcher revert {patch.name}"


def _is_ours(line: str) -> bool:
    """Whether a comment is of the banner that an earlier run put above the function."""
    return _BANNER_LINE.match(line) is not None


def _unsafe(patch: FunctionPatch, finding: str) -> PatcherError:
    return PatcherError(
        "unsafe-rewrite",
        f"{patch.function} in {patch.file.name} cannot be rewritten safely: {finding}.",
        "Nothing was written. Please report it to the mps-patcher project, with the file.",
    )

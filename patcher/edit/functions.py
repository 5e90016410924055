"""One function of a module: recognising its body, giving it another, adding it where there is none.

Recognition reads the syntax tree with the standard library, so that `status` is quick; only `replace_body` pays for
libcst, and gives it the lines of the function alone: nothing else of the file passes through a parser and back.
"""

from __future__ import annotations

import ast
import builtins
import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeGuard

from patcher import __version__
from patcher.edit.syntax import (
    BANNER,
    Finding,
    ast_equal,
    bindings,
    code_digest,
    normalized,
    parse_module,
    source_lines,
    unsafe_rewrite,
    walk,
)
from patcher.errors import PatcherError
from patcher.model import FunctionPatch, State

if TYPE_CHECKING:
    import libcst

_BANNER_LINE = re.compile(rf"{BANNER}(?:\d\S* |undoes it with: )".encode())
_REPORT = "If this is an unmodified release, please report it to the mps-patcher project."
_DEEPEST = 1000
"""Levels of nesting, operands of one `and` included: libcst's parser dies of several thousand, and takes the process
with it."""


def identify_function(source: bytes, patch: FunctionPatch) -> Finding:
    """Which body `patch.function` has in `source`, whatever its formatting, comments, docstring or annotations.

    Raises PatcherError: `unparsable-source`, `unsupported-encoding`.
    """
    tree = parse_module(source, patch.file)
    function = _replaceable(tree, patch)
    if function is None:
        return Finding(state=State.ABSENT, detail=f"{patch.file} defines no {patch.function}")
    if isinstance(function, str):
        return _modified(function)._replace(is_replaceable=False)
    try:
        digest = code_digest(function)
    except (RecursionError, ValueError):
        return _modified(
            f"{patch.function} in {patch.file} is nested too deeply, or has a number too long, to be compared"
        )
    for state, bodies in ((State.OUTDATED, patch.previous_bodies), (State.UNPATCHED, patch.known_bodies)):
        if name := next((known.name for known in bodies if known.digest == digest), None):
            return Finding(state=state, body=name, detail=f"{patch.function} in {patch.file} is {name}")
    if digest == code_digest(_replacement(patch)):
        return Finding(state=State.PATCHED, detail=f"{patch.function} in {patch.file} is the fixed function")
    where = f"{patch.function} in {patch.file}"
    return _modified(f"{where} is not the function of any known release (digest {digest[:12]})")


def replace_body(source: bytes, patch: FunctionPatch, *, force: bool) -> bytes:
    """Give `patch.function` in `source` the body of the replacement, docstring included, and a comment above it.

    The signature stays, and so does every byte outside the function. `source` is returned as it is where the
    replacement's body is already there; else the result has been parsed again and holds it.

    Raises:
        PatcherError: `unparsable-source`, `unsupported-encoding`; `unknown-body`, unless `force`; `unsafe-rewrite`, if
            libcst does not read the function as Python does.
    """
    finding = identify_function(source, patch)
    if finding.state is State.PATCHED:
        return source
    tree = parse_module(source, patch.file)
    function = _replaceable(tree, patch)
    if not isinstance(function, ast.FunctionDef):
        raise _unknown_body(finding, "--force cannot replace it either.")
    if finding.state is State.MODIFIED and not force:
        look = "Look at it with `mps-patcher apply --force --dry-run --diff`"
        raise _unknown_body(finding, f"{look}; `mps-patcher apply --force` replaces it.")
    try:
        result = _with_replaced_body(source, tree, function, patch)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise unsafe_rewrite(patch.file, str(error) or type(error).__name__) from error
    return _proven(result, tree, patch)


def append_function(source: bytes, patch: FunctionPatch) -> bytes:
    """Add the replacement, as a whole, at the end of a module that has no such function but imports torch.

    Every byte of `source` stays; the result has been parsed again and holds the function.

    Raises:
        PatcherError: `unparsable-source`, `unsupported-encoding`; `unknown-body`, if the name is taken;
            `function-absent`, if the function would not find torch or the builtins there.
    """
    finding = identify_function(source, patch)
    if finding.state is not State.ABSENT:
        raise _unknown_body(finding, "--force cannot replace it either.")
    tree = parse_module(source, patch.file)
    if obstacle := _obstacle(tree, patch):
        raise PatcherError("function-absent", f"{finding.detail}, and it cannot be added: {obstacle}.", _REPORT)
    return _proven(source + _addition(source, patch), tree, patch)


def _modified(detail: str) -> Finding:
    return Finding(state=State.MODIFIED, detail=detail)


def _replaceable(tree: ast.Module, patch: FunctionPatch) -> ast.FunctionDef | str | None:
    """The function, if it is one that a body can be put into; else why it is not, in a sentence; None without one."""
    found = bindings(tree, patch.function)
    if not found:
        return None
    if len(found) != 1:
        return f"{patch.file} defines {patch.function} {len(found)} times"
    (function,) = found
    if not _is_plain_function(function, tree):
        return f"{patch.function} is not a plain function at the top level of {patch.file}"
    if any(one.lineno > function.lineno for one in walk(tree) if isinstance(one, ast.alias) and one.name == "*"):
        return f"{patch.file} imports * after {patch.function}, which may replace it"
    if not _has_parameters(function, _replacement(patch)):
        return f"{patch.function} in {patch.file} has other parameters than in any known release"
    return function


def _has_parameters(function: ast.FunctionDef, other: ast.FunctionDef) -> bool:
    try:
        return normalized(function.args) == normalized(other.args)
    except (RecursionError, ValueError):
        return False


def _is_plain_function(function: ast.AST, tree: ast.Module) -> TypeGuard[ast.FunctionDef]:
    """Whether it is a function with no decorator at the top level."""
    return isinstance(function, ast.FunctionDef) and not function.decorator_list and function in tree.body


@lru_cache(maxsize=8)
def _replacement(patch: FunctionPatch) -> ast.FunctionDef:
    body = ast.parse(patch.replacement).body
    return next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == patch.function)


def _obstacle(tree: ast.Module, patch: FunctionPatch) -> str | None:
    """Why the function would not work in this module; None if it would."""
    imports = {alias for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    match bindings(tree, "torch"):
        case [ast.alias(name="torch") as alias] if alias in imports:
            pass
        case _:
            return "the module does not import torch, once and as torch"
    used = {node.id for node in walk(_replacement(patch)) if isinstance(node, ast.Name)} & set(dir(builtins))
    taken = next((name for name in sorted(used) if bindings(tree, name)), None)
    return f"the module has a {taken} of its own" if taken else None


def _addition(source: bytes, patch: FunctionPatch) -> bytes:
    """What comes after `source`: two empty lines, the banner and the function, with the line ends of `source`."""
    end = _first_line_end(source)
    function = _replacement(patch)
    text = patch.replacement.splitlines()[function.lineno - 1 : function.end_lineno]
    added = ["", "", *_banner(patch, "added this function"), *text]
    gap = b"" if not source or source.endswith(b"\n") else end
    return gap + b"".join(line.encode() + end for line in added)


def _first_line_end(source: bytes) -> bytes:
    """How the first line ends; a line feed where it does not."""
    return b"\r\n" if source.partition(b"\n")[0].endswith(b"\r") else b"\n"


def _banner(patch: FunctionPatch, deed: str) -> tuple[str, str]:
    return f"{BANNER}{__version__} {deed}.", f"{BANNER}undoes it with: mps-patcher revert {patch.name}"


def _with_replaced_body(source: bytes, tree: ast.Module, function: ast.FunctionDef, patch: FunctionPatch) -> bytes:
    lines = source_lines(source)
    mark = source[: len(source) - sum(map(len, lines))]
    start, end = function.lineno - 1, function.end_lineno or function.lineno
    _require_shallow(function)
    ours = _new_function(b"".join(lines[start:end]).decode(), patch, _first_line_end(source).decode()).encode()
    previous = max((node.end_lineno or 0 for node in tree.body if node.lineno < function.lineno), default=0)
    above = [line for line in lines[previous:start] if not _BANNER_LINE.match(line)]
    return b"".join([mark, *lines[:previous], *above, ours, *lines[end:]])


def _require_shallow(node: ast.AST) -> None:
    """Raises ValueError where a tree is so deep that libcst must not be given it."""
    waiting = [(node, 0)]
    while waiting:
        node, depth = waiting.pop()
        depth += max(len(node.values), 1) if isinstance(node, ast.BoolOp) else 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        waiting += [(inner, depth) for inner in ast.iter_child_nodes(node)]


def _new_function(text: str, patch: FunctionPatch, end: str) -> str:
    """The function that `text` holds, with the replacement's body, below the banner.

    `end` is how lines end where the function has but one, without an end.
    """
    import libcst

    try:
        module = libcst.parse_module(text)
    except libcst.ParserSyntaxError as error:
        raise ValueError(f"libcst cannot parse it ({error.message})") from error
    if module.code != text or len(module.body) != 1 or not isinstance(old := module.body[0], libcst.FunctionDef):
        raise ValueError("libcst does not reproduce the function")
    end = module.default_newline if "\n" in text else end
    body = _new_body(patch, end)
    if isinstance(old.body, libcst.IndentedBlock):
        body = body.with_changes(header=old.body.header)
    changed = module.with_changes(body=[old.with_changes(body=body)], default_newline=end)
    return "".join(line + end for line in _banner(patch, "replaced the body of this function")) + changed.code


@lru_cache(maxsize=8)
def _new_body(patch: FunctionPatch, end: str) -> libcst.BaseSuite:
    """The replacement's body for libcst.

    The docstring's own line ends are characters of a string, which libcst leaves alone: it is parsed with the target's.
    """
    import libcst

    body = libcst.parse_module("".join(line + end for line in patch.replacement.splitlines())).body
    return next(
        node.body for node in body if isinstance(node, libcst.FunctionDef) and node.name.value == patch.function
    )


def _proven(result: bytes, before: ast.Module, patch: FunctionPatch) -> bytes:
    """`result`, once it was parsed again and found to hold the replacement, and all else of `before`."""
    try:
        finding = identify_function(result, patch)
        is_whole = ast_equal(_others(parse_module(result, patch.file), patch), _others(before, patch))
    except PatcherError as error:
        raise unsafe_rewrite(patch.file, error.message) from error
    if finding.state is not State.PATCHED:
        raise unsafe_rewrite(patch.file, finding.detail)
    if not is_whole:
        raise unsafe_rewrite(patch.file, "the rest of the file would change its meaning")
    return result


def _others(tree: ast.Module, patch: FunctionPatch) -> list[ast.stmt]:
    """All statements of a module but the function."""
    return [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == patch.function)]


def _unknown_body(finding: Finding, hint: str) -> PatcherError:
    return PatcherError("unknown-body", f"{finding.detail}.", f"{hint} {_REPORT}")

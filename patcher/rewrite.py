"""Recognising the body of a function, putting another in its place, adding the function: bytes to bytes.

Recognition reads the syntax tree with the standard library, so that `status` is quick; only `transplant` pays for
libcst, and gives it the lines of the function alone: nothing else of the file passes through any parser and back.
"""

from __future__ import annotations

import ast
import builtins
import tokenize
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from patcher import __version__
from patcher.body import bindings, body_digest, parse, shape
from patcher.errors import PatcherError
from patcher.model import FunctionPatch, State

BANNER = "# mps-patcher "
"""Every comment line that we put above a function begins so."""


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
    found = bindings(parse(source), patch.function)
    if not found:
        return Recognition(state=State.ABSENT, body=None, detail=f"{patch.file.name} defines no {patch.function}")
    if len(found) > 1:
        return _modified(f"{patch.file.name} binds {patch.function} {len(found)} times")
    function = found[0]
    if not isinstance(function, ast.FunctionDef) or function.col_offset or function.decorator_list:
        return _modified(f"{patch.function} is not a plain function at the top level of {patch.file.name}")
    return _recognise_body(function, patch)


def transplant(source: bytes, patch: FunctionPatch, *, force: bool = False) -> bytes:
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
    function = _only_function(source, patch)
    if function is None or (recognition.state is State.MODIFIED and not force):
        raise _unknown_body(recognition, can_force=function is not None)
    return _proven(lambda: _rewritten(source, function, patch), patch)


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
    return _proven(lambda: source + _addition(source, patch), patch)


def _proven(make: Callable[[], bytes], patch: FunctionPatch) -> bytes:
    """What `make` makes, once it was parsed again and found to hold the replacement."""
    try:
        result = make()
        recognition = recognise(result, patch)
    except (ValueError, RecursionError, SyntaxError) as error:
        raise _unsafe(patch, f"{' '.join(str(error).split())}") from error
    if recognition.state is not State.PATCHED:
        raise _unsafe(patch, recognition.detail)
    return result


def _addition(source: bytes, patch: FunctionPatch) -> bytes:
    """What comes after `source`: two empty lines, the comment and the function, with the line ends of `source`."""
    first = source.splitlines(keepends=True)[:1]
    end = next((end for line in first for end in (b"\r\n", b"\n", b"\r") if line.endswith(end)), b"\n")
    function = _replacement(patch)
    text = patch.replacement.read_text("ascii").splitlines()[function.lineno - 1 : function.end_lineno]
    lines = ["", "", *_banner(patch, "added this function, which is right on MPS"), *text]
    gap = b"" if not source or source.endswith((b"\r", b"\n")) else end
    return gap + b"".join(line.encode("ascii") + end for line in lines)


def _recognise_body(function: ast.FunctionDef, patch: FunctionPatch) -> Recognition:
    if not _same_parameters(function, patch):
        return _modified(f"{patch.function} has other parameters than the function that we know")
    try:
        digest = body_digest(function)
    except (RecursionError, ValueError):
        return _modified(f"{patch.function} has a body that is too deep, or holds a number too long, to be compared")
    if digest == body_digest(_replacement(patch)):
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


def _replacement(patch: FunctionPatch) -> ast.FunctionDef:
    module = parse(patch.replacement.read_bytes())
    (function,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == patch.function)
    return function


def _only_function(source: bytes, patch: FunctionPatch) -> ast.FunctionDef | None:
    """The function, if it is one that a body can be put into: bound once, plain, with the parameters that we know."""
    match bindings(parse(source), patch.function):
        case [ast.FunctionDef(col_offset=0, decorator_list=[]) as function]:
            return function if _same_parameters(function, patch) else None
        case _:
            return None


def _same_parameters(function: ast.FunctionDef, patch: FunctionPatch) -> bool:
    try:
        return shape(function.args) == shape(_replacement(patch).args)
    except (RecursionError, ValueError):
        return False


def _rewritten(source: bytes, function: ast.FunctionDef, patch: FunctionPatch) -> bytes:
    mark = BOM_UTF8 if source.startswith(BOM_UTF8) else b""
    lines = source.removeprefix(mark).splitlines(keepends=True)
    start, end = function.lineno - 1, function.end_lineno
    encoding, _ = tokenize.detect_encoding(BytesIO(b"".join(lines)).readline)
    text = b"".join(lines[start:end]).decode(encoding)
    return b"".join([mark, *_without_banner(lines[:start]), _with_our_body(text, patch).encode(encoding), *lines[end:]])


def _with_our_body(text: str, patch: FunctionPatch) -> str:
    """The function that `text` holds, with the replacement's body, below the comment that tells of it."""
    import libcst

    try:
        module = libcst.parse_module(text)
    except libcst.ParserSyntaxError as error:
        raise ValueError(error.message) from error
    if module.code != text or len(module.body) != 1 or not isinstance(old := module.body[0], libcst.FunctionDef):
        raise ValueError("it does not give the function back as it is")
    end = module.default_newline
    # The docstring's own line ends are characters of a string, which libcst leaves alone: parse it with the target's
    ours = "".join(line + end for line in patch.replacement.read_text("ascii").splitlines())
    donors = [node for node in libcst.parse_module(ours).body if isinstance(node, libcst.FunctionDef)]
    (body,) = (node.body for node in donors if node.name.value == patch.function)
    if isinstance(old.body, libcst.IndentedBlock):
        body = body.with_changes(header=old.body.header)
    banner = _banner(patch, "put another body into this function, one that is right on MPS")
    return "".join(line + end for line in banner) + module.with_changes(body=[old.with_changes(body=body)]).code


def _banner(patch: FunctionPatch, deed: str) -> tuple[str, str]:
    return f"{BANNER}{__version__} {deed}.", f"{BANNER}undoes it with: mps-patcher revert {patch.name}"


def _without_banner(lines: list[bytes]) -> list[bytes]:
    """The lines above a function, less the banner that an earlier run put among the comments right above it."""
    start = len(lines)
    while start and (not lines[start - 1].strip() or lines[start - 1].startswith(b"#")):
        start -= 1
    return [*lines[:start], *(line for line in lines[start:] if not line.startswith(BANNER.encode()))]


def _unsafe(patch: FunctionPatch, finding: str) -> PatcherError:
    return PatcherError(
        "unsafe-rewrite",
        f"{patch.function} in {patch.file.name} cannot be rewritten safely: {finding}.",
        "Nothing was written. Please report it to the mps-patcher project, with the file.",
    )

"""Finding the direct calls of a function in a module, and the branches that stand in for it, without libcst."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from patcher.body import parse, shape
from patcher.calls.names import Meaning, candidates, is_handed_out, is_variable, meaning
from patcher.calls.scopes import Binding, Reading, Use, dotted
from patcher.errors import PatcherError
from patcher.model import CallsPatch
from patcher.rewrite import BANNER

HINT = "assume_unique"
"""A keyword that only promises something: our function needs no promise."""
NEGATION = "invert"
"""A keyword that turns the answer round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """What one file holds."""

    calls: int
    """Direct calls that can be redirected."""
    branches: int = 0
    """Known branches, which go."""
    strange: tuple[str, ...]
    """Direct uses that cannot be redirected safely, each a part of a sentence with its line."""
    ours: bool
    """Whether an import of ours, known by its comment, is there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DirectCall:
    """A call that can be redirected, and the imports through which it is what it is."""

    node: ast.Call
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Branch:
    """A known `if`, and the statements among which it stands."""

    node: ast.If
    block: list[ast.stmt]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survey:
    """All that is to be done in one module."""

    tree: ast.Module
    reading: Reading
    calls: tuple[DirectCall, ...]
    branches: tuple[Branch, ...]
    strange: tuple[str, ...]


def find(source: bytes, patch: CallsPatch) -> Sites:
    """Say what of `patch` there is to do in `source`, at once where the name of what is called does not occur in it.

    Raises:
        PatcherError: `unparsable-source`, if `source` is not a Python module that this interpreter can parse, or one
            that is nested too deeply to be read.
    """
    if not re.search(mention(patch), source):
        return Sites(calls=0, strange=(), ours=False)
    found = survey(source, patch)
    return Sites(
        calls=len(found.calls),
        branches=len(found.branches),
        strange=found.strange,
        ours=_is_marked(source, found.tree, patch),
    )


def mention(patch: CallsPatch) -> bytes:
    """What every file holds that the patch may be about, as a regular expression: a call, or a branch, names it."""
    name = patch.callee.rpartition(".")[2].encode()
    return rb"%s\b(?<=\b%s)" % (name, name)  # begun with the name itself, it is found ten times as fast


def marker(patch: CallsPatch) -> str:
    """The comment behind every import line of ours."""
    return f"{BANNER}redirects {patch.callee} here"


def branch_digest(node: ast.If) -> str:
    """The sha256, in hex, of a branch's test and body; the same in every Python from 3.10 on."""
    return hashlib.sha256(repr([shape(node.test), shape(node.body)]).encode()).hexdigest()


def survey(source: bytes, patch: CallsPatch) -> Survey:
    """Read `source`. Raises PatcherError: `unparsable-source`."""
    tree = parse(source)
    try:
        return _survey(tree, patch)
    except (RecursionError, ValueError, MemoryError) as error:
        raise PatcherError(
            "unparsable-source",
            "The file is nested too deeply, or holds a number too long, to be read.",
            "Look at the file: no release of transformers is like this.",
        ) from error


def _survey(tree: ast.Module, patch: CallsPatch) -> Survey:
    reading, scripted = Reading(tree), _scripted(tree)
    branches, chained = _branches(tree, patch)
    gone = {node for one in branches for part in (one.node.test, *one.node.body) for node in ast.walk(part)}
    calls: list[DirectCall] = []
    strange = [(node.lineno, "has a device branch in an elif chain") for node in chained]
    for use in candidates(reading, patch.callee):
        what, bindings = meaning(use, patch.callee, reading)
        if what is Meaning.OTHER or use.node in gone:
            continue
        if use.node in scripted:
            strange.append((use.line, f"uses {patch.callee} in a function for torch.jit.script"))
        elif objection := _objection(use, what, patch):
            strange.append((use.line, objection))
        elif use.call:
            calls.append(DirectCall(node=use.call, bindings=bindings))
    hidden = set(_hidden(tree, reading, patch)) - {line for line, _ in strange}
    strange += [(line, f"may call {patch.callee} by way of a variable") for line in hidden]
    strange += [(line, f"exports {patch.callee}") for line in _exports(tree, reading, patch)]
    sentences = tuple(f"line {line} {objection}" for line, objection in sorted(strange))
    return Survey(tree=tree, reading=reading, calls=tuple(calls), branches=tuple(branches), strange=sentences)


def _hidden(tree: ast.Module, reading: Reading, patch: CallsPatch) -> Iterator[int]:
    """The lines that use something of its name, of a variable, in a module that hands out the package as a value."""
    package, _, name = patch.callee.rpartition(".")
    if not is_handed_out(package, reading):
        return
    scopes = {use.node: use.scope for use in reading.uses}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == name:
            yield node.lineno
        if not isinstance(node, ast.Attribute) or node.attr != name:
            continue
        if is_variable(node.value, scopes.get(node, reading.module)):
            yield node.lineno


def _scripted(tree: ast.Module) -> set[ast.AST]:
    """All nodes of functions that torch.jit.script compiles: it knows less of Python than our function speaks."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    marked = (node for node in functions if any(_is_jit(one) for one in node.decorator_list))
    return {inner for node in marked for inner in ast.walk(node)}


def _is_jit(decorator: ast.expr) -> bool:
    name = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return name[-1:] in (("script",), ("script_method",), ("script_if_tracing",))


def _branches(tree: ast.Module, patch: CallsPatch) -> tuple[list[Branch], list[ast.If]]:
    """The known branches, and those of them that belong to a chain of `elif`."""
    known = {one.digest for one in patch.branches}
    found: list[Branch] = []
    chained: list[ast.If] = []
    for block, in_chain in _blocks(tree) if known else ():
        for node in block:
            if isinstance(node, ast.If) and branch_digest(node) in known:
                if in_chain or _is_elif(node):
                    chained.append(node)
                else:
                    found.append(Branch(node=node, block=block))
    return found, chained


def _blocks(tree: ast.Module) -> Iterator[tuple[list[ast.stmt], bool]]:
    """Every block of statements, and whether it is an `elif`."""
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value, isinstance(node, ast.If) and name == "orelse" and _is_elif(node)


def _is_elif(node: ast.If) -> bool:
    """Whether an `elif` follows: that is an `if` alone under `else`, in the column of its `if`."""
    match node.orelse:
        case [ast.If() as other]:
            return other.col_offset == node.col_offset
        case _:
            return False


def _objection(use: Use, what: Meaning, patch: CallsPatch) -> str | None:
    """Why a use cannot be redirected; None if it can."""
    callee, verb = patch.callee, "calls" if use.call else "uses"
    if what is Meaning.PERHAPS:
        return f"{verb} what may be {callee} or something else"
    if not isinstance(use.node.ctx, ast.Load):
        return f"changes {callee}"
    if not use.call:
        return f"passes {callee} as a value"
    if use.shown:
        return f"calls {callee} in an f-string that shows its text"
    return _unfit(use.call, patch)


def _unfit(call: ast.Call, patch: CallsPatch) -> str | None:
    if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
        return f"calls {patch.callee} with * or **"
    given = {one.arg: one.value for one in call.keywords}
    operands = [*patch.parameters[: len(call.args)], *(name for name in given if name in patch.parameters)]
    if len(call.args) > len(patch.parameters) or sorted(operands) != sorted(patch.parameters):
        return f"calls {patch.callee} without {' and '.join(patch.parameters)}, each once"
    for name, value in given.items():
        if name not in patch.parameters and not _is_understood(name, value):
            return f"calls {patch.callee} with {name}={_brief(value) if name in (HINT, NEGATION) else ''}"
    later = [
        value for name, value in given.items() if name in patch.parameters and _is_before(given.get(NEGATION), value)
    ]
    if not all(isinstance(value, ast.Constant) or dotted(value) for value in later):
        return f"calls {patch.callee} with {NEGATION}= before an operand that is computed"
    return None


def _is_before(one: ast.expr | None, other: ast.expr) -> bool:
    """Whether one stands before the other, so that it is evaluated first, and is a name, whose value may change."""
    return one is not None and bool(dotted(one)) and (one.lineno, one.col_offset) < (other.lineno, other.col_offset)


def _is_understood(name: str | None, value: ast.expr) -> bool:
    match name, value:
        case ("assume_unique", ast.Name() | ast.Constant(value=int() | None)):
            return True
        case ("invert", ast.Constant(value=bool())):
            return True
        case ("invert", _):
            return bool(dotted(value))
        case _:
            return False


def _brief(value: ast.expr) -> str:
    text = ast.unparse(value)
    return text if len(text) < 40 else "..."


def _exports(tree: ast.Module, reading: Reading, patch: CallsPatch) -> Iterator[int]:
    """The lines of `__all__` that name what is imported from where it belongs."""
    bound = reading.module.bindings.items()
    names = {name for name, every in bound if any(one.imports == patch.callee for one in every)}
    for node in tree.body if names else ():
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and "__all__" in _targets(node):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value in names:
                    yield part.lineno


def _targets(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [one.id for one in targets if isinstance(one, ast.Name)]


def _is_marked(source: bytes, tree: ast.Module, patch: CallsPatch) -> bool:
    mark = marker(patch).encode()
    if mark not in source:
        return False
    lines = source.splitlines()  # in some encodings not those that Python counts: then it is not marked
    every = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    ours = (node for node in every if any(one.name == patch.function for one in node.names))
    ends = (node.end_lineno or node.lineno for node in ours)
    return any(mark in line for end in ends for line in lines[end - 1 : end])

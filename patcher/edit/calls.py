"""The direct calls of a function in a module: redirected where they are written literally, else refused.

In every release every direct call of `torch.isin` is written just so, with its two operands alone, in a module that
says `import torch`. Such calls are redirected by edits of the text. Whatever else may be the same function is told of
with its line: nothing is guessed.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from patcher.edit.syntax import (
    BANNER,
    BINDERS,
    Finding,
    ast_equal,
    binds,
    code_digest,
    parse_module,
    source_lines,
    unsafe_rewrite,
    walk,
)
from patcher.errors import PatcherError
from patcher.model import CallsPatch, State

_OPERANDS = ("elements", "test_elements")
"""What `torch.isin` and our function call their operands; 4.41 - 4.44 name them in some calls."""
_JIT = ("script", "script_method", "script_if_tracing")
"""Decorators of `torch.jit`, which would compile our function too, and knows less of Python than that speaks."""
_Node = TypeVar("_Node", bound=ast.AST)


class FoundCalls(NamedTuple):
    """What there is to do in one module."""

    anchor: ast.Import | None
    """The `import torch` behind which our function is imported; without one nothing can be redirected."""
    calls: tuple[ast.Call, ...]
    """Calls that can be redirected."""
    branches: tuple[ast.If, ...]
    """Known branches that can be disabled."""
    others: tuple[str, ...]
    """What else may be the same function, each as `line 5 passes torch.isin as a value`."""
    is_marked: bool
    """Whether an import of ours, known by its comment, is there."""


def identify_calls(source: bytes, path: PurePosixPath, patch: CallsPatch) -> Finding:
    """What `source`, the module at `path`, has of the calls. Raises PatcherError as `find_calls` does."""
    found = find_calls(source, path, patch)
    if found.others:
        state, detail = State.MODIFIED, f"{path}, {found.others[0]}"
    elif found.calls or found.branches:
        state, detail = State.UNPATCHED, f"{path} calls {patch.callee} directly"
    elif found.is_marked:
        state, detail = State.PATCHED, f"{path} calls {patch.function} instead of {patch.callee}"
    else:
        state, detail = State.ABSENT, f"{path} does not call {patch.callee}"
    return Finding(state=state, detail=detail, calls=len(found.calls), branches=len(found.branches))


def redirect_calls(source: bytes, path: PurePosixPath, patch: CallsPatch, *, force: bool) -> bytes:
    """Send the calls in `source`, the module at `path`, through `patch.function`, and disable the known branches.

    The name of what is called, the tests of the branches and one import line are all that changes; the result has been
    parsed again. `force` leaves other uses of the function as they are, and goes on.

    Raises:
        PatcherError: as `find_calls` does; `unknown-call`, unless `force`; `unsafe-rewrite`, if Python would not read
            the result as it should.
    """
    found = find_calls(source, path, patch)
    if found.others and not force:
        hint = "Look at that line; `mps-patcher apply --force` leaves it alone and redirects the other calls."
        raise PatcherError("unknown-call", f"{path}, {found.others[0]}.", hint)
    if not found.anchor or not (found.calls or found.branches):
        return source
    line = b"" if found.is_marked else _import_line(path, patch)
    result = _edited(source, found, found.anchor, line, patch)
    try:
        is_right = ast_equal(
            parse_module(result, path), parse_module(source, path), _changed_nodes(found, found.anchor, line, patch)
        )
    except PatcherError as error:
        raise unsafe_rewrite(path, error.message) from error
    if not is_right:
        raise unsafe_rewrite(path, "the result would not be valid")
    return result


def find_calls(source: bytes, path: PurePosixPath, patch: CallsPatch) -> FoundCalls:
    """All that the module at `path` has to do with `patch.callee`.

    Raises PatcherError: `unparsable-source`, `unsupported-encoding`.
    """
    module = _Module(source, path, patch)
    anchor, branches = module.anchor(), module.known_branches()
    obstacle = module.obstacle(anchor)
    others = [(node.lineno, f"has a device branch, but {obstacle}") for node in branches if obstacle]
    others += module.indirect_uses()
    calls = []
    for node in module.direct_uses(branches):
        if why := module.objection(node) or (obstacle and f"calls {patch.callee}, but {obstacle}"):
            others.append((node.lineno, why))
        else:
            calls.append(module.calls[node])
    return FoundCalls(
        anchor=anchor,
        calls=tuple(calls),
        branches=() if obstacle else tuple(branches),
        others=tuple(f"line {line} {why}" for line, why in sorted(others)),
        is_marked=bool(module.marked),
    )


class _Module:
    """A module, its nodes by class, and what of them has to do with a patch."""

    def __init__(self, source: bytes, path: PurePosixPath, patch: CallsPatch) -> None:
        self.tree, self.lines = parse_module(source, path), source_lines(source)
        self.path, self.patch = path, patch
        self.package, _, self.name = patch.callee.rpartition(".")
        self.nodes: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        for node in walk(self.tree):
            self.nodes[type(node)].append(node)
        self.names: dict[str, list[ast.Name]] = defaultdict(list)
        for name in self.all(ast.Name):
            self.names[name.id].append(name)
        self.calls = {node.func: node for node in self.all(ast.Call)}
        self.uses = [node for node in self.all(ast.Attribute) if node.attr == self.name]
        self.marked = [node for node in self.all(ast.ImportFrom) if _marker(patch) in self.lines[node.lineno - 1]]

    def all(self, kind: type[_Node]) -> list[_Node]:
        return self.nodes[kind]  # type: ignore[return-value]

    def bound(self, name: str) -> list[ast.AST]:
        """Everything that binds `name`, in whatever scope; `import *` may bind any."""
        others = (node for kind in BINDERS for node in self.nodes[kind])
        stars = (node for node in self.all(ast.alias) if node.name == "*")
        return [*(node for node in (*self.names[name], *others) if binds(node, name)), *stars]

    def anchor(self) -> ast.Import | None:
        """A plain `import torch` on a line of its own, in a module where torch has no other meaning.

        Unless it stands at the top level, in no block, it is the only one: all that calls torch then goes by it.
        """
        wanted = re.compile(rb"[ \t]*import %s[ \t]*(?:#.*)?\r?\n" % self.package.encode())
        plain = [node for node in self.all(ast.Import) if wanted.fullmatch(self.lines[node.lineno - 1])]
        imported = {one for node in self.all(ast.Import) for one in node.names if not one.asname}
        bound = self.bound(self.package)
        at_top = [node for node in plain if node in self.tree.body]
        if at_top and imported.issuperset(bound):
            return at_top[0]
        return plain[0] if plain and len(bound) == 1 else None

    def obstacle(self, anchor: ast.Import | None) -> str | None:
        """Why nothing can be redirected in this module; None if it can."""
        function = self.patch.function
        if any(folder in self.path.parents for folder in self.patch.imported_by_module):
            return f"{self.patch.file.name} imports the module, which cannot import {function} in turn"
        if not anchor:
            return f"the module has no plain `import {self.package}`, or uses {self.package} for something else"
        ours = {one for node in self.marked for one in node.names}
        return None if ours.issuperset(self.bound(function)) else f"the module has its own {function}"

    def known_branches(self) -> list[ast.If]:
        known = {one.digest for one in self.patch.device_branches}
        lines = {node.lineno for node in self.all(ast.Attribute) if node.attr == "device"}
        asked = (node for node in self.all(ast.If) if not lines.isdisjoint(_lines_of(node.test)))
        return [node for node in asked if _digest(node) in known]

    def direct_uses(self, branches: list[ast.If]) -> Iterator[ast.Attribute]:
        """Every `torch.isin`, but for what no longer runs: in a known branch, or one that is disabled already."""
        disabled = [node for node in self.all(ast.If) if isinstance(node.test, ast.Constant) and not node.test.value]
        dead = {node for one in (*branches, *disabled) for part in (one.test, *one.body) for node in walk(part)}
        return (node for node in self.uses if _is_name(node.value, self.package) and node not in dead)

    def objection(self, node: ast.Attribute) -> str | None:
        """Why a use is no plain call; None if it is one."""
        callee, call = self.patch.callee, self.calls.get(node)
        if not isinstance(node.ctx, ast.Load):
            return f"changes {callee}"
        if call is None:
            return f"passes {callee} as a value"
        operands = [*_OPERANDS[: len(call.args)], *(str(one.arg) for one in call.keywords)]
        is_starred = any(isinstance(one, ast.Starred) for one in call.args)
        if is_starred or len(call.args) > len(_OPERANDS) or sorted(operands) != sorted(_OPERANDS):
            return f"calls {callee} with other than two operands"
        if self.lines[node.lineno - 1][node.col_offset : node.end_col_offset] != callee.encode():
            return f"does not write {callee} as one expression"
        if any(node in walk(one) for one in self.all(ast.JoinedStr)):
            return f"calls {callee} in an f-string"
        scripts = (one for one in self.all(ast.FunctionDef) if any(map(_is_jit, one.decorator_list)))
        if any(node in walk(one) for one in scripts):
            return f"calls {callee} in a function for torch.jit.script"
        return None

    def indirect_uses(self) -> Iterator[tuple[int, str]]:
        """The lines on which the function is, or may be, reached by another name, and how."""
        callee = self.patch.callee
        for node in self.all(ast.ImportFrom):
            for one in node.names:
                if one.name == self.name and node.module == self.package:
                    yield node.lineno, f"imports {callee} by name"
                if one.name == "*" and self.names[self.name]:
                    yield node.lineno, f"imports *, which may bring {callee}"
        aliases = {one.asname for one in self.all(ast.alias) if one.name == self.package}
        imported = {(one.asname or one.name).partition(".")[0] for one in self.all(ast.alias)}
        is_value = self._is_package_value()
        for use in self.uses:
            base = use.value
            if (isinstance(base, ast.Attribute) and base.attr == self.package) or _is_name(base, *aliases):
                yield use.lineno, f"reaches {callee} by another name"
            elif is_value and not _is_name(base, *imported):
                yield use.lineno, f"may reach {callee} through a variable"
        for constant in self.all(ast.Constant):
            if is_value and constant.value == self.name:
                yield constant.lineno, f"may reach {callee} by its name in a string"

    def _is_package_value(self) -> bool:
        """Whether the package itself is passed on, so that other names may come to mean it."""
        bases = {node.value for node in self.all(ast.Attribute)}
        return any(node not in bases for node in self.names[self.package])


def _is_name(node: ast.expr, *names: str | None) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _is_jit(decorator: ast.expr) -> bool:
    name = decorator.func if isinstance(decorator, ast.Call) else decorator
    return _is_name(name, *_JIT) or (isinstance(name, ast.Attribute) and name.attr in _JIT)


def _lines_of(node: ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _digest(branch: ast.If) -> str | None:
    try:
        return code_digest(branch)
    except (RecursionError, ValueError):
        return None


def _marker(patch: CallsPatch) -> bytes:
    """The comment behind every import of ours."""
    return f"  {BANNER}redirects {patch.callee} here".encode()


def _import_line(path: PurePosixPath, patch: CallsPatch) -> bytes:
    dots = "." * (len(path.parts) - len(patch.file.parts) + 1)
    return f"from {dots}{patch.file.stem} import {patch.function}".encode() + _marker(patch)


def _edited(source: bytes, found: FoundCalls, anchor: ast.Import, line: bytes, patch: CallsPatch) -> bytes:
    lines = source_lines(source)
    starts = [0, *accumulate(map(len, lines))]
    edits = [(_span(call.func, starts), patch.function.encode()) for call in found.calls]
    edits += [(_span(branch.test, starts), b"False") for branch in found.branches]
    if line:
        above, at = lines[anchor.lineno - 1], starts[anchor.lineno]
        end = b"\r\n" if above.endswith(b"\r\n") else b"\n"
        edits.append(((at, at), above[: anchor.col_offset] + line + end))
    mark, body = source[: len(source) - starts[-1]], source[len(source) - starts[-1] :]
    for (start, stop), new in sorted(edits, reverse=True):
        body = body[:start] + new + body[stop:]
    return mark + body


def _span(node: ast.expr, starts: list[int]) -> tuple[int, int]:
    """Where an expression begins and ends, in bytes."""
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return starts[node.lineno - 1] + node.col_offset, starts[end_line - 1] + end_column


def _changed_nodes(
    found: FoundCalls, anchor: ast.Import, line: bytes, patch: CallsPatch
) -> dict[ast.AST, list[ast.AST]]:
    """What shall stand in the tree, in the place of each node that changes."""
    changed: dict[ast.AST, list[ast.AST]] = {anchor: [anchor, *ast.parse(line).body]}
    changed |= {call.func: [ast.Name(id=patch.function, ctx=ast.Load())] for call in found.calls}
    return changed | {branch.test: [ast.Constant(value=False)] for branch in found.branches}

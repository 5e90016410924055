"""Where a module imports the function that its calls are redirected to, and under which name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, pairwise, takewhile
from pathlib import PurePosixPath

from patcher.calls.scopes import Scope
from patcher.calls.sites import Survey
from patcher.model import CallsPatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """A spot right beside a statement, in the block that holds it."""

    block: list[ast.stmt]
    anchor: ast.stmt
    before: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What is imported, and where: nowhere, if the module has the import already."""

    name: str
    """What the function is called in the module."""
    places: tuple[Place, ...]
    level: int
    """The dots in front of the module's name."""
    module: str
    function: str

    @property
    def statement(self) -> ast.ImportFrom:
        """The import as a new node."""
        alias = ast.alias(name=self.function, asname=None if self.name == self.function else self.name)
        return ast.ImportFrom(module=self.module, names=[alias], level=self.level)


def plan(found: Survey, path: PurePosixPath, patch: CallsPatch) -> Plan:
    """Plan the imports that the calls in `found` need, in the module at `path`.

    Raises ValueError where there is no place for an import.
    """
    if found.calls and any(one in path.parents for one in patch.beneath):
        raise ValueError(f"{patch.file.name} imports it, so it cannot import {patch.function} in turn")
    level, module = _module(PurePosixPath() if _is_script(found.tree) else path, patch)
    name = _at_hand(found, path, patch) if found.calls else patch.function
    places = () if name else tuple(_places(found, level, module, patch))
    name = name or _free_name(found.tree, patch)
    return Plan(name=name, places=places, level=level, module=module, function=patch.function)


def _is_script(tree: ast.Module) -> bool:
    """Whether the module can be run as a file, in which relative imports fail: it has a main part, and none of them."""
    relative = any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    return not relative and any(isinstance(node, ast.If) and "__name__" in ast.dump(node.test) for node in tree.body)


def _module(path: PurePosixPath, patch: CallsPatch) -> tuple[int, str]:
    """How a module at `path` names the function's module: the dots, and what comes after them."""
    package = patch.file.parent
    if package in path.parents and package.name:
        return len(path.parent.parts) - len(package.parts) + 1, patch.file.stem
    return 0, ".".join((*package.parts, patch.file.stem))


def _at_hand(found: Survey, path: PurePosixPath, patch: CallsPatch) -> str | None:
    """The name by which the module has the function already, for all its calls, and nothing else."""
    bound = [name for name, is_bound in _names(found.tree) if is_bound]
    first = min(call.node.lineno for call in found.calls)
    ways = {_module(path, patch), _module(PurePosixPath("elsewhere.py"), patch)}
    for node in found.tree.body:
        if isinstance(node, ast.ImportFrom) and (node.level, node.module) in ways and node.lineno < first:
            names = (one.asname or one.name for one in node.names if one.name == patch.function)
            if name := next((name for name in names if bound.count(name) == 1), None):
                return name
    return None


def _free_name(tree: ast.Module, patch: CallsPatch) -> str:
    """The function's own name, if the module does not have it; else one that nothing in the module has."""
    taken = {name for name, _ in _names(tree)}
    if "*" in taken:  # which may bring any name
        taken.add(patch.function)
    others = (f"redirected_{patch.callee.rpartition('.')[2]}{number or ''}" for number in count())
    return next(name for name in chain([patch.function], others) if name not in taken)


def _names(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Every name that a module has in any scope, each time, and whether it is bound there."""
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                yield node.id, not isinstance(node.ctx, ast.Load)
            case ast.alias():
                yield node.asname or node.name.partition(".")[0], True
            case ast.Global() | ast.Nonlocal():
                yield from ((name, True) for name in node.names)
            case ast.arg():
                yield node.arg, True
            case _:
                # Functions, classes, exceptions, captured patterns, type parameters
                bound = (getattr(node, field, None) for field in ("name", "rest"))
                yield from ((name, True) for name in bound if isinstance(name, str))


def _places(found: Survey, level: int, module: str, patch: CallsPatch) -> Iterator[Place]:
    """One place at the top, if the module cannot do without torch; else right behind each import that calls go by."""
    body, package = found.tree.body, patch.callee.partition(".")[0]
    bindings = [one for call in found.calls for one in call.bindings if one.statement]
    needed = next((node for node in body if package in _packages(node)), None)
    if needed and all(one.statement and needed.lineno <= one.statement.lineno for one in bindings):
        place = _at_top(body, level, module) or Place(block=body, anchor=needed)
        line = place.anchor.lineno
        early = any(call.node.lineno <= line for call in found.calls)
        yield _settled(Place(block=body, anchor=needed) if early else place, found)
        return
    _require_apart([one.scope for one in bindings])
    ways = {one.statement: one.block for one in bindings if one.statement}
    yield from (_settled(Place(block=block, anchor=statement), found) for statement, block in ways.items())


def _require_apart(scopes: list[Scope]) -> None:
    """Raises ValueError where a scope is inside of another: the import in it would hide the other one's name."""
    for scope in scopes:
        outer = scope.parent
        while outer:
            if any(outer is one for one in scopes):
                raise ValueError("it is imported in scopes that are inside of each other")
            outer = outer.parent


def _packages(node: ast.stmt) -> set[str]:
    """The packages that a statement imports from."""
    match node:
        case ast.Import():
            return {one.name.partition(".")[0] for one in node.names}
        case ast.ImportFrom(level=0):
            return {str(node.module).partition(".")[0]}
        case _:
            return set()


def _at_top(body: list[ast.stmt], level: int, module: str) -> Place | None:
    """Where the module keeps its imports of this kind, above its functions and classes; None if it keeps none there."""
    head = takewhile(lambda node: not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)), body)
    imports = [node for node in head if isinstance(node, (ast.Import, ast.ImportFrom))]
    same = [node for node in imports if isinstance(node, ast.ImportFrom) and node.level == level]
    if beside := next((node for node in same if node.module == module), None):
        return Place(block=body, anchor=beside)
    if same and level:
        return _in_order(body, same, module)
    relative = [node for node in imports if isinstance(node, ast.ImportFrom) and node.level]
    return Place(block=body, anchor=(relative or imports)[-1]) if imports else None


def _in_order(body: list[ast.stmt], same: list[ast.ImportFrom], module: str) -> Place:
    """The place in the alphabet among imports that follow each other."""
    start = body.index(same[0])
    run = [one for one, node in zip(same, body[start:], strict=False) if one is node]
    if (run[0].module or "") > module:
        return Place(block=body, anchor=run[0], before=True)
    for one, following in pairwise(run):
        if (following.module or "") > module:
            return Place(block=body, anchor=one)
    return Place(block=body, anchor=run[-1])


def _settled(place: Place, found: Survey) -> Place:
    """The same place, but never between two statements of one line, and not after a call on that line.

    Raises ValueError where there is no such place.
    """
    block, index = place.block, place.block.index(place.anchor)
    end = _end_of_line(block, index, -1 if place.before else 1)
    calls = {call.node for call in found.calls}
    passed = block[index + 1 : end + 1] if not place.before else []
    if not any(node in calls for statement in passed for node in ast.walk(statement)):
        return Place(block=block, anchor=block[end], before=place.before)
    if block is not found.tree.body:
        raise ValueError("a call stands on one line with the import that it goes by")
    return Place(block=block, anchor=block[_end_of_line(block, index, -1)], before=True)


def _end_of_line(block: list[ast.stmt], index: int, step: int) -> int:
    """The index of the last statement, or with a `step` of -1 the first, on the line of the one at `index`."""
    while 0 <= index + step < len(block):
        upper, lower = sorted((index, index + step))
        if block[upper].end_lineno != block[lower].lineno:
            break
        index += step
    return index

"""What a dotted name means where it stands, by the rules of Python's scopes.

Flow is not followed: a name means whatever anything in its scope binds it to. Where that is not one thing, `meaning`
says so instead of guessing.
"""

from __future__ import annotations

import ast
from enum import Enum

from patcher.calls.scopes import Binding, Reading, Scope, Use, dotted, home


class Meaning(Enum):
    """How a dotted name relates to a qualified name."""

    IT = "it"
    """It is it, or something below it, whenever the code runs."""
    PERHAPS = "perhaps"
    """It may be it, or something else."""
    OTHER = "other"


def candidates(reading: Reading, wanted: str) -> list[Use]:
    """The uses that may have to do with `wanted`, a qualified name: all others have not."""
    every = (pair for scope in reading.scopes for pair in scope.bindings.items())
    names = {name for name, bound in every if any(_below(one.imports or "", wanted) for one in bound)}
    last = wanted.rpartition(".")[2]
    return [use for use in reading.uses if last in use.parts or use.parts[0] in names]


FARTHEST = 1000
"""Assignments that are followed from one use: what is not told by then may be anything."""


def meaning(use: Use, wanted: str, reading: Reading) -> tuple[Meaning, tuple[Binding, ...]]:
    """Whether `use` is `wanted`, a qualified name, and the imports through which it is."""
    what, serving = _meaning(use.parts, use.scope, wanted, reading)
    if what is Meaning.OTHER and _is_copied(use, wanted, reading):
        return Meaning.PERHAPS, ()
    return what, serving


def is_handed_out(package: str, reading: Reading) -> bool:
    """Whether the package itself is used as a value, so that other names may come to mean it."""
    uses = (use for use in reading.uses if len(use.parts) == 1)
    return any(one.imports == package for use in uses for one in _bindings(use.parts[0], use.scope))


def is_variable(node: ast.expr, scope: Scope) -> bool:
    """Whether a name is bound by something else than an import, or an expression is no name at all."""
    parts = dotted(node)
    return not parts or not any(one.imports for one in _bindings(parts[0], scope))


def _is_copied(use: Use, wanted: str, reading: Reading) -> bool:
    """Whether an assignment, or one after the other, may give the name of `use` the value of `wanted`."""
    waiting = [(use.parts, use.scope)]
    seen: set[tuple[Binding, tuple[str, ...]]] = set()
    while waiting:
        parts, scope = waiting.pop()
        if len(seen) > FARTHEST or _meaning(parts, scope, wanted, reading)[0] is not Meaning.OTHER:
            return True
        for one in _bindings(parts[0], scope):
            if one.copies and (one, parts[1:]) not in seen and one.copies[0] != parts[0]:
                seen.add((one, parts[1:]))
                waiting.append(((*one.copies, *parts[1:]), one.scope))
    return False


def _meaning(
    parts: tuple[str, ...], scope: Scope, wanted: str, reading: Reading
) -> tuple[Meaning, tuple[Binding, ...]]:
    """What a name means by its imports, and by what its own assignments look like."""
    name, rest = parts[0], parts[1:]
    found = _bindings(name, scope)
    if not found:
        return (Meaning.PERHAPS if _may_be_starred(parts, wanted, reading) else Meaning.OTHER), ()
    matching = [one for one in found if one.imports and _below(".".join((one.imports, *rest)), wanted)]
    # What is bound under `global` is bound elsewhere than it stands
    serving = tuple(one for one in matching if not one.idle)
    steady = all(_is_idle(one, serving) or (one in matching and _is_at_home(one, name)) for one in found)
    steady = steady and name not in reading.unsteady
    if steady and serving:
        return Meaning.IT, serving
    perhaps = bool(matching) or any(_hands_on(one, rest, wanted) for one in found)
    perhaps = perhaps or any(_below(".".join(rest[at:]), wanted) for at in range(len(rest)))
    return (Meaning.PERHAPS if perhaps else Meaning.OTHER), ()


def _is_idle(binding: Binding, serving: tuple[Binding, ...]) -> bool:
    """Whether the binding is never met by code that runs where one of the others serves: it stands in another block."""
    return binding.idle and all(binding.block is not one.block and binding.scope is one.scope for one in serving)


def _is_at_home(binding: Binding, name: str) -> bool:
    """Whether the binding stands in the scope that has the name."""
    return binding in binding.scope.bindings.get(name, ())


def _hands_on(binding: Binding, rest: tuple[str, ...], wanted: str) -> bool:
    """Whether another module hands on the package itself, as `from .compat import torch` does."""
    return bool(binding.imports) and _below(".".join((str(binding.imports).rpartition(".")[2], *rest)), wanted)


def _bindings(name: str, scope: Scope) -> list[Binding]:
    """All that may bind `name` where `scope` runs."""
    if name in scope.elsewhere:
        return home(scope, name).bindings.get(name, [])
    found = scope.bindings.get(name, [])
    if found and scope.kind != "class":
        return found
    outer = _outer(scope)
    # A class body falls back on what is outside while it has not bound the name itself
    return [*found, *(_bindings(name, outer) if outer else [])]


def _outer(scope: Scope) -> Scope | None:
    """The scope where a name is looked for next: what a class binds is not seen from inside its functions."""
    outer = scope.parent
    while outer and outer.kind == "class":
        outer = outer.parent
    return outer


def _may_be_starred(parts: tuple[str, ...], wanted: str, reading: Reading) -> bool:
    """Whether an `import *` may be what gives a name that nothing else gives."""
    name = ".".join(parts)
    return bool(reading.stars) and any(_below(one, wanted) for one in (name, *(f"{it}.{name}" for it in reading.stars)))


def _below(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")

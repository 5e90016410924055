"""Many targets as a table, a line for each. Prints nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from patcher.closing import by_target, happened
from patcher.errors import one_line
from patcher.model import Effect, NotFound, Result, State, Target
from patcher.suggest import Invocation
from patcher.terminal import STATE_COLORS, TextStyle, paint
from patcher.verdict import is_affected

MANY = 8
"""More targets than these are shown as a table, however they were named."""
_WORST_FIRST = (
    State.INTERRUPTED,
    State.MODIFIED,
    State.OUTDATED,
    State.UNPATCHED,
    State.PATCHED,
    State.ABSENT,
)


class _Row(NamedTuple):
    transformers: str
    torch: str
    effect: str
    state: str
    result: str
    path: str


_HEADER = _Row("transformers", "torch", "effect", "state", "result", "environment")


def is_for_table(invocation: Invocation, results: Sequence[Result], style: TextStyle) -> bool:
    """Whether there are so many targets, or may be, that nobody wants to read a paragraph on each."""
    count = len(by_target(results))
    is_asked = count > MANY or (count > 1 and "--under" in invocation.place)
    is_detailed = style.verbose or invocation.command == "verify" or any(result.diff for result in results)
    return is_asked and not is_detailed


def table(invocation: Invocation, results: Sequence[Result], style: TextStyle) -> Iterator[str]:
    """The lines; the path comes last, whole, and has a line of its own where the terminal is too narrow for both."""
    here = None if style.width is None else Path.cwd()
    rows = [_row(invocation, target, group, here) for target, group in by_target(results).items()]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    if not any(row.result for row in rows):
        widths[_Row._fields.index("result")] = 0
    for row in (_HEADER, *rows):
        before = "  ".join(text.ljust(width) for text, width in zip(row[:-1], widths, strict=False) if width)
        painted = paint(before, "bold") if row is _HEADER else _painted(before, row)
        if row is _HEADER or style.width is None or len(before) + 2 + len(row.path) <= style.width:
            yield f"{painted}  {row.path}"
        else:
            yield from (painted.rstrip(), f"  {row.path}")


def _painted(text: str, row: _Row) -> str:
    color = STATE_COLORS.get(State(row.state), "yellow") if row.state in set(State) else "red"
    return text.replace(f"  {row.state} ", f"  {paint(row.state, color)} ", 1)


def _row(invocation: Invocation, target: Target | NotFound, group: Sequence[Result], here: Path | None) -> _Row:
    torch = target.torch if isinstance(target, Target) else None
    return _Row(
        transformers=one_line(target.version or "-"),
        torch=one_line(torch or "-"),
        effect=_effect(group),
        state=_state(group),
        result=happened(invocation, group),
        path=one_line(_path(target, here)),
    )


def _effect(group: Sequence[Result]) -> str:
    """The worst that the patches' defects do."""
    effects = {result.impact.effect for result in group if result.impact}
    return next((effect.value for effect in Effect if effect in effects), "-")


def _state(group: Sequence[Result]) -> str:
    """The worst of the patches that matter, or of all if none does; an edited one matters."""
    mattering = [one for one in group if is_affected(one) or (one.impact and one.impact.effect is not Effect.NONE)]
    mattering = mattering or [*group]
    states = {result.state for result in mattering}
    return next((state.value for state in _WORST_FIRST if state in states), "unknown")


def _path(target: Target | NotFound, here: Path | None) -> str:
    """The environment, which --python takes, or the folder, which --site-packages takes; from here on a terminal."""
    folder = target.site_packages or target.python or Path()
    prefix = target.python.parent.parent if target.python else None
    path = prefix if prefix and folder.is_relative_to(prefix) else folder
    return os.path.relpath(path, here) if here and path.is_relative_to(here) else str(path)

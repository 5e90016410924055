"""Results as text for people. Prints nothing.

The text carries ANSI colours; whoever prints it strips them where they are not wanted.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from patcher.change.diff import escaped
from patcher.errors import PatcherError, one_line
from patcher.model import Check, Device, NotFound, Result, State, Target

_ORDERS = re.compile(r"[\x07\x08\x1b\x7f-\x9f]")
"""What terminals take for orders. Other control characters of a source are shown as they are."""
COLORS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bold": 1, "dim": 2}
STATE_COLORS = {State.PATCHED: "green", State.MODIFIED: "red", State.ABSENT: "dim"}
CHECK_COLORS = {"passed": "green", "failed": "red", "skipped": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a text is laid out."""

    verbose: bool = False
    """Also digests, files and error codes."""
    explicit: bool = False
    """The user named the targets, so a suggested command must name them too."""
    width: int | None = None
    """Columns to wrap sentences at; None leaves lines whole, which is right for pipes."""


def as_text(command: str, results: Sequence[Result], style: Style) -> str:
    """What was found and done, target by target. Errors are in `failures`; places without a target only there."""
    groups = groupby(results, key=lambda result: result.target)
    blocks = [
        "\n".join([*_headline(target, style), "", *_patches(command, target, list(group), style)])
        for target, group in groups
        if isinstance(target, Target)
    ]
    return "\n\n".join(blocks)


def diffs(results: Sequence[Result]) -> str:
    """Only what changes, for those who want nothing else."""
    return "\n".join(line for result in results if result.diff for line in _diff(result.diff))


def failures(results: Sequence[Result]) -> str:
    """Every error as a line of cause and a line of what to do; with several targets each says where."""
    several = len({result.target for result in results}) > 1
    return "\n".join(failure(result.error, at=result.target if several else None) for result in results if result.error)


def failure(error: PatcherError, *, at: Target | NotFound | None = None) -> str:
    """One error in two lines; the error of a place without a target names that place itself."""
    site = one_line(str(at.site_packages)) if isinstance(at, Target) else ""
    where = "" if site in error.message else f"{site}: "
    return f"{_paint('error:', 'red')} {where}{error.message}\n{_paint('hint:', 'blue')} {error.hint}"


def tested_on(device: Device) -> str:
    """What a verification ran on, in words. An emulated device is always called so."""
    if device.kind == "mps":
        return f"on this machine's Apple GPU, with torch {device.torch} on macOS {device.macos}"
    rules = f"with the rules of torch {device.torch} on macOS {device.macos}"
    return f"on an emulated MPS device {rules}; no Apple GPU was used"


def _headline(target: Target, style: Style) -> Iterator[str]:
    torch = f"torch {target.torch}" if target.torch else "no torch"
    installer = f", installed by {target.installer}" if target.installer else ""
    yield f"{_paint(one_line(f'transformers {target.version}'), 'bold')}, {one_line(f'{torch}{installer}')}"
    yield from _sentence(f"in {target.site_packages}", style, "  ")
    if target.reason:
        yield from (_paint(line, "dim") for line in _sentence(f"chosen because {target.reason}", style, "  "))


def _patches(command: str, target: Target, results: list[Result], style: Style) -> Iterator[str]:
    for number, result in enumerate(results):
        if number:
            yield ""
        yield from _patch(command, result, style)
        yield from (f"    {line}" for line in _next(command, target, result, style))
        if result.diff:
            yield from ["", *_diff(result.diff)]


def _patch(command: str, result: Result, style: Style) -> Iterator[str]:
    state = _paint(result.state.value, STATE_COLORS.get(result.state, "yellow")) if result.state else "refused"
    yield f"  {_paint(result.patch or 'all patches', 'bold')}: {state}"
    if result.need and command != "revert" and result.state not in (State.PATCHED, State.OUTDATED, State.MODIFIED):
        needed = "needed" if result.need.needed else "not needed"
        yield from _sentence(f"{needed}, because {result.need.reason}", style)
    if result.note:
        yield from _sentence(result.note, style)
    if style.verbose:
        yield from (f"    {line}" for line in _particulars(result))
    yield from _checks(result, style)


def _checks(result: Result, style: Style) -> Iterator[str]:
    if not result.checks:
        return
    yield ""
    name_width = max(len(check.name) for check in result.checks)
    for check in result.checks:
        yield from _check(check, name_width, style)
    yield ""
    yield from _sentence(_conclusion(result), style)


def _check(check: Check, name_width: int, style: Style) -> Iterator[str]:
    status = _paint(f"{check.status:<7}", CHECK_COLORS[check.status])
    seconds = f"{check.seconds:6.2f} s" if check.status != "skipped" else " " * 8
    indent = " " * (4 + 7 + 2 + name_width + 2 + 8 + 2)
    details = [part for line in check.detail.splitlines() for part in _wrap(line, style, len(indent))] or [""]
    yield f"    {status}  {check.name:<{name_width}}  {seconds}  {details[0]}".rstrip()
    yield from (f"{indent}{detail}" for detail in details[1:])


def _conclusion(result: Result) -> str:
    count = {status: sum(check.status == status for check in result.checks) for status in CHECK_COLORS}
    words = f"{count['failed']} of {len(result.checks)} checks failed" if count["failed"] else _passed(count["passed"])
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    if result.device is None:
        return f"{words}{skipped}, from the files alone; neither torch nor transformers was run."
    return f"{words}{skipped}, {tested_on(result.device)}."


def _passed(count: int) -> str:
    return "1 check passed" if count == 1 else f"{count} checks passed"


def _next(command: str, target: Target, result: Result, style: Style) -> Iterator[str]:
    follower = _follower(command, result)
    if follower is None:
        return
    place = ("--python", target.python) if target.python else ("--site-packages", target.site_packages)
    words = ["mps-patcher", *follower, *(map(str, place) if style.explicit else ())]
    yield f"next: {_paint(' '.join(map(_quoted, words)), 'bold')}"


def _quoted(word: str) -> str:
    """The word as a shell reads it; one that is not printable in the `$'...'` of bash and zsh, as octal bytes."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + escaped(word, special="\\'") + "'"


def _follower(command: str, result: Result) -> tuple[str, ...] | None:
    """The command that a user most likely wants now."""
    if result.error is not None:
        return None
    needed = result.need is None or result.need.needed
    match result.state:
        case State.PATCHED if command in ("status", "apply") and result.changed == (command == "apply"):
            return ("verify",)
        case State.UNPATCHED | State.ABSENT if needed and command != "revert":
            return ("apply",)
        case State.INTERRUPTED | State.OUTDATED:
            return ("apply",)
        case _:
            return None


def _particulars(result: Result) -> Iterator[str]:
    for file in result.files:
        yield f"file   {one_line(str(file.path))}"
        yield f"before sha256 {file.before}"
        yield f"after  sha256 {file.after}"


def _diff(diff: str) -> Iterator[str]:
    shown = _ORDERS.sub(lambda found: one_line(found.group()), diff.removesuffix("\n"))
    for line in shown.split("\n"):  # no other line end: what is printed is still a diff to apply
        color = {"+": "green", "-": "red", "@": "blue"}.get(line[:1])
        yield _paint(line, color) if color else line


def _sentence(text: str, style: Style, indent: str = "    ") -> Iterable[str]:
    return (f"{indent}{line}" for line in _wrap(text, style, len(indent)))


def _wrap(text: str, style: Style, indent: int) -> list[str]:
    text = one_line(text)
    if style.width is None:
        return [text]
    width = max(style.width - indent, 40)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _paint(text: str, color: str) -> str:
    return f"\033[{COLORS[color]}m{text}\033[0m"

"""Results as text for people. Prints nothing.

The text carries ANSI colours; whoever prints it strips them where they are not wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from patcher.diff import octal_escaped
from patcher.errors import PatcherError, one_line
from patcher.model import ChangedFile, Check, Device, Effect, Impact, NotFound, Result, State, Target

COLORS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bold": 1, "dim": 2}
STATE_COLORS = {State.PATCHED: "green", State.MODIFIED: "red", State.ABSENT: "dim"}
CHECK_COLORS = {"passed": "green", "failed": "red", "skipped": "yellow"}
NAME_WIDTH = len("bytecode")
"""The longest name of a check: lines are shown before all checks are known."""
TERMINAL_ORDERS = re.compile(r"[\x07\x08\x1b\x7f-\x9f]")
"""What terminals take for orders. Other control characters of a source are shown as they are."""


class TextStyle(NamedTuple):
    """How a text is laid out."""

    verbose: bool = False
    """Also files and digests."""
    explicit: bool = False
    """The user named the targets, so a suggested command must name them too."""
    width: int | None = None
    """Columns to wrap sentences at; None leaves lines whole, which is right for pipes."""
    unfinished: Result | None = None
    """The last result, if more checks of it follow: its text ends with the last of those it has."""


def as_text(command: str, results: Sequence[Result], style: TextStyle) -> str:
    """What was found and done, target by target. Errors are in `failures`; places without a target only there."""
    groups = groupby(results, key=lambda result: result.target)
    blocks = [
        "\n".join([*_headline(target, style), *(line for result in group for line in _patch(command, result, style))])
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


def _headline(target: Target, style: TextStyle) -> Iterator[str]:
    torch = f"torch {target.torch}" if target.torch else "no torch"
    installer = f", installed by {target.installer}" if target.installer else ""
    yield f"{_paint(one_line(f'transformers {target.version}'), 'bold')}, {one_line(f'{torch}{installer}')}"
    yield from _sentence(f"in {target.site_packages}", style, "  ")
    if target.reason:
        yield from (_paint(line, "dim") for line in _sentence(f"chosen because {target.reason}", style, "  "))


def _patch(command: str, result: Result, style: TextStyle) -> Iterator[str]:
    state = _paint(result.state.value, STATE_COLORS.get(result.state, "yellow")) if result.state else "refused"
    yield ""
    yield f"  {_paint(result.patch or 'all patches', 'bold')}: {state}"
    for sentence in (*_effect(command, result), *([result.note] if result.note else [])):
        yield from _sentence(sentence, style)
    if style.verbose:
        yield from (line for file in result.files for line in _digests(file))
    if result.checks:
        yield from _checks(result, style)
    if result is style.unfinished:
        return
    yield from _next_command(command, result, style)
    if result.diff:
        yield from ("", *_diff(result.diff))


def _effect(command: str, result: Result) -> Iterator[str]:
    """What the defect does here, in plain words; nothing where the patch ends it, or where it was just reverted."""
    impact = result.impact
    if impact is None or command == "revert" or result.state in (State.PATCHED, State.OUTDATED):
        return
    match impact.effect:
        case Effect.NONE:
            yield "nothing to do here"
            return
        case Effect.EDGE_CASES:
            yield f"generate() works here; edge cases of {result.patch} are wrong"
        case Effect.FAILS:
            released = "as released, " if result.state is State.MODIFIED else ""
            what = (
                "an import fails"
                if (impact.error or "").startswith("ImportError")
                else "generate() fails on Apple GPUs"
            )
            yield f"{released}{what} here: {impact.error}"
    if impact.cures:
        yield f"what also cures it: {', or '.join(impact.cures)}"
    yield from _assumptions(impact)


def _assumptions(impact: Impact) -> Iterator[str]:
    if impact.torch is None:
        yield "assumed: the worst of any torch, since none is installed here"
    if impact.assumed_macos:
        yield f"assumed: macOS {impact.macos}; choose another with --macos"


def _digests(file: ChangedFile) -> Iterator[str]:
    yield f"    file   {one_line(str(file.path))}"
    yield f"    before sha256 {file.before}"
    yield f"    after  sha256 {file.after}"


def _checks(result: Result, style: TextStyle) -> Iterator[str]:
    yield ""
    for check in result.checks:
        yield from _check(check, style)
    if result is style.unfinished:
        return
    yield ""
    yield from _sentence(_conclusion(result), style)


def _check(check: Check, style: TextStyle) -> Iterator[str]:
    status = _paint(f"{check.status:<7}", CHECK_COLORS[check.status])
    seconds = f"{check.seconds:6.2f} s" if check.status != "skipped" else " " * 8
    indent = " " * (4 + 7 + 2 + NAME_WIDTH + 2 + 8 + 2)
    details = [part for line in check.detail.splitlines() for part in _wrap(line, style, len(indent))] or [""]
    yield f"    {status}  {check.name:<{NAME_WIDTH}}  {seconds}  {details[0]}".rstrip()
    yield from (f"{indent}{detail}".rstrip() for detail in details[1:])


def _conclusion(result: Result) -> str:
    count = {status: sum(check.status == status for check in result.checks) for status in CHECK_COLORS}
    passed = "1 check passed" if count["passed"] == 1 else f"{count['passed']} checks passed"
    words = f"{count['failed']} of {len(result.checks)} checks failed" if count["failed"] else passed
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    if result.device is None:
        return f"{words}{skipped}, from the files alone; neither torch nor transformers was run."
    return f"{words}{skipped}, {tested_on(result.device)}."


def _next_command(command: str, result: Result, style: TextStyle) -> Iterator[str]:
    follower, target = _follower(command, result), result.target
    if follower is None or isinstance(target, NotFound):
        return
    place = ("--python", target.python) if target.python else ("--site-packages", target.site_packages)
    words = ["mps-patcher", follower, *(map(str, place) if style.explicit else ())]
    yield f"    next: {_paint(' '.join(map(_quoted, words)), 'bold')}"


def _follower(command: str, result: Result) -> str | None:
    """The command that a user most likely wants now."""
    matters = result.impact is None or result.impact.effect is not Effect.NONE
    match result.state:
        case _ if result.error is not None:
            return None
        case State.PATCHED if command in ("status", "apply") and result.changed == (command == "apply"):
            return "verify"
        case State.UNPATCHED | State.ABSENT if matters and command != "revert":
            return "apply"
        case State.INTERRUPTED | State.OUTDATED:
            return "apply"
        case _:
            return None


def _quoted(word: str) -> str:
    """The word as a shell reads it; one that is not printable in the `$'...'` of bash and zsh, as octal bytes."""
    import shlex

    return shlex.quote(word) if word.isprintable() else f"$'{octal_escaped(word, special=chr(92) + chr(39))}'"


def _diff(diff: str) -> Iterator[str]:
    shown = TERMINAL_ORDERS.sub(lambda found: one_line(found.group()), diff.removesuffix("\n"))
    for line in shown.split("\n"):  # no other line end: what is printed is still a diff to apply
        color = {"+": "green", "-": "red", "@": "blue"}.get(line[:1])
        yield _paint(line, color) if color else line


def _sentence(text: str, style: TextStyle, indent: str = "    ") -> Iterable[str]:
    return (f"{indent}{line}" for line in _wrap(text, style, len(indent)))


def _wrap(text: str, style: TextStyle, indent: int) -> list[str]:
    text = one_line(text)
    if style.width is None:
        return [text]
    import textwrap  # only a terminal needs it

    width = max(style.width - indent, 40)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _paint(text: str, color: str) -> str:
    return f"\033[{COLORS[color]}m{text}\033[0m"

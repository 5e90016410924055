"""Results as text for people. Prints nothing.

The text carries ANSI colours; whoever prints it strips them where they are not wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from patcher.closing import by_target, closing, steps
from patcher.errors import PatcherError, one_line
from patcher.model import ChangedFile, Check, Device, Effect, NotFound, Result, State, Target
from patcher.suggest import Invocation
from patcher.table import is_for_table, table
from patcher.terminal import STATE_COLORS, TextStyle, column, paint, sentence, wrap
from patcher.verdict import Need, Verdict, judge, verification

REVERTED = "reverted"
CHECK_COLORS = {"passed": "green", "failed": "red", "skipped": "yellow"}
NAME_WIDTH = len("bytecode")
"""The longest name of a check: lines are shown before all checks are known."""
TERMINAL_ORDERS = re.compile(r"[\x07\x08\x1b\x7f-\x9f]")
"""What terminals take for orders. Other control characters of a source are shown as they are."""


def as_text(invocation: Invocation, results: Sequence[Result], style: TextStyle) -> str:
    """What was found and done, target by target, or as a table of many, and one sentence on all of them.

    Errors are in `failures`; places without a target only there.
    """
    groups = by_target(results)
    several = len(groups) > 1
    last = results[-1].target if style.is_unfinished else None
    blocks = (
        ["\n".join(table(invocation, results, style))]
        if is_for_table(invocation, results, style)
        else [
            "\n".join(_block(invocation, target, group, style, several=several, is_unfinished=target is last))
            for target, group in groups.items()
            if isinstance(target, Target)
        ]
    )
    end = "" if style.is_unfinished else "\n".join(closing(invocation, results, style))
    return "\n\n".join([*blocks, *filter(None, [end])])


def diffs(results: Sequence[Result]) -> str:
    """Only what changes, for those who want nothing else."""
    return "\n".join(line for result in results if result.diff for line in _diff(result.diff))


def failures(results: Sequence[Result], width: int | None = None) -> str:
    """Every error, once for each target; with several targets each says where."""
    several = len({result.target for result in results}) > 1
    failed = [(result.target if several else None, result.error) for result in results if result.error]
    return "\n".join(dict.fromkeys(failure(error, at=target, width=width) for target, error in failed))


def failure(error: PatcherError, *, at: Target | NotFound | None = None, width: int | None = None) -> str:
    """One error: its cause and what to do; the error of a place without a target names that place itself.

    At a terminal, the command or link at the end of a hint has a line of its own, which is not wrapped.
    """
    site = one_line(str(at.site_packages)) if isinstance(at, Target) else ""
    where = "" if site in error.message else f"{site}: "
    cause = _labelled("error:", "red", f"{where}{error.message}", width, site)
    told, colon, to_paste = error.hint.partition(": ")
    if width is None or not colon or to_paste.endswith((".", "?")):
        return "\n".join([*cause, *_labelled("hint:", "blue", error.hint, width, site)])
    return "\n".join([*cause, *_labelled("hint:", "blue", f"{told}:", width, site), f"      {to_paste}"])


def tested_on(device: Device) -> str:
    """What a verification ran on, in words. An emulated device is always called so."""
    if device.kind == "mps":
        return f"on this machine's Apple GPU, with torch {device.torch} on macOS {device.macos}"
    rules = f"with the rules of torch {device.torch} on macOS {device.macos}"
    return f"on an emulated MPS device {rules}; no Apple GPU was used"


def _labelled(label: str, color: str, text: str, width: int | None, site: str) -> Iterator[str]:
    indent = len(label) + 1
    first, *others = wrap(text, width and width - indent, whole=[site] if site else [])
    yield f"{paint(label, color)} {first}"
    yield from (" " * indent + line for line in others)


def _block(
    invocation: Invocation,
    target: Target,
    results: Sequence[Result],
    style: TextStyle,
    *,
    several: bool,
    is_unfinished: bool,
) -> Iterator[str]:
    yield from _headline(target, style)
    if invocation.command == "status":
        yield from _verdict(invocation, target, results, style, several=several)
    yield ""
    yield from _rows(invocation, results, style)
    yield from _checks(results, style, is_unfinished=is_unfinished)
    for result in results:
        if result.diff:
            yield from ("", *_diff(result.diff))


def _headline(target: Target, style: TextStyle) -> Iterator[str]:
    lacking = "no torch" if target.python else "no torch beside it"
    torch = f"torch {target.torch}" if target.torch else lacking
    installer = f", installed by {target.installer}" if target.installer else ""
    name = one_line(f"transformers {target.version}")
    first, *others = wrap(f"{name}, {torch}{installer}", style.width, whole=[name])
    yield paint(name, "bold") + first.removeprefix(name)
    yield from (f"  {line}" for line in others)
    site = one_line(str(target.site_packages))
    reason = f" ({why})" if (why := _unsaid(target.reason)) else ""
    yield from sentence(f"{site}{reason}", style, whole=[site])
    if target.shared:
        yield from sentence(f"other environments may use it too: {target.shared}", style)


def _unsaid(reason: str) -> str:
    """Why a target was chosen, without what the user has just said himself."""
    nearest = "the nearest .venv"
    if reason.endswith(f" is {nearest}"):
        return nearest  # whose path stands before it
    return reason.partition("; ")[2] if reason.startswith(("--", "it lies below")) else reason


def _verdict(
    invocation: Invocation, target: Target, results: Sequence[Result], style: TextStyle, *, several: bool
) -> Iterator[str]:
    """What it means for the user, what was assumed, and every way out."""
    verdict = judge(results)
    if verdict is None:
        return
    yield ""
    color = "green" if verdict.need is Need.NONE else "yellow"
    yield from (paint(line, color) for line in sentence(verdict.sentence, style))
    if verdict.assumption:
        yield from (paint(line, "dim") for line in sentence(f"({verdict.assumption})", style))
    label, ways = _ways(invocation, verdict, target if several else None, verification([target]))
    if ways:
        yield ""
        yield from steps(label, ways, style, 2)


def _ways(
    invocation: Invocation, verdict: Verdict, target: Target | None, options: Sequence[str]
) -> tuple[str, list[str]]:
    """What to do about a verdict, and what that is for."""
    match verdict.need:
        case Need.PATCH | Need.EDGE_CASES:
            label = "To fix it:" if verdict.need is Need.PATCH else "Optional fix:"
            return label, [invocation.suggest("apply", target=target), *map(_cure, verdict.cures)]
        case Need.UPDATE:
            return "To update it:", [invocation.suggest("apply", target=target)]
        case Need.REPAIR:
            return "To repair it:", [invocation.suggest(one, target=target) for one in ("apply", "revert")]
        case Need.EDITED:
            return "To fix it:", [invocation.suggest("apply", "--force", target=target), *map(_cure, verdict.cures)]
        case Need.LOOK if verdict.cures:
            return "To fix it:", [_cure(cure) for cure in verdict.cures]
        case Need.NONE if verdict.is_patched:
            return "To prove it:", [invocation.suggest("verify", *options, target=target)]
        case _:
            return "", []


def _cure(cure: str) -> str:
    return f"upgrade to {cure}" if "or newer" in cure else cure


def _rows(invocation: Invocation, results: Sequence[Result], style: TextStyle) -> Iterator[str]:
    """A line for each patch: its name, its state, and a detail."""
    names, states = [result.patch or "all patches" for result in results], [_state(invocation, one) for one in results]
    for result, name, state in zip(results, names, states, strict=True):
        color = "green" if state == REVERTED else STATE_COLORS.get(result.state, "yellow") if result.state else "red"
        name_width, state_width = max(map(len, names)), max(map(len, states))
        gap = " " * (state_width - len(state) + 2)
        before = f"  {paint(name, 'bold')}{' ' * (name_width - len(name) + 2)}{paint(state, color)}{gap}"
        yield from column(before, 2 + name_width + 2 + state_width + 2, [_detail(invocation, result)], style)
        if style.verbose:
            yield from (line for file in result.files for line in _digests(file))


def _state(invocation: Invocation, result: Result) -> str:
    if result.state is None:
        return "unknown"
    return REVERTED if invocation.command == "revert" and result.changed else result.state.value


def _detail(invocation: Invocation, result: Result) -> str:
    if result.checks:
        return ""  # the check of the source says it
    is_idle = result.impact is not None and result.impact.effect is Effect.NONE
    if invocation.command == "status" and is_idle and result.state is State.UNPATCHED:
        return "not needed here"
    return (result.note or "") if result.error is None or result.note else "see the error"


def _digests(file: ChangedFile) -> Iterator[str]:
    yield f"    file   {one_line(str(file.path))}"
    yield f"    before sha256 {file.before}"
    yield f"    after  sha256 {file.after}"


def _checks(results: Sequence[Result], style: TextStyle, *, is_unfinished: bool) -> Iterator[str]:
    """The checks of a target, those that its patches share once, and what they were run on."""
    checks = list(dict.fromkeys(check for result in results for check in result.checks))
    if not checks:
        return
    checks.sort(key=lambda check: check.name != "source")
    yield ""
    for check in checks:
        yield from _check(check, style)
    if is_unfinished:
        return
    yield ""
    yield from sentence(_conclusion(checks, next((one.device for one in results if one.device), None)), style)


def _check(check: Check, style: TextStyle) -> Iterator[str]:
    status = paint(f"{check.status:<7}", CHECK_COLORS[check.status])
    seconds = f"{check.seconds:6.2f} s" if check.status != "skipped" else " " * 8
    before = f"  {status}  {check.name:<{NAME_WIDTH}}  {seconds}  "
    yield from column(before, 2 + 7 + 2 + NAME_WIDTH + 2 + 8 + 2, check.detail.splitlines(), style)


def _conclusion(checks: Sequence[Check], device: Device | None) -> str:
    count = {status: sum(check.status == status for check in checks) for status in ("failed", "passed", "skipped")}
    words = ", ".join(f"{number} {status}" for status, number in count.items() if number)
    if set(words.split()[1::2]) == {"passed"}:
        words = f"{len(checks)} check{'' if len(checks) == 1 else 's'} passed"
    return f"{words}, {tested_on(device)}." if device else f"{words}; only files were checked."


def _diff(diff: str) -> Iterator[str]:
    shown = TERMINAL_ORDERS.sub(lambda found: one_line(found.group()), diff.removesuffix("\n"))
    for line in shown.split("\n"):  # no other line end: what is printed is still a diff to apply
        color = {"+": "green", "-": "red", "@": "blue"}.get(line[:1])
        yield paint(line, color) if color else line

"""The last lines of a command: one sentence on all targets, and what to do next. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import groupby

from patcher.messages import IRREVERSIBLE
from patcher.model import NotFound, Result, Target
from patcher.suggest import Invocation
from patcher.terminal import TextStyle, paint, sentence
from patcher.verdict import Need, judge, verification

Groups = Mapping[Target | NotFound, tuple[Result, ...]]
RESTART = "Restart Python, notebooks and servers that have transformers loaded."
AGAIN = "A reinstall or upgrade of transformers removes the patch: run apply again after it"
_NEEDS = {
    Need.PATCH: ("needs a patch", "need a patch"),
    Need.EDGE_CASES: ("needs a patch only for edge cases", "need a patch only for edge cases"),
    Need.REPAIR: ("needs a repair", "need a repair"),
    Need.UPDATE: ("needs an update", "need an update"),
    Need.EDITED: ("was edited since it was patched", "were edited since they were patched"),
    Need.LOOK: ("cannot be patched as it is", "cannot be patched as they are"),
}


def by_target(results: Sequence[Result]) -> Groups:
    """The results of each target, in their order."""
    return {target: tuple(group) for target, group in groupby(results, key=lambda result: result.target)}


def closing(invocation: Invocation, results: Sequence[Result], style: TextStyle) -> Iterator[str]:
    """The closing sentence, and after a change what users need to know about it."""
    groups = by_target(results)
    if not any(isinstance(target, Target) for target in groups):
        return
    match invocation.command:
        case "status":
            yield from _closed(*_status(invocation, groups), style)
        case "verify":
            if len(groups) > 1:
                yield from _closed(_counted(groups, _VERIFIED), "", style)
        case command:
            counted = _counted(groups, _WOULD if invocation.dry_run else _DONE[command])
            dry_run = "Dry run, nothing was written: " if invocation.dry_run else ""
            yield from _closed(f"{dry_run}{counted}", "", style)
            changed = [one for one in results if one.changed]
            if changed:
                yield ""
                targets = [target for target in by_target(changed) if isinstance(target, Target)]
                is_revertible = not all(IRREVERSIBLE in (one.note or "") for one in changed)
                yield from _after_care(invocation, targets, style, is_revertible=is_revertible)


def steps(label: str, texts: Sequence[str], style: TextStyle, indent: int = 0) -> Iterator[str]:
    """What to do, each way on a line of its own: the first behind the label, the others behind `or`."""
    for number, text in enumerate(texts):
        before = f"{' ' * indent}{label if number == 0 else 'or'.rjust(len(label))}  "
        whole = [text] if text.startswith("mps-patcher ") else []
        first, *others = sentence(text, style, len(before), whole=whole)
        yield before + first[len(before) :]
        yield from others


def _closed(words: str, command: str, style: TextStyle) -> Iterator[str]:
    run = f" Run: {command}" if command else ""
    yield from (paint(line, "bold") for line in sentence(f"{words}{run}", style, 0, whole=[command] if command else []))


def _status(invocation: Invocation, groups: Groups) -> tuple[str, str]:
    """The sentence, and the command that ends what it says."""
    verdicts = [judge(group) for group in groups.values()]
    needs = [verdict.need for verdict in verdicts if verdict]
    parts = [
        f"{needs.count(need)} {_agreed(needs.count(need), *words)}" for need, words in _NEEDS.items() if need in needs
    ]
    unread = verdicts.count(None)
    if not parts and not unread:
        return _settled([verdict.is_patched for verdict in verdicts if verdict]), ""
    if unread:
        parts.append(f"{unread} could not be read")
    first, *others = parts
    number, _, verb = first.partition(" ")
    subject = "The target" if len(groups) == 1 else f"{number} of {len(groups)} targets"
    return f"{', '.join([f'{subject} {verb}', *others])}.", _command(invocation, {*needs})


def _command(invocation: Invocation, needs: Set[Need]) -> str:
    """What ends most of it; --force only where it replaces nothing but what was edited since it was patched."""
    if needs - {Need.EDITED, Need.LOOK, Need.NONE}:
        return invocation.suggest("apply")
    return invocation.suggest("apply", "--force") if needs - {Need.NONE} == {Need.EDITED} else ""


def _settled(patched: Sequence[bool]) -> str:
    if not all(patched):
        return "Nothing to do."
    return "The target is patched." if len(patched) == 1 else f"All {len(patched)} targets are patched."


_DONE = {
    "apply": {"changed": "patched", "unchanged": "unchanged", "failed": "failed"},
    "revert": {"changed": "reverted", "unchanged": "unchanged", "failed": "failed"},
}
_WOULD = {"changed": "would change", "unchanged": "would not change", "failed": "would fail"}
_VERIFIED = {"passed": "passed", "unchanged": "with nothing to verify", "failed": "did not pass"}


def _counted(groups: Groups, words: Mapping[str, str]) -> str:
    """Such as `2 targets patched, 1 failed.`"""
    outcomes = [_outcome(group) for group in groups.values()]
    if set(outcomes) == {"unchanged"}:
        return "nothing to do." if words is _WOULD else "Nothing to do."
    counts = [(outcomes.count(outcome), word) for outcome, word in words.items() if outcome in outcomes]
    (first, word), *others = counts
    rest = "".join(f", {count} {word}" for count, word in others)
    return f"{_targets(first)} {word}{rest}."


def happened(invocation: Invocation, group: Sequence[Result]) -> str:
    """What became of one target, in a word or two; nothing where a status has no error."""
    if error := next((result.error for result in group if result.error), None):
        return f"failed: {error.code}"
    words = _WOULD if invocation.dry_run else _DONE.get(invocation.command)
    return words[_outcome(group)] if words else ""


def _outcome(group: Sequence[Result]) -> str:
    if any(result.error for result in group):
        return "failed"
    if any(result.checks for result in group):
        return "passed"
    is_changed = any(one.changed or any(file.before != file.after for file in one.files) for one in group)
    return "changed" if is_changed else "unchanged"


def _after_care(
    invocation: Invocation, changed: Sequence[Target], style: TextStyle, *, is_revertible: bool
) -> Iterator[str]:
    yield from sentence(RESTART, style, 0)
    if invocation.command == "revert":
        return
    yield from steps("To prove it:", [invocation.suggest("verify", *verification(changed))], style)
    undo = invocation.suggest("revert") if is_revertible else "reinstall transformers (there is no backup)"
    yield from steps("To undo it: ", [undo], style)
    can_start = all(target.python for target in changed)
    yield from sentence(f"{AGAIN}, or once:" if can_start else f"{AGAIN}.", style, 0)
    if can_start:
        yield f"  {invocation.suggest('setup')}"


def _targets(count: int) -> str:
    return f"{count} target{'' if count == 1 else 's'}"


def _agreed(count: int, one: str, many: str) -> str:
    return one if count == 1 else many

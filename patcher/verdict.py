"""What the patches of one target mean for its users: one sentence, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from patcher.catalogue import is_known_to_lack, load_catalogue
from patcher.messages import EDITED, is_restartable
from patcher.model import Effect, FunctionPatch, Impact, NotFound, Patch, Result, State, Target


class Need(StrEnum):
    """What a target needs."""

    PATCH = "patch"
    """generate() or an import fails, and apply ends that."""
    EDGE_CASES = "edge-cases"
    """Only edge cases are wrong, and apply ends that."""
    REPAIR = "repair"
    """An earlier apply or revert was interrupted."""
    UPDATE = "update"
    """It was patched by another version of this tool."""
    EDITED = "edited"
    """It was edited since it was patched: apply refuses, and --force starts from the originals again."""
    LOOK = "look"
    """The defect has, or may have, an effect, and apply would refuse."""
    NONE = "none"


class Verdict(NamedTuple):
    """One sentence, and what it rests on."""

    need: Need
    sentence: str
    assumption: str | None = None
    """What was not known, and assumed."""
    cures: tuple[str, ...] = ()
    """What ends the defect, besides apply."""
    is_patched: bool = False


def judge(results: Sequence[Result]) -> Verdict | None:
    """The verdict on the target of these results: the worst of its patches counts. None where it could not be read."""
    known = [result for result in results if result.state is not None]
    if not known:
        return None
    if any(result.state is State.INTERRUPTED for result in known):
        return Verdict(need=Need.REPAIR, sentence="an earlier apply or revert was interrupted here; run either again")
    affected = [result for result in known if is_affected(result)]
    if affected:
        return _judge_affected(affected, [result for result in known if not _is_appliable(result)])
    if any(result.state is State.OUTDATED for result in known):
        return Verdict(need=Need.UPDATE, sentence="patched by another version of mps-patcher", is_patched=True)
    if any(result.state is State.PATCHED for result in known):
        return Verdict(need=Need.NONE, sentence="patched", is_patched=True)
    impact = next((result.impact for result in known if result.impact), None)
    return Verdict(need=Need.NONE, sentence="nothing to do here", assumption=impact and _assumption(impact))


def is_affected(result: Result) -> bool:
    """Whether the defect of a patch has, or may have, an effect, since the patch is not there, or was edited."""
    matters = result.impact is not None and result.impact.effect is not Effect.NONE
    is_edited = EDITED in (result.note or "")
    return (matters or is_edited) and result.state in (State.UNPATCHED, State.ABSENT, State.MODIFIED)


def _is_appliable(result: Result) -> bool:
    """Whether apply would not refuse, as far as the state tells: of an unknown release it adds no function."""
    patch = _patch_of(result)
    if result.state is not State.ABSENT or isinstance(result.target, NotFound) or not isinstance(patch, FunctionPatch):
        return result.state is not State.MODIFIED
    return is_known_to_lack(patch, result.target.version)


def _patch_of(result: Result) -> Patch:
    return next(patch for patch in load_catalogue() if patch.name == result.patch)


def _judge_affected(affected: Sequence[Result], blocking: Sequence[Result]) -> Verdict:
    """Failures before edge cases, and known defects before what cannot be told."""
    refused = {result.patch for result in blocking}
    blocked = Need.EDITED if all(map(is_restartable, blocking)) else Need.LOOK

    def severity(result: Result) -> tuple[bool, bool]:
        return result.impact is not None and result.impact.effect is not Effect.FAILS, result.patch in refused

    worst = min(affected, key=severity)
    impact = worst.impact or Impact(effect=Effect.NONE)
    if worst.patch in refused:
        sentence = f"cannot tell whether generate() works on Apple GPUs here: {worst.patch} is {worst.state}"
        return Verdict(need=blocked, sentence=sentence)
    need = Need.PATCH if impact.effect is Effect.FAILS else Need.EDGE_CASES
    if refused & {*_patch_of(worst).requires}:
        need = blocked
    others = [result.impact for result in affected if result.impact and result.impact.effect is impact.effect]
    cures = tuple(cure for cure in impact.cures if all(cure in other.cures for other in others))
    return Verdict(need=need, sentence=_effect(impact), assumption=_assumption(impact), cures=cures)


def _effect(impact: Impact) -> str:
    if impact.effect is not Effect.FAILS:
        return f"generate() works here; {impact.consequence or 'edge cases are wrong'}"
    if (impact.error or "").startswith("ImportError"):
        return f"an import fails here: {impact.error}"
    return f"generate() fails on Apple GPUs {_conditions(impact)}: {impact.error}"


def _conditions(impact: Impact) -> str:
    """With which torch and macOS it fails, where that is not known of the target; else `here`."""
    torch = f"with torch {show_range(impact.torch_range)}" if impact.torch is None and impact.torch_range else ""
    macos = f"on macOS {show_range(impact.macos_range)}" if impact.macos is None and impact.macos_range else ""
    return f"{torch} {macos}".strip() or "here"


def show_range(specifier: str) -> str:
    """A specifier such as `>=2.4,<2.9` as `2.4 - 2.8`; `<2.4` as `older than 2.4`."""
    parts = dict(re.findall(r"(>=|<)([\d.]+)", specifier))
    least, below = parts.get(">="), parts.get("<")
    if least and below:
        major, _, minor = below.rpartition(".")
        return f"{least} - {major}.{int(minor) - 1}" if major and int(minor) else f"{least} or newer, but below {below}"
    return f"older than {below}" if below else f"{least} or newer"


def _assumption(impact: Impact) -> str | None:
    if impact.torch is None:
        macos = "" if impact.macos else "; choose a macOS with --macos"
        return f"assumed: any torch, since none was found here{macos}"
    return f"assumed: macOS {impact.macos}; choose another with --macos" if impact.assumed_macos else None


def verification(targets: Sequence[Target]) -> tuple[str, ...]:
    """The options with which verify can prove these targets: without torch or an interpreter the files alone."""
    return () if all(target.torch and target.python for target in targets) else ("--static",)

"""status, apply and revert over targets: each target and patch gets its own result, and no error stops the next."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from patcher import freshness
from patcher.change import bytecode
from patcher.change.files import Image, digest
from patcher.change.plan import Plan, to_apply, to_revert
from patcher.change.scene import Place, Scene, judge, opened, read
from patcher.change.transaction import carry
from patcher.errors import PatcherError
from patcher.model import Need, NotFound, Patch, Result, State, Target

LOCK_SECONDS = 30.0
"""How long to wait for another mps-patcher that works on the same target."""

Targets = Sequence[Target | NotFound]
Work = Callable[[Place, Scene, Result], Result]
"""From what was found, and a result that tells it, to the result of the command."""


def status(
    targets: Targets, patches: Sequence[Patch], *, named: bool = False, seconds: float = LOCK_SECONDS
) -> tuple[Result, ...]:
    """The state of every patch in every target, as the files show it. Nothing is written and nothing is repaired."""
    del named  # every patch is shown, needed or not

    def work(place: Place, scene: Scene, found: Result) -> Result:
        del place
        return replace(found, note=_remark(scene, found.state))

    return _each(targets, patches, work, alone=False, seconds=seconds)


def apply(
    targets: Targets,
    patches: Sequence[Patch],
    *,
    named: bool,
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    seconds: float = LOCK_SECONDS,
) -> tuple[Result, ...]:
    """Applies the patches: all of them where the user `named` them, else those that a target needs.

    A result without an error was proven by reading everything again. One with an error left the target as it was.
    `force` replaces an unknown body too. `dry_run` writes nothing and tells what would be.
    """

    def plan(place: Place, scene: Scene, need: Need) -> Plan:
        return to_apply(place, scene, needed=named or need.needed, force=force)

    work = _changing(plan, dry_run=dry_run, diff=diff)
    results = _each(targets, patches, work, alone=not dry_run, seconds=seconds)
    return tuple(_refuse_absent(result, named) for result in results)


def revert(
    targets: Targets,
    patches: Sequence[Patch],
    *,
    named: bool = False,
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    seconds: float = LOCK_SECONDS,
) -> tuple[Result, ...]:
    """Takes the patches back: every byte, mode and time, and RECORD. Nothing of ours stays.

    A symbolic link is one again where what it leads to is still the original; a hard link becomes a file of its own
    with the right bytes. An unpatched target is left alone, without an error. `force` also takes back a file that was
    edited since, and keeps a copy of it.
    """
    del named  # what we did not apply has nothing to revert

    def plan(place: Place, scene: Scene, need: Need) -> Plan:
        del need
        return to_revert(place, scene, force=force)

    work = _changing(plan, dry_run=dry_run, diff=diff)
    return _each(targets, patches, work, alone=not dry_run, seconds=seconds)


def _each(targets: Targets, patches: Sequence[Patch], work: Work, *, alone: bool, seconds: float) -> tuple[Result, ...]:
    results = []
    for target in targets:
        if isinstance(target, NotFound):
            results.append(Result(target=target, patch=None, file=None, state=None, error=target.error))
            continue
        results.extend(_one(target, patch, work, alone=alone, seconds=seconds) for patch in patches)
    return tuple(results)


def _one(target: Target, patch: Patch, work: Work, *, alone: bool, seconds: float) -> Result:
    result = Result(
        target=target,
        patch=patch.name,
        file=target.site_packages / patch.file,
        state=None,
        need=patch.need(target.version, target.torch),
    )
    try:
        with opened(target, patch, alone=alone, seconds=seconds) as place:
            scene = read(place) if place else None
            if place is None or scene is None:
                return replace(result, state=State.ABSENT, note=f"This release has no {patch.file}.")
            result = replace(result, state=judge(scene, place), before=scene.sha, after=scene.sha)
            return work(place, scene, result)
    except PatcherError as error:
        return replace(result, error=error)


def _changing(plan: Callable[[Place, Scene, Need], Plan], *, dry_run: bool, diff: bool) -> Work:
    def work(place: Place, scene: Scene, found: Result) -> Result:
        todo = plan(place, scene, found.need or place.patch.need(place.target.version, place.target.torch))
        if todo.wanted is None:
            if found.state is State.PATCHED and not dry_run and freshness.stale(found.file):
                bytecode.remove(place.home, place.name, place.caches)
                return replace(found, changed=True, note="Already patched; removed bytecode that would run instead.")
            return replace(found, note=todo.note)
        new = todo.wanted.source.data
        shown = replace(found, after=digest(new), diff=_diff(place, scene.source.data, new) if diff else None)
        if dry_run:
            return replace(shown, note=f"Dry run, nothing was written. Without it: {todo.note}")
        try:
            with _keeping(place, todo.keep):
                now = carry(place, scene, todo.wanted)
        except PatcherError as error:
            return replace(found, state=_state(place) or found.state, error=error)
        return replace(shown, state=judge(now, place), changed=True, note=todo.note)

    return work


@contextmanager
def _keeping(place: Place, keep: tuple[str, Image] | None) -> Iterator[None]:
    """Leaves the copy beside the file, unless the body fails; then it goes again, if it was not there before."""
    new = keep is not None and not place.home.has(keep[0])
    if keep:
        place.home.put(*keep)
    try:
        yield
    except BaseException:
        if keep and new:
            place.home.remove(keep[0])
        raise


def _state(place: Place) -> State | None:
    """The state after a failure; None where it cannot be told."""
    try:
        scene = read(place)
    except PatcherError:
        return None
    return judge(scene, place) if scene else None


def _refuse_absent(result: Result, named: bool) -> Result:
    """What the user asked for by name and the release does not have, not even the file, is an error."""
    if not named or result.error or result.state is not State.ABSENT:
        return result
    error = PatcherError("function-absent", result.note or "", "Nothing in this release calls it; no patch is needed.")
    return replace(result, error=error)


def _remark(scene: Scene, state: State | None) -> str | None:
    if state is State.INTERRUPTED:
        return "A run was cut off: the next apply or revert repairs it."
    if state is State.PATCHED:
        return None if scene.backup else "There is no good back-up: revert cannot undo it."
    if scene.entry and scene.sha == scene.entry.after:
        return "It was patched by another version of mps-patcher: revert, then apply."
    if scene.entry and state is State.MODIFIED:
        return "The file was edited since it was patched."
    return f"{scene.recognition.detail}."


def _diff(place: Place, before: bytes, after: bytes) -> str:
    """A unified diff that `git apply` and `patch` understand; bytes that are no UTF-8 are shown as replacements."""
    name = str(place.patch.file)
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(data: bytes) -> list[str]:
    """Lines by `\\n` alone: a carriage return stays where it is, and str.splitlines knows more ends than a diff."""
    *whole, last = data.decode("utf-8", "replace").split("\n")
    return [f"{line}\n" for line in whole] + ([last] if last else [])

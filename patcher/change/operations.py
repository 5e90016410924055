"""status, apply and revert over targets: each target and patch gets its own result, and no error stops the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from patcher import freshness
from patcher.change import bytecode, leftovers, told
from patcher.change.deeds import Deed, Deeds
from patcher.change.diff import unified
from patcher.change.files import Image, digest
from patcher.change.lock import PATIENT, Patience
from patcher.change.place import Place, opened
from patcher.change.plan import Asked, Plan, to_apply, to_revert
from patcher.change.scene import Scene, judge, read
from patcher.change.survey import Seen, survey, unseen
from patcher.change.transaction import Wanted, carry
from patcher.errors import PatcherError
from patcher.model import NotFound, Patch, Result, State, Target, Touched

Targets = Sequence[Target | NotFound]
Work = Callable[[Place], list[Result]]
Planner = Callable[[Place, Scene], Plan]
Keep = tuple[tuple[PurePosixPath, Image], ...]


def status(
    targets: Targets, patches: Sequence[Patch], *, catalogue: Sequence[Patch] = (), patience: Patience = PATIENT
) -> tuple[Result, ...]:
    """The state of every patch in every target, as the files show it. Nothing is written and nothing is repaired.

    Whether a target needs a patch is judged in the light of the whole `catalogue`; left out, that is the `patches`.
    """

    def work(place: Place) -> list[Result]:
        every = survey(place, catalogue or patches)
        return [replace(one.result, note=_remark(place, one)) for one in every if one.patch in patches]

    return _each(targets, patches, work, alone=False, patience=patience)


def apply(
    targets: Targets,
    patches: Sequence[Patch],
    *,
    named: bool,
    catalogue: Sequence[Patch] = (),
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    backup: bool = True,
    patience: Patience = PATIENT,
) -> tuple[Result, ...]:
    """Applies the patches: all of them where the user `named` them, else those that a target needs.

    A patch brings along those of the `catalogue` that it requires, and is not applied without them; where it is
    refused, what came along for it alone goes again; where anything cannot be written, all that was done in the target.
    A result without an error was proven by reading everything again. `force` replaces what is unknown too. `dry_run`
    writes nothing and tells what would be. Without `backup` only the files of the patches change: nothing of ours comes
    to the target, RECORD stays as it is, and nothing can be taken back.
    """

    def work(place: Place) -> list[Result]:
        every = survey(place, catalogue or patches)
        new, sakes = {one.patch for one in every if not one.applied}, dict[Patch, str | None]()
        with Deeds(place=place) as deeds:
            for one in every:
                asked = _asked(one, patches, named=named)
                sakes[one.patch] = asked.brought_by
                if one.patch not in patches and not asked.wanted:
                    continue
                plan = partial(to_apply, asked=asked, force=force, backup=backup)
                lacking = _lacking(one, deeds.results) if asked.wanted else None
                deeds.results[one.patch.name] = lacking or _change(deeds, one, plan, dry_run=dry_run, diff=diff)
                if deeds.results[one.patch.name].error:
                    brought = [other for other in one.patch.requires if sakes.get(other) == one.patch.name]
                    deeds.take_back(one.patch, new.intersection(brought))
        return list(deeds.results.values())

    return _each(targets, patches, work, alone=not dry_run, patience=patience)


def revert(
    targets: Targets,
    patches: Sequence[Patch],
    *,
    catalogue: Sequence[Patch] = (),
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    patience: Patience = PATIENT,
) -> tuple[Result, ...]:
    """Takes the patches back: every byte, mode and time, and RECORD. Nothing of ours stays.

    What of the `catalogue` requires a patch is taken back before it, and what only that one brought along, after it. A
    symbolic link is one again where what it leads to is still the original; a hard link becomes a file of its own with
    the right bytes. An unpatched target is left alone, without an error. `force` also takes back a file that was edited
    since, and keeps a copy of it.
    """

    def work(place: Place) -> list[Result]:
        every = survey(place, catalogue or patches)
        names = _bound_to({patch.name for patch in patches}, every)
        with Deeds(place=place) as deeds:
            for one in reversed(every):
                if one.patch.name in names:
                    plan = partial(to_revert, force=force)
                    spared = _not_ours(one, every) or _still_needed(one, deeds.results)
                    deeds.results[one.patch.name] = spared or _change(deeds, one, plan, dry_run=dry_run, diff=diff)
        return [deeds.results[one.patch.name] for one in every if one.patch.name in deeds.results]

    return _each(targets, patches, work, alone=not dry_run, patience=patience)


def _each(
    targets: Targets, patches: Sequence[Patch], work: Work, *, alone: bool, patience: Patience
) -> tuple[Result, ...]:
    results: list[Result] = []
    for target in targets:
        if alone and target.site_packages:
            with suppress(PatcherError):  # it is none of this target's
                leftovers.clear(target.site_packages)
        if isinstance(target, NotFound):
            results.append(Result(target=target, patch=None, file=None, state=None, error=target.error))
            continue
        try:
            with opened(target, alone=alone, patience=patience) as place:
                results.extend(work(place))
        except PatcherError as error:
            results.extend(replace(unseen(target, patch), error=error) for patch in patches)
    return tuple(results)


def _remark(place: Place, one: Seen) -> str | None:
    return told.remark(one.scene, place) if one.scene else None


def _asked(one: Seen, patches: Sequence[Patch], *, named: bool) -> Asked:
    """Whether the patch is to be applied, and for whose sake."""
    if not named:
        needed = one.result.need is not None and one.result.need.needed
        return Asked(wanted=needed, brought_by=one.required_by[0] if needed and not one.needed_itself else None)
    if one.patch in patches:
        return Asked(wanted=True)
    chosen = {patch.name for patch in patches}
    bringer = next((name for name in one.required_by if name in chosen), None)
    return Asked(wanted=bringer is not None, brought_by=bringer)


def _change(deeds: Deeds, one: Seen, planner: Planner, *, dry_run: bool, diff: bool) -> Result:
    """Carries out one plan. A failure is the result's error, and has left the target as it was."""
    if one.scene is None:
        return one.result
    place, found = deeds.place, one.result
    try:
        scene = read(place, one.patch)  # what was done for another patch changed RECORD and the ledger
        found = replace(found, state=judge(scene, place))
        plan = planner(place, scene)
        if plan.wanted is None:
            return _unchanged(place, scene, found, plan.note, dry_run=dry_run)
        shown = _shown(place, scene, found, plan, diff=diff)
        if dry_run:
            return replace(shown, note=f"Dry run, nothing was written. Without it: {plan.note}")
        return replace(shown, state=_carry(deeds, scene, plan.wanted, plan.keep), changed=True, note=plan.note)
    except PatcherError as error:
        return replace(found, state=_state(place, one.patch) or found.state, error=error)


def _carry(deeds: Deeds, scene: Scene, wanted: Wanted, keep: Keep) -> State:
    """Carries out what is wanted, or undoes all that this command did in the target; returns the state."""
    place = deeds.place
    try:
        with _keeping(place, keep) as kept:
            now = carry(place, scene, wanted)
    except PatcherError:
        deeds.undo(f"since {scene.patch.name} could not be written")
        raise
    if judge(scene, place) is not State.INTERRUPTED:  # to which nobody wants to go back
        deeds.done.append(Deed(scene=scene, after=now, kept=kept))
    return judge(now, place)


def _unchanged(place: Place, scene: Scene, found: Result, note: str, *, dry_run: bool) -> Result:
    paths = [part.path for part in scene.parts]
    if found.state is State.PATCHED and not dry_run and any(freshness.stale(place.full(path)) for path in paths):
        for path in paths:
            bytecode.remove(place.home(path), path.name, place.caches)
        return replace(found, changed=True, note="Already patched; removed bytecode that would run instead.")
    return replace(found, note=note)


def _shown(place: Place, scene: Scene, found: Result, plan: Plan, *, diff: bool) -> Result:
    """The result with the digests that the plan leads to, and the diff if it is asked for."""
    new = {path: image.data for path, image in plan.wanted.sources} if plan.wanted else {}
    files = tuple(
        Touched(path=place.full(part.path), before=part.sha, after=digest(new.get(part.path, part.source.data)))
        for part in scene.parts
    )
    after = files[0].after if found.file and files else None
    changes = [unified(str(part.path), part.source.data, new.get(part.path, part.source.data)) for part in scene.parts]
    return replace(found, files=files, after=after, diff="".join(changes) if diff else None)


@contextmanager
def _keeping(place: Place, keep: Keep) -> Iterator[tuple[PurePosixPath, ...]]:
    """Leaves the copies beside the files, unless the body fails; then those go again that were not there before."""
    new = tuple(path for path, _ in keep if not place.home(path).has(path.name))
    try:
        for path, image in keep:
            place.home(path).put(path.name, image)
        yield new
    except BaseException:
        for path in new:
            place.home(path).remove(path.name)
        raise


def _state(place: Place, patch: Patch) -> State | None:
    """The state after a failure; None where it cannot be told."""
    try:
        return judge(read(place, patch), place)
    except PatcherError:
        return None


def _lacking(one: Seen, done: dict[str, Result]) -> Result | None:
    """The refusal to apply a patch without one that it requires."""
    for other in one.patch.requires:
        result = done.get(other.name)
        if result and result.error:
            cause = f"{one.patch.name} needs {other.name}, which could not be applied."
            hint = "Remove the cause of that, then run the command again."
            return replace(one.result, error=one.result.error or PatcherError("needs-patch", cause, hint))
    return None


def _bound_to(names: set[str], every: Sequence[Seen]) -> set[str]:
    """The named patches, those applied ones that require one of them, and those that only these brought along."""
    requiring = {one.patch.name for one in every if one.applied and names & {it.name for it in one.patch.requires}}
    found = names | requiring
    bringers = {one.patch.name: {entry.brought_by for entry in one.scene.entries} for one in every if one.scene}
    return found | {name for name, by in bringers.items() if by and by <= found}


def _not_ours(one: Seen, every: Sequence[Seen]) -> Result | None:
    """The result where the files of a patch could not be read, and the ledger, which could, does not tell of it."""
    scenes = [other.scene for other in every if other.scene]
    if one.scene or not scenes or any(one.patch.name in entry.patches for entry in scenes[0].others):
        return None
    return replace(one.result, error=None, note="It is not patched by us: nothing to revert.")


def _still_needed(one: Seen, done: dict[str, Result]) -> Result | None:
    """The refusal to take back a patch that another one, which could not be taken back, requires."""
    for name in one.required_by:
        if one.applied and name in done and done[name].error:
            cause = f"{name} needs {one.patch.name}, and could not be taken back."
            return replace(one.result, error=PatcherError("needed-by", cause, "Take that one back first."))
    return None

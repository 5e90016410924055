"""status, apply and revert over targets: each target and patch has a result of its own, and no error stops the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from patcher import progress
from patcher.catalogue import impact, load_catalogue, require_macos
from patcher.diff import unified_diff
from patcher.errors import PatcherError, unexpected
from patcher.hooks import remember_seen
from patcher.messages import describe_applied, describe_not_applied, describe_reverted, describe_state
from patcher.model import CallsPatch, ChangedFile, Effect, Impact, NotFound, Patch, Result, State, Target
from patcher.owner import as_owner_of
from patcher.plan import Plan, plan_apply, plan_revert, planned_state
from patcher.recompute import closure
from patcher.scan import Seen
from patcher.snapshot import Snapshot, take_snapshot
from patcher.storage.bytecode import cache_prefixes, has_stale_pyc, remove_pycs
from patcher.storage.files import digest, explained
from patcher.storage.lock import LockTimeout, locked
from patcher.targets.reinstall import with_command
from patcher.transaction import check_writable, commit
from patcher.workers import FEW, each

Targets = Sequence[Target | NotFound]


def status(
    targets: Targets, patches: Sequence[Patch], *, lock: LockTimeout, macos: str | None = None
) -> tuple[Result, ...]:
    """The state of every patch in every target, as the files show it. Nothing is written and nothing is repaired.

    A function that is gone or unknown, and that the calls of a patch were redirected to, is told of with that patch.
    """

    def work(snapshot: Snapshot) -> list[Result]:
        require_macos(snapshot.target, macos)
        lost = {name for patch in patches for name in patch.requires if _is_lost(snapshot, name)}
        shown = [patch for patch in snapshot.catalogue if patch in patches or patch.name in lost]
        found = [_found(snapshot, patch, snapshot.state_of(patch), macos) for patch in shown]
        return [one._replace(note=describe_state(snapshot, patch)) for one, patch in zip(found, shown, strict=True)]

    return _each(targets, patches, work, exclusive=False, lock=lock)


def apply(
    targets: Targets,
    patches: Sequence[Patch],
    *,
    named: bool,
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    backup: bool = True,
    lock: LockTimeout,
    macos: str | None = None,
) -> tuple[Result, ...]:
    """Applies the patches: all of them where the user `named` them, else those whose defect has an effect on a target.

    A result without an error was proven by reading everything again. `force` replaces what is unknown too, and starts
    an edited file from its original. `dry_run` writes nothing and says what would be. Without `backup` only the files
    of the patches change: RECORD stays as it is, and nothing can be reverted.
    """

    def work(snapshot: Snapshot) -> list[Result]:
        plan, refused = make_plan(snapshot, patches, named=named, force=force, backup=backup, macos=macos)
        error = _carry_out(plan, dry_run=dry_run)
        results = []
        for patch in snapshot.catalogue:
            if not (patch in patches or patch.name in refused or _is_changed(plan, patch)):
                continue
            result = _result(plan, patch, macos, error, dry_run=dry_run, diff=diff)
            if result.error is None:
                is_wanted = patch.name in plan.effective
                note = (
                    describe_applied(plan, patch, dry_run=dry_run) if is_wanted else describe_not_applied(plan, patch)
                )
                result = result._replace(note=note)
            results.append(_without_stale_bytecode(result, dry_run=dry_run))
        return results

    return _each(targets, patches, work, exclusive=not dry_run, lock=lock)


def make_plan(
    snapshot: Snapshot,
    patches: Sequence[Patch],
    *,
    named: bool,
    force: bool = False,
    backup: bool = True,
    macos: str | None = None,
) -> tuple[Plan, Mapping[str, PatcherError]]:
    """The plan of `apply`, and why of the patches that it is to apply some are refused, by name."""
    require_macos(snapshot.target, macos)
    names = [patch.name for patch in patches if named or _impact(snapshot, patch, macos).effect is not Effect.NONE]
    plan = plan_apply(snapshot, names, force=force, backup=backup)
    wanted = closure(snapshot, names)
    return plan, {name: error for name, error in plan.refused.items() if name in wanted}


def revert(
    targets: Targets,
    patches: Sequence[Patch],
    *,
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    lock: LockTimeout,
) -> tuple[Result, ...]:
    """Reverts the patches: every byte, mode and time, and RECORD. Nothing of ours stays once none is left.

    What requires a patch is reverted with it, and so is what was applied only for it. A symbolic link is one again
    where what it leads to is still the original. `force` also reverts a file that was edited, and keeps a copy of it.
    """

    def work(snapshot: Snapshot) -> list[Result]:
        plan = plan_revert(snapshot, [patch.name for patch in patches], force=force)
        error = _carry_out(plan, dry_run=dry_run)
        results = []
        for patch in snapshot.catalogue:
            if patch in patches or patch.name in plan.refused or _is_changed(plan, patch):
                result = _result(plan, patch, None, error, dry_run=dry_run, diff=diff)
                if result.error is None:
                    result = result._replace(note=describe_reverted(plan, patch, dry_run=dry_run))
                results.append(result)
        return results

    return _each(targets, patches, work, exclusive=not dry_run, lock=lock)


def _each(
    targets: Targets,
    patches: Sequence[Patch],
    work: Callable[[Snapshot], list[Result]],
    *,
    exclusive: bool,
    lock: LockTimeout,
) -> tuple[Result, ...]:
    """The results of all targets, in their order, by as many processes as there are processors where they are many."""
    seen: Seen | None = {} if len(targets) > 1 else None
    lock = lock._replace(notify=None) if len(targets) > FEW else lock  # no fork writes on the terminal

    def results_of(item: tuple[int, Target | NotFound]) -> list[Result]:
        number, target = item
        if isinstance(target, NotFound):
            return [Result(target=target, patch=None, state=None, error=target.error)]
        progress.show(f"{number} of {len(targets)}:" if len(targets) > 1 else "working on", str(target.site_packages))
        try:
            with explained(target.site_packages), opened(target, exclusive=exclusive, lock=lock, seen=seen) as snapshot:
                return work(snapshot)
        except PatcherError as error:
            failed = error
        except Exception as error:
            if len(targets) == 1:  # with -v its traceback is shown
                raise
            failed = unexpected(error)
        return [Result(target=target, patch=patch.name, state=None, error=failed) for patch in patches]

    results: list[Result] = []
    with closing(each(results_of, tuple(enumerate(targets, 1)))) as outcomes:
        for done, found in enumerate(outcomes, 1):
            results += map(_with_command, found)
            if done < len(targets):
                progress.show("working on", f"{len(targets)} targets, {done} done")
    return tuple(results)


def _with_command(result: Result) -> Result:
    if result.error is None or isinstance(result.target, NotFound):
        return result
    return result._replace(error=with_command(result.error, result.target))


@contextmanager
def opened(target: Target, *, exclusive: bool, lock: LockTimeout, seen: Seen | None = None) -> Iterator[Snapshot]:
    """What the target holds, under its lock, as its owner. A hint to reinstall says with which command.

    Of many, which share `seen`, what all installs of one release have is read once.
    """
    catalogue = load_catalogue()
    try:
        with as_owner_of(target.site_packages), locked(target.dist_info, exclusive=exclusive, timeout=lock):
            yield take_snapshot(target, catalogue, seen)
    except PatcherError as error:
        raise with_command(error, target) from error


def _found(snapshot: Snapshot, patch: Patch, state: State | None, macos: str | None) -> Result:
    """What was found, as the result of a command that did nothing."""
    shas = [(snapshot.path_of(status.path), digest(status.image.data)) for status in snapshot.files_of(patch)]
    return Result(
        target=snapshot.target,
        patch=patch.name,
        state=state,
        files=tuple(ChangedFile(path=path, before=sha, after=sha) for path, sha in shas),
        impact=_broken(snapshot, patch, state) or _impact(snapshot, patch, macos),
    )


def _is_lost(snapshot: Snapshot, name: str) -> bool:
    (patch,) = (patch for patch in snapshot.catalogue if patch.name == name)
    return _broken(snapshot, patch, snapshot.state_of(patch)) is not None


def _broken(snapshot: Snapshot, patch: Patch, state: State | None) -> Impact | None:
    """The effect of redirected calls whose function is gone or unknown, whatever the torch and macOS."""
    if state not in (State.ABSENT, State.MODIFIED) or not snapshot.has_callers(patch):
        return None
    module = ".".join(patch.file.with_suffix("").parts)
    error = f"ImportError: cannot import name {patch.function!r} from {module!r}"
    return Impact(effect=Effect.FAILS, error=error, torch=snapshot.target.torch)


def _impact(snapshot: Snapshot, patch: Patch, macos: str | None) -> Impact:
    is_concerned = not isinstance(patch, CallsPatch) or snapshot.files_of(patch)
    return impact(patch, snapshot.target, macos=macos) if is_concerned else Impact(effect=Effect.NONE)


def _carry_out(plan: Plan, *, dry_run: bool) -> PatcherError | None:
    """Commits the plan, or asks whether it may be. The error where that failed, and the target is as it was."""
    try:
        if plan.changes:
            check_writable(plan) if dry_run else commit(plan)
    except PatcherError as error:
        return error
    if not dry_run:
        with suppress(PatcherError):  # then the hook has it applied once more
            remember_seen(plan.snapshot.target)
    return None


def _result(
    plan: Plan, patch: Patch, macos: str | None, error: PatcherError | None, *, dry_run: bool, diff: bool
) -> Result:
    """What became of a patch, without a note."""
    snapshot, refusal = plan.snapshot, plan.refused.get(patch.name)
    if error and not _is_changed(plan, patch):
        return _found(snapshot, patch, snapshot.state_of(patch), macos)
    if error and not dry_run:
        return _found(snapshot, patch, _state_now(snapshot, patch), macos)._replace(error=error)
    is_done = plan.changes and not (refusal or dry_run)
    found = _found(snapshot, patch, planned_state(plan, patch) if is_done else snapshot.state_of(patch), macos)
    return found._replace(
        files=_changed_files(plan, found),
        diff=_diff(plan, patch) if diff else None,
        changed=is_done and _is_changed(plan, patch),
        error=refusal or error,
    )


def _is_changed(plan: Plan, patch: Patch) -> bool:
    """Whether files of the patch change, or what the journal says of it, or a run that was cut off is finished."""
    if not plan.changes or patch.name in plan.refused:
        return False
    snapshot = plan.snapshot
    if any(status.path in plan.files for status in snapshot.files_of(patch)):
        return True
    return snapshot.state_of(patch) is State.INTERRUPTED or (patch.name in plan.requested) != (
        patch.name in snapshot.requested
    )


def _changed_files(plan: Plan, found: Result) -> tuple[ChangedFile, ...]:
    after = {plan.snapshot.path_of(path): digest(desired.data) for path, desired in plan.files.items()}
    return tuple(file._replace(after=after.get(file.path, file.before)) for file in found.files)


def _diff(plan: Plan, patch: Patch) -> str:
    changed = (status for status in plan.snapshot.files_of(patch) if status.path in plan.files)
    return "".join(unified_diff(str(one.path), one.image.data, plan.files[one.path].data) for one in changed)


def _state_now(snapshot: Snapshot, patch: Patch) -> State | None:
    """The state after a failure; None where it cannot be told."""
    try:
        return take_snapshot(snapshot.target, snapshot.catalogue).state_of(patch)
    except PatcherError:
        return None


def _without_stale_bytecode(result: Result, *, dry_run: bool) -> Result:
    """The result of a patch that was there already, once no bytecode would run instead of it."""
    if dry_run or result.changed or result.state is not State.PATCHED or not isinstance(result.target, Target):
        return result
    prefixes = cache_prefixes(result.target.pycache_prefix)
    stale: list[Path] = [file.path for file in result.files if has_stale_pyc(file.path, prefixes)]
    for path in stale:
        remove_pycs(path, prefixes)
    return (
        result._replace(changed=True, note="already patched; removed stale bytecode that would have run instead")
        if stale
        else result
    )

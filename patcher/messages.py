"""What users are told of a patch in a target: a detail to stand beside its state, from what was read."""

from __future__ import annotations

from collections.abc import Sequence

from patcher.catalogue import is_known_to_lack
from patcher.errors import report_release
from patcher.model import CallsPatch, FunctionPatch, Patch, Result, State
from patcher.plan import Plan
from patcher.snapshot import FileStatus, Snapshot

IRREVERSIBLE = "revert cannot undo it; reinstalling transformers can"
EDITED = "was edited since it was patched"
RESTARTS = "apply --force starts from the original again, and keeps a copy of the edited file"
"""How what was edited since it was patched is patched again."""


def is_restartable(result: Result) -> bool:
    """Whether the file was edited since it was patched, and `apply --force` patches it again."""
    return result.state is State.MODIFIED and RESTARTS in (result.note or "")


def describe_state(snapshot: Snapshot, patch: Patch) -> str | None:
    """What `status` says beside the state."""
    files = snapshot.files_of(patch)
    match snapshot.state_of(patch):
        case State.INTERRUPTED:
            return "an earlier apply or revert was interrupted"
        case State.PATCHED:
            return _describe_patched(patch, files)
        case State.OUTDATED:
            return "patched by another version of mps-patcher: apply updates it, revert undoes it"
        case State.ABSENT:
            return describe_absent(snapshot, patch)
        case State.MODIFIED:
            return _describe_modified(snapshot, patch, files)
        case _:
            return _describe_unpatched(patch, files)


def describe_absent(snapshot: Snapshot, patch: Patch) -> str:
    """Why there is nothing of the patch in the target."""
    version = snapshot.target.version
    if isinstance(patch, CallsPatch):
        return f"no direct call of {patch.callee}"
    if elsewhere := snapshot.defined_elsewhere(patch):
        return f"transformers {version} has the function in {elsewhere}. {report_release(version, elsewhere)}"
    if isinstance(patch, FunctionPatch) and is_known_to_lack(patch, version):
        return f"transformers {version} has no such function"
    where = f"{patch.file.name} of transformers {version} has no such function, unlike in known releases."
    return f"{where} {report_release(version, patch.file)}"


def describe_applied(plan: Plan, patch: Patch, *, dry_run: bool) -> str:
    """What `apply` did about a patch that the target shall have, or with `dry_run` would do."""
    snapshot = plan.snapshot
    files = snapshot.files_of(patch)
    changed = [status for status in files if status.path in plan.files]
    if not changed:
        return _describe_unchanged(plan, patch, dry_run=dry_run)
    if any(status.entry and not status.is_original and not status.is_edited for status in changed):
        details = [f"{_did('update', dry_run=dry_run)} the patch of another version of mps-patcher"]
    else:
        if isinstance(patch, CallsPatch):
            done = _redirected(patch, changed, dry_run=dry_run)
        else:
            done = _replaced(patch, changed, dry_run=dry_run)
        details = [done if plan.journal else f"{done}, without a backup: {IRREVERSIBLE}"]
    details += _copies(plan, changed, dry_run=dry_run)
    if plan.journal and snapshot.record is None:
        details.append("there is no RECORD to update")
    return "; ".join(details)


def describe_not_applied(plan: Plan, patch: Patch) -> str:
    """Why `apply` did nothing about a patch."""
    if isinstance(patch, CallsPatch) and not plan.snapshot.files_of(patch):
        return describe_absent(plan.snapshot, patch)
    return "not needed here"


def describe_reverted(plan: Plan, patch: Patch, *, dry_run: bool) -> str:
    """What `revert` did about a patch that the target shall not have any more, or with `dry_run` would do."""
    snapshot = plan.snapshot
    files = snapshot.files_of(patch)
    changed = [status for status in files if status.path in plan.files]
    if changed:
        names = changed[0].path.name if len(changed) == 1 else f"{len(changed)} files"
        return "; ".join([f"{_did('restore', dry_run=dry_run)} {names}", *_copies(plan, changed, dry_run=dry_run)])
    if snapshot.state_of(patch) is State.INTERRUPTED:
        return f"{_did('clean', dry_run=dry_run)} up after an interrupted command"
    if any(status.entry for status in files):
        return f"the original was already restored; {_did('remove', dry_run=dry_run)} its backup"
    return "nothing to revert"


def _describe_unchanged(plan: Plan, patch: Patch, *, dry_run: bool) -> str:
    snapshot = plan.snapshot
    files = snapshot.files_of(patch)
    if snapshot.state_of(patch) is State.INTERRUPTED:
        return f"already patched; {_did('finish', dry_run=dry_run)} an interrupted command"
    if any(status.is_edited for status in files):
        forced = f"; {RESTARTS}" if all(status.backup for status in files) else ""
        return f"already patched; edits made since are left as they are{forced}"
    if not all(status.backup for status in files):
        return f"already {_lacks_backup(files)}: {IRREVERSIBLE}"
    if patch.name in plan.requested and patch.name not in snapshot.requested:
        stays = "would now stay" if dry_run else "now stays"
        return f"already patched; it {stays} when the patch that needs it is reverted"
    return "already patched"


def _did(verb: str, *, dry_run: bool) -> str:
    """Of a regular verb such as `replace`: `replaced`, or `would replace`."""
    return f"would {verb}" if dry_run else f"{verb.removesuffix('e')}ed"


def _copies(plan: Plan, changed: Sequence[FileStatus], *, dry_run: bool) -> list[str]:
    paths = {status.path for status in changed}
    copies = [copy for path, copy in plan.copy_paths.items() if path in paths]
    return [f"your edited file {'would be' if dry_run else 'is'} kept as {copy}" for copy in copies]


def _replaced(patch: Patch, files: Sequence[FileStatus], *, dry_run: bool) -> str:
    (status,) = files
    finding = status.finding(patch)
    if finding.state is State.ABSENT:
        return f"{_did('add', dry_run=dry_run)} {patch.function} to {status.path.name}"
    return f"{_did('replace', dry_run=dry_run)} {finding.body or 'an unknown function'} in {status.path.name}"


def _redirected(patch: CallsPatch, files: Sequence[FileStatus], *, dry_run: bool) -> str:
    changed = _calling(files, patch)
    branches = sum(status.finding(patch).branches for status in changed)
    disable = "disable" if dry_run else "disabled"
    disabled = f" and {disable} {_number(branches, 'branch')} for MPS" if branches else ""
    return f"{_did('redirect', dry_run=dry_run)} {_calls(changed, patch)} to {patch.function}{disabled}"


def _describe_patched(patch: Patch, files: Sequence[FileStatus]) -> str | None:
    if not all(status.backup for status in files):
        return f"{_lacks_backup(files)}: {IRREVERSIBLE}"
    if isinstance(patch, CallsPatch):
        return f"{_number(len(files), 'file')} redirected to {patch.function}"
    return f"fixed function in {patch.file.name}"


def _lacks_backup(files: Sequence[FileStatus]) -> str:
    if any(status.entry for status in files):
        return "patched, but the backup is missing or damaged"
    return "patched without a backup"


def _describe_unpatched(patch: Patch, files: Sequence[FileStatus]) -> str:
    restored = "; the original was restored after it was patched" if any(status.entry for status in files) else ""
    if isinstance(patch, CallsPatch):
        return f"{_calls(_calling(files, patch), patch)}{restored}"
    finding = files[0].finding(patch)
    return f"{finding.body or finding.detail}{restored}"


def _describe_modified(snapshot: Snapshot, patch: Patch, files: Sequence[FileStatus]) -> str:
    for status in files:
        if status.is_edited:
            way_out = RESTARTS if status.backup else "its backup is missing or damaged"
            return f"{status.path} {EDITED}: {way_out}"
        finding = status.finding(patch)
        if finding.state is State.MODIFIED and snapshot.is_edited_since_install(status):
            return _describe_edited(snapshot, patch, status)
        if finding.state is State.MODIFIED:
            return f"{finding.detail}. {report_release(snapshot.target.version, status.path)}"
    raise ValueError("no file is modified")


def _describe_edited(snapshot: Snapshot, patch: Patch, status: FileStatus) -> str:
    finding = status.finding(patch)
    what = "leaves that alone" if isinstance(patch, CallsPatch) else "replaces the function"
    forced = f" apply --force {what}; revert then restores your edit." if finding.is_replaceable else ""
    cached = " uv's cache may contain the edit too, and install it again." if snapshot.target.installer == "uv" else ""
    return f"{status.path} was edited since it was installed: {finding.detail}.{forced}{cached}"


def _calling(files: Sequence[FileStatus], patch: CallsPatch) -> list[FileStatus]:
    """Those with something to redirect."""
    return [status for status in files if (found := status.finding(patch)).calls or found.branches]


def _calls(files: Sequence[FileStatus], patch: CallsPatch) -> str:
    calls = _number(sum(status.finding(patch).calls for status in files), "direct call")
    return f"{calls} of {patch.callee} in {_number(len(files), 'file')}"


def _number(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count} {noun}{ending}"

"""What users are told of a patch in a target: sentences, from what was read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patcher.errors import report_release
from patcher.model import CallsPatch, Patch, State
from patcher.plan import Plan
from patcher.snapshot import FileStatus, Snapshot


def describe_state(snapshot: Snapshot, patch: Patch) -> str | None:
    """What `status` says beside the state."""
    files = snapshot.files_of(patch)
    match snapshot.state_of(patch):
        case State.INTERRUPTED:
            return "A run was cut off: the next apply or revert repairs it."
        case State.PATCHED:
            return _describe_patched(patch, files)
        case State.OUTDATED:
            return "It was patched by another version of mps-patcher: apply brings it up to date, revert undoes it."
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
        return f"No file of transformers {version} calls {patch.callee} directly."
    if elsewhere := snapshot.defined_elsewhere(patch):
        where = f"{patch.function} is not in {patch.file} of transformers {version} but in {elsewhere}."
        return f"{where} {report_release(version, elsewhere)}"
    return f"{patch.file.name} of transformers {version} defines no {patch.function}."


def describe_applied(plan: Plan, patch: Patch) -> str:
    """What `apply` did about a patch that the target shall hold."""
    snapshot = plan.snapshot
    files = snapshot.files_of(patch)
    changed = [status for status in files if status.path in plan.files]
    if not changed:
        return _describe_unchanged(plan, patch)
    if any(status.entry and not status.is_original and not status.is_edited for status in changed):
        sentences = ["Brought up to date what another version of mps-patcher did; the originals are still kept."]
    else:
        done = _redirected(patch, changed) if isinstance(patch, CallsPatch) else _replaced(patch, changed)
        kept = "the originals are kept" if plan.journal else "no backup is kept: revert cannot undo it"
        sentences = [f"{done}; {kept}."]
    sentences += [f"The edited file is kept as {path}." for path in _copies(plan, changed)]
    if plan.journal and snapshot.record is None:
        sentences.append("There is no RECORD to keep up to date.")
    if not plan.journal and snapshot.record:
        sentences.append("RECORD stays as it is.")
    return " ".join(sentences)


def describe_not_applied(plan: Plan, patch: Patch) -> str:
    """Why `apply` did nothing about a patch."""
    if isinstance(patch, CallsPatch) and not plan.snapshot.files_of(patch):
        return f"{describe_absent(plan.snapshot, patch)} There is nothing to do."
    return "Not needed here, so nothing was patched."


def describe_reverted(plan: Plan, patch: Patch) -> str:
    """What `revert` did about a patch that the target shall not hold any more."""
    snapshot = plan.snapshot
    files = snapshot.files_of(patch)
    changed = [status for status in files if status.path in plan.files]
    if changed:
        subject = "The file is" if len(changed) == 1 else f"{len(changed)} files are"
        copies = "".join(f" The edited file is kept as {path}." for path in _copies(plan, changed))
        return f"{subject} again as before the patch.{copies}"
    if snapshot.state_of(patch) is State.INTERRUPTED:
        return "Cleared away what an earlier run left."
    if any(status.entry for status in files):
        return "The original was back already; cleared away its backup."
    return "It is not patched by us: nothing to revert."


def _describe_unchanged(plan: Plan, patch: Patch) -> str:
    snapshot = plan.snapshot
    files = snapshot.files_of(patch)
    if snapshot.state_of(patch) is State.INTERRUPTED:
        return "Already patched; finished what an earlier run had left."
    if any(status.is_edited for status in files):
        return "It is patched; what was edited since is left as it is."
    if not all(status.backup for status in files):
        return "Already patched, but without a backup, or with a damaged one: revert cannot undo it."
    if patch.name in plan.requested and patch.name not in snapshot.requested:
        return "Already patched; from now on it stays when the patch that brought it is reverted."
    return "Already patched: nothing to do."


def _copies(plan: Plan, changed: Sequence[FileStatus]) -> list[Path]:
    return [copy for path, copy in plan.copy_paths.items() if path in {status.path for status in changed}]


def _replaced(patch: Patch, files: Sequence[FileStatus]) -> str:
    (status,) = files
    finding = status.finding(patch)
    if finding.state is State.ABSENT:
        return f"Added {patch.function} at the end of {status.path.name}"
    return f"Replaced {finding.body or f'an unknown body of {patch.function}'} in {status.path.name}"


def _redirected(patch: CallsPatch, files: Sequence[FileStatus]) -> str:
    changed = _calling(files, patch)
    branches = sum(status.finding(patch).branches for status in changed)
    disabled = f" and disabled {_number(branches, 'branch')} for MPS" if branches else ""
    return f"Redirected {_calls(changed, patch)} to {patch.function}{disabled}"


def _describe_patched(patch: Patch, files: Sequence[FileStatus]) -> str | None:
    if not all(status.backup for status in files):
        return "There is no backup, or a damaged one: revert cannot undo it."
    if isinstance(patch, CallsPatch):
        return f"What called {patch.callee} in {_number(len(files), 'file')} calls {patch.function}."
    return None


def _describe_unpatched(patch: Patch, files: Sequence[FileStatus]) -> str:
    restored = " It was patched; the original was put back since." if any(status.entry for status in files) else ""
    if not isinstance(patch, CallsPatch):
        return f"{files[0].finding(patch).detail}.{restored}"
    left = _calling(files, patch)
    names = ", ".join("/".join(status.path.parts[1:]) for status in left)
    return f"{_calls(left, patch)}: {names}.{restored}"


def _describe_modified(snapshot: Snapshot, patch: Patch, files: Sequence[FileStatus]) -> str:
    for status in files:
        if status.is_edited:
            return f"{status.path} was edited since it was patched."
        finding = status.finding(patch)
        if finding.state is State.MODIFIED and snapshot.is_edited_since_install(status):
            return _describe_edited(snapshot, patch, status)
        if finding.state is State.MODIFIED:
            return f"{finding.detail}. {report_release(snapshot.target.version, status.path)}"
    raise ValueError("no file is modified")


def _describe_edited(snapshot: Snapshot, patch: Patch, status: FileStatus) -> str:
    finding = status.finding(patch)
    what = "leaves that as it is" if isinstance(patch, CallsPatch) else "replaces the function"
    forced = f" apply --force {what}; revert then brings the edit back." if finding.is_replaceable else ""
    cached = " uv's cache may hold the edit too, and bring it back." if snapshot.target.installer == "uv" else ""
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

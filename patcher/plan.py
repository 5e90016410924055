"""What a target shall hold, recomputed from the originals and the patches that were asked for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from patcher.errors import PatcherError
from patcher.model import CallsPatch, Patch, State
from patcher.recompute import DesiredFile, Recomputation, closure, without_backup
from patcher.snapshot import FileStatus, Snapshot
from patcher.storage.files import digest
from patcher.storage.journal import STATE, Journal, JournalEntry, backup_name, encode_journal
from patcher.storage.record import find_rows, record_row, update_record

KEPT = ".kept-"
"""What stands between a file's name and the digest of a copy that is left beside it for the user."""


class Plan(NamedTuple):
    """How the target shall stand."""

    snapshot: Snapshot
    effective: frozenset[str]
    """The names of the patches that it shall hold."""
    refused: Mapping[str, PatcherError]
    """Why patches stay as they are, by name."""
    files: Mapping[PurePosixPath, DesiredFile]
    """Every file that shall change; RECORD is not among them."""
    record: DesiredFile | None
    """RECORD, if it shall change."""
    journal: Journal | None
    """What the journal shall say in the end; None: there shall be none."""
    copies: Mapping[PurePosixPath, bytes]
    """Copies of edited files to leave beside them."""

    @property
    def changes(self) -> bool:
        """Whether anything on disk is to change.

        Where patches are refused, not for the sake of the journal alone, unless an earlier run was cut off.
        """
        found = self.snapshot
        if self.refused and not self.files and found.is_consistent:
            return False
        return bool(self.files or self.record or self.journal != found.journal or found.leftovers)

    @property
    def copy_paths(self) -> Mapping[PurePosixPath, Path]:
        """Where each copy is left: under a name that no import and no installer takes for its own."""
        full = {path: self.snapshot.path_of(path) for path in self.copies}
        shas = {path: digest(data)[:12] for path, data in self.copies.items()}
        return {path: full[path].with_name(f"{path.name}{KEPT}{shas[path]}") for path in self.copies}

    @property
    def requested(self) -> tuple[str, ...]:
        """The names of the patches that the journal shall say were asked for."""
        return self.journal.requested if self.journal else ()


def plan_apply(snapshot: Snapshot, names: Collection[str], *, force: bool, backup: bool) -> Plan:
    """The target with the named patches too, and what they require.

    Without `backup`, in a target that has no journal, only the files of the patches change.
    """
    present = {patch.name for patch in snapshot.catalogue if not _has_nothing(snapshot, patch)}
    requested = frozenset(snapshot.requested) | (set(names) & present)
    return _make_plan(snapshot, requested, {}, force=force, backup=backup or snapshot.journal is not None)


def plan_revert(snapshot: Snapshot, names: Collection[str], *, force: bool) -> Plan:
    """The target without the named patches, and without those that require them."""
    requiring = {patch.name: patch.requires for patch in snapshot.catalogue if set(names) & set(patch.requires)}
    gone = [patch for patch in snapshot.catalogue if patch.name in names or patch.name in requiring]
    refused = {patch.name: error for patch in gone if (error := _irreversible(snapshot, patch))}
    requested = frozenset(snapshot.requested) - {patch.name for patch in gone}
    plan = _make_plan(snapshot, requested, refused, force=force, backup=True)
    held = {
        name: _required(name, other)
        for other in sorted(plan.effective & plan.refused.keys())
        for name in requiring.get(other, ())
        if name in names
    }
    return plan._replace(refused={**held, **plan.refused})


def planned_state(plan: Plan, patch: Patch) -> State:
    """The state of a patch once the plan is carried out."""
    entries = plan.journal.files if plan.journal else {}
    images = {path: status.image for path, status in plan.snapshot.files.items()}
    images |= {path: images[path]._replace(data=desired.data) for path, desired in plan.files.items()}
    files = {path: FileStatus(path=path, image=image, entry=entries.get(path)) for path, image in images.items()}
    return plan.snapshot._replace(files=files, is_consistent=True).state_of(patch)


def _has_nothing(snapshot: Snapshot, patch: Patch) -> bool:
    """Whether the release has no call that the patch is about."""
    return isinstance(patch, CallsPatch) and not snapshot.linked_folders and not snapshot.files_of(patch)


def _required(name: str, other: str) -> PatcherError:
    return PatcherError("needed-by", f"{other} needs {name}, which could not be reverted.", "Revert that one first.")


def _irreversible(snapshot: Snapshot, patch: Patch) -> PatcherError | None:
    """The refusal to revert what was patched without a backup."""
    for status in snapshot.files_of(patch):
        if status.entry is None and status.finding(patch).state in (State.PATCHED, State.OUTDATED):
            return without_backup(snapshot, status)
    return None


def _make_plan(
    snapshot: Snapshot, requested: frozenset[str], refused: dict[str, PatcherError], *, force: bool, backup: bool
) -> Plan:
    """Patches that are refused stay as they are, and so do those that require them: tried until none is refused."""
    before = frozenset(snapshot.requested)
    while True:
        kept = (requested - refused.keys()) | (before & refused.keys())
        effective = closure(snapshot, kept)
        tried = Recomputation(snapshot, effective, refused, force=force)
        if not tried.refused:
            break
        refused = {**refused, **tried.refused}
    plan = Plan(
        snapshot=snapshot,
        effective=effective,
        refused=refused,
        files=tried.changed_files(),
        record=None,
        journal=None,
        copies=tried.copies,
    )
    journal = Journal(requested=tuple(sorted(kept)), files=tried.entries())
    return _with_record(plan, journal) if backup else plan


def _with_record(plan: Plan, journal: Journal) -> Plan:
    """The plan with RECORD following the files; without files of ours RECORD is as it was before us, and no journal."""
    snapshot = plan.snapshot
    if snapshot.record is None:
        return plan._replace(journal=journal if journal.files else None)
    original = original_record(snapshot)
    if not journal.files:
        return plan._replace(record=_changed_record(snapshot, original))
    link = snapshot.record.entry.link if snapshot.record.entry else snapshot.record.image.link
    entry = JournalEntry(original=digest(original.data), patched=None, link=link)
    journal = journal._replace(files={**journal.files, snapshot.record_path: entry})
    paths = sorted(journal.files.keys() - {snapshot.record_path})  # one order, however it came about
    names = {path: snapshot.own_prefix + backup_name(path) for path in paths}
    now = find_rows(snapshot.record.image.data, frozenset((*map(str, paths), *names.values())))
    listed = find_rows(original.data, frozenset(map(str, paths)))
    rows = {str(path): _row(plan, path, now) for path in paths if str(path) in listed}
    own = [
        record_row(snapshot.own_prefix + STATE, encode_journal(journal)),
        record_row(snapshot.own_prefix + backup_name(snapshot.record_path), original.data),
        *(row for path in paths if (row := _backup_row(snapshot, path, names[path], now))),
    ]
    data = update_record(original.data, rows, snapshot.own_prefix, own)
    return plan._replace(journal=journal, record=_changed_record(snapshot, DesiredFile(data=data)))


def _row(plan: Plan, path: PurePosixPath, now: Mapping[str, str]) -> str:
    """RECORD's row of a changed file; of one that was edited since and stays so, the row that is there."""
    status, desired = plan.snapshot.files[path], plan.files.get(path)
    if status.is_edited and not desired and str(path) in now:
        return now[str(path)]
    return record_row(str(path), desired.data if desired else status.image.data)


def _backup_row(snapshot: Snapshot, path: PurePosixPath, name: str, now: Mapping[str, str]) -> str | None:
    """RECORD's row of a backup; of one that is damaged or lost, the row that is there."""
    status = snapshot.files[path]
    image = status.image if status.entry is None or status.is_original else status.backup
    return record_row(name, image.data) if image else now.get(name)


def _changed_record(snapshot: Snapshot, desired: DesiredFile) -> DesiredFile | None:
    if snapshot.record is None or desired.data == snapshot.record.image.data:
        return None
    return desired


def original_record(snapshot: Snapshot) -> DesiredFile:
    """RECORD without us: the backup, unless another tool changed other rows since."""
    status = snapshot.record
    if status is None:
        raise ValueError("there is no RECORD")
    if status.entry is None or snapshot.journal is None or status.is_original:
        return DesiredFile(data=status.image.data)
    changed = {str(path): path for path in snapshot.journal.files if path != snapshot.record_path}
    if status.backup:
        rows = find_rows(status.backup.data, frozenset(changed))
    else:
        originals = {text: snapshot.files[path].backup or snapshot.files[path].image for text, path in changed.items()}
        rows = {text: record_row(text, image.data) for text, image in originals.items()}
    data = update_record(status.image.data, rows, snapshot.own_prefix, ())
    is_backup = status.backup is not None and data == status.backup.data
    return DesiredFile(data=data, is_backup=is_backup, link=status.entry.link if is_backup else None)

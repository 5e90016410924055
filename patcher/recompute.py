"""Every file of some patches, recomputed from the originals. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from patcher.catalogue import is_known_to_lack
from patcher.edit import edit_source
from patcher.errors import REINSTALL, PatcherError, report_release
from patcher.model import CallsPatch, FunctionPatch, Patch, State
from patcher.snapshot import FileStatus, Snapshot
from patcher.storage.files import digest
from patcher.storage.journal import JournalEntry


class DesiredFile(NamedTuple):
    """What one file shall hold."""

    data: bytes
    is_backup: bool = False
    """Whether that is the backup, which goes back with its mode, owner and time."""
    link: str | None = None
    """The text of the symbolic link that the file shall be, if what that leads to still is the original."""


def closure(snapshot: Snapshot, names: Collection[str]) -> frozenset[str]:
    """The named patches and those that they require."""
    by_name = {patch.name: patch for patch in snapshot.catalogue}
    return frozenset(names) | {required for name in names for required in closure(snapshot, by_name[name].requires)}


class Recomputation:
    """The files of the patches that are, or shall be, in a target; `refused` says which of the patches cannot be.

    Patches that are `frozen` stay as they are.
    """

    def __init__(
        self, snapshot: Snapshot, effective: frozenset[str], frozen: Mapping[str, PatcherError], *, force: bool
    ) -> None:
        self.snapshot, self.effective, self.frozen, self.force = snapshot, effective, frozen, force
        self.originals: dict[PurePosixPath, DesiredFile] = {}
        self.desired: dict[PurePosixPath, DesiredFile] = {}
        self.kept_entries: dict[PurePosixPath, JournalEntry] = {}
        self.copies: dict[PurePosixPath, bytes] = {}
        self.refused: dict[str, PatcherError] = {}
        present = effective | closure(snapshot, snapshot.requested)
        for patch in snapshot.catalogue:
            try:
                if patch.name in frozen:
                    self._freeze(patch)
                elif patch.name in present or any(status.entry for status in snapshot.files_of(patch)):
                    self._add(patch)
            except PatcherError as error:
                self.refused[patch.name] = error

    def _freeze(self, patch: Patch) -> None:
        """Leaves the files of a refused patch, and what the journal says of them, as they are."""
        files = self.snapshot.files_of(patch)
        self.kept_entries.update({status.path: status.entry for status in files if status.entry})

    def _add(self, patch: Patch) -> None:
        files = self.snapshot.files_of(patch)
        if patch.name in self.effective:
            self._require_others(patch)
            _require_patchable(self.snapshot, patch, files)
        for status in files:
            self._add_file(patch, status)

    def _require_others(self, patch: Patch) -> None:
        for other in self.snapshot.catalogue:
            is_refused = other.name in patch.requires and other.name in self.frozen
            if is_refused and self.snapshot.state_of(other) not in (State.PATCHED, State.OUTDATED):
                cause = f"{patch.name} needs {other.name}, which cannot be applied."
                raise PatcherError("needs-patch", cause, "Fix the cause of that, then run the command again.")

    def _add_file(self, patch: Patch, status: FileStatus) -> None:
        is_effective = patch.name in self.effective
        if is_effective and status.finding(patch).state is State.PATCHED and not (status.is_edited and self.force):
            if status.entry:  # what was edited elsewhere in the file since is left as it is
                self.kept_entries[status.path] = status.entry
            return
        if is_effective and not self.force:
            _require_as_installed(self.snapshot, patch, status)
        original = self._original(patch, status, is_effective=is_effective)
        self.originals[status.path] = self.desired[status.path] = original
        if is_effective:
            data = edit_source(original.data, status.path, patch, force=self.force)
            if data != original.data:
                self.desired[status.path] = DesiredFile(data=data)

    def _original(self, patch: Patch, status: FileStatus, *, is_effective: bool) -> DesiredFile:
        """The original of a file: its backup, or the file itself where there is none."""
        if status.entry is None:
            if status.finding(patch).state is State.OUTDATED:
                raise without_backup(self.snapshot, status)
            return DesiredFile(data=status.image.data)
        if status.is_original:
            return DesiredFile(data=status.image.data)
        if status.is_edited and not self.force:
            verb = "apply" if is_effective else "revert"
            cause = f"{self.snapshot.path_of(status.path)} was edited since it was patched."
            hint = f"`mps-patcher {verb} --force` restores the original first, and keeps a copy of your file."
            raise PatcherError("edited-file", cause, hint)
        if status.backup is None:
            cause = f"The backup of {self.snapshot.path_of(status.path)} is missing or damaged."
            raise PatcherError("backup-damaged", cause, REINSTALL)
        if status.is_edited:
            self.copies[status.path] = status.image.data
        return DesiredFile(data=status.backup.data, is_backup=True, link=status.entry.link)

    def changed_files(self) -> dict[PurePosixPath, DesiredFile]:
        """The files that shall not stay as they are."""
        images = {path: self.snapshot.files[path].image.data for path in self.desired}
        return {path: file for path, file in self.desired.items() if file.is_backup or file.data != images[path]}

    def entries(self) -> dict[PurePosixPath, JournalEntry]:
        """What the journal shall say of every file that is not its original."""
        entries = dict(self.kept_entries)
        for path, original in self.originals.items():
            desired, status = self.desired[path], self.snapshot.files[path]
            if desired.data != original.data:
                link = status.entry.link if status.entry and not status.is_original else status.image.link
                entries[path] = JournalEntry(original=digest(original.data), patched=digest(desired.data), link=link)
        return entries


def _require_patchable(snapshot: Snapshot, patch: Patch, files: tuple[FileStatus, ...]) -> None:
    """Refuses a function that is not where it is known to be, and calls where not all can be found."""
    if isinstance(patch, CallsPatch):
        if snapshot.linked_folders:
            folder = snapshot.linked_folders[0]
            hint = f"Replace the link by a copy of the folder. {REINSTALL}"
            raise PatcherError("linked-folder", f"{folder} is a link, which other environments may share.", hint)
        return
    if not files:
        hint = "There is nothing here to patch."
        raise PatcherError("function-absent", f"This release has no {patch.file}.", hint)
    (status,) = files
    if status.entry or status.finding(patch).state is not State.ABSENT:
        return
    elsewhere = snapshot.defined_elsewhere(patch)
    version = snapshot.target.version
    is_known = isinstance(patch, FunctionPatch) and is_known_to_lack(patch, version)
    if not is_known and snapshot.is_edited_since_install(status):
        raise _edited_since_install(snapshot, status, f"it defines no {patch.function}", REINSTALL)
    if elsewhere or not is_known:
        where = f"is not in {patch.file} but in {elsewhere}" if elsewhere else f"is not in {patch.file}"
        message = f"{patch.function} {where} of transformers {version}, unlike in known releases."
        raise PatcherError("function-absent", message, report_release(version, elsewhere or patch.file))


def _require_as_installed(snapshot: Snapshot, patch: Patch, status: FileStatus) -> None:
    """Refuses what is unknown in a file that was edited: no release has it, so nobody need report one."""
    finding = status.finding(patch)
    if finding.state is State.MODIFIED and snapshot.is_edited_since_install(status):
        what = f"replaces {patch.function}" if isinstance(patch, FunctionPatch) else "leaves the unknown use alone"
        forced = f"`mps-patcher apply --force` {what}, and `mps-patcher revert` restores your edit."
        hint = f"{forced} Or discard the edit. {REINSTALL}"
        raise _edited_since_install(snapshot, status, finding.detail, hint if finding.is_replaceable else REINSTALL)


def _edited_since_install(snapshot: Snapshot, status: FileStatus, detail: str, hint: str) -> PatcherError:
    cause = f"{snapshot.path_of(status.path)} was edited since it was installed: {detail}."
    return PatcherError("edited-file", cause, hint)


def without_backup(snapshot: Snapshot, status: FileStatus) -> PatcherError:
    """The refusal to work on what was patched without a backup."""
    message = f"{snapshot.path_of(status.path)} was patched without a backup, so there is nothing to restore."
    return PatcherError("no-backup", message, REINSTALL)
